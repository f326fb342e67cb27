"""A control plane that has some of everything its pages show: real feeds, a sidecar, triggers, what waits.

Feeds are those of the shared data, where it lies beside the project; without it the page of feeds is empty. Addresses
of lists and events are those of documentation.
"""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import httpx

from support.console.data import fill
from support.control import ControlProcess, Running
from support.processes import Sidecar, free_port, wait_for
from support.suite.shared import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = """\
four_eyes: {addresses: 65536}
triggers: triggers.yaml
notify:
  channels:
    - {name: security-team, webhook: "http://127.0.0.1:9/hook", secret_file: hook.secret, gather: 2m,
       topics: [listed, breaker, refused]}
    - {name: audit, syslog: "udp://127.0.0.1:9", topics: [entry, feed]}
"""
TRIGGERS = """\
triggers:
  - name: login-guessing
    kind: brute_force
    where: {application: shop, path: /login, method: POST, status: [401, 403]}
    count: {over: 30, within: 30s, by: address}
    then: {list: deny, period: 1h, grow: 2, max: 7d}
  - name: hidden-pages
    kind: forced_browsing
    count: {over: 40, within: 1m, by: address}
    then: {list: gray, period: 6h}
    dry_run: true
"""
FEEDS = {
    "tor": "tor-exit-nodes-2024.lst",
    "aws": "aws-ip-ranges.json",
    "gcp": "gcp-cloud.json",
    "vpn": "x4bnet-vpn-ipv4.txt",
    "datacenter": "x4bnet-datacenter-ipv4.txt",
    "malicious": "ipsum-level3.txt",
}
COUNTRIES = "iptoasn-country.mmdb"
WAITING = {"list": "deny", "networks": ["198.18.0.0/15"], "period": "1d", "reason": "whole lab, until it is clean"}


@contextlib.contextmanager
def showroom(folder: Path) -> Iterator[Running]:
    """Give it, running; ended afterwards."""
    running = Running(folder)
    try:
        _configure(running)
        if (SHARED / "data/feeds").is_dir():
            _take_feeds(running)
        fill(running)
        _leave_waiting(running)
        with _sidecar(running):
            yield running
    finally:
        running.end()


def _configure(running: Running) -> None:
    with (running.folder / "control.yaml").open("a") as file:
        file.write(SETTINGS)
    (running.folder / "triggers.yaml").write_text(TRIGGERS)
    (running.folder / "hook.secret").write_text("a secret of pictures, and of nothing else\n")
    running.process.end()
    running.process = ControlProcess(running.folder)


def _take_feeds(running: Running) -> None:
    for kind, names in (("feeds", FEEDS.values()), ("geo", (COUNTRIES,))):
        (running.folder / kind).mkdir()
        for name in names:
            shutil.copyfile(SHARED / "data" / kind / name, running.folder / kind / name)
    running.ok("PUT", "/v1/policy", {
        "feeds": [{"source": source, "path": f"feeds/{name}"} for source, name in FEEDS.items()],
        "geo": {"country": f"geo/{COUNTRIES}"},
        "protected": ["192.0.2.0/28"],
    })  # fmt: skip
    for entry in (
        {"list": "deny", "sources": ["tor"], "applications": ["shop"], "reason": "no anonymous orders"},
        {"list": "deny", "sources": ["malicious"], "reason": "known bad, three lists say so"},
        {"list": "gray", "sources": ["vpn", "datacenter"], "applications": ["shop", "api"], "reason": "look twice"},
        {"list": "gray", "sources": ["aws", "gcp"], "applications": ["shop"], "reason": "no people there"},
        {"list": "deny", "countries": ["AQ", "KP"], "applications": ["shop"], "reason": "we do not deliver there"},
    ):
        running.ok("POST", "/v1/entries", entry | {"period": "forever"})
    second = running.ok("POST", "/v1/tokens", {"name": "second", "role": "approver"})["secret"]
    for waiting in running.ok("GET", "/v1/approvals"):
        running.ok("POST", f"/v1/approvals/{waiting['id']}/approve", Authorization=f"Bearer {second}")


def _leave_waiting(running: Running) -> None:
    running.ok("PUT", "/v1/tenants/team-a", {"applications": ["team-a-*"]})
    for name, role in (("anna", "operator"), ("waf", "source"), ("berta", "approver")):
        running.ok("POST", "/v1/tokens", {"name": name, "role": role, "period": "90d"})
    answer = running.client.post("/v1/entries", json=WAITING)
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


@contextlib.contextmanager
def _sidecar(running: Running) -> Iterator[None]:
    wait_for(lambda: running.client.get("/readyz").status_code == httpx.codes.OK, "it is published", patience=60)
    listen = f'grpc: {{listen: "127.0.0.1:{free_port()}"}}\nhttp: {{listen: "off"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
    with Sidecar(running.folder, (running.folder / "authz.yaml").read_text() + listen):
        wait_for(lambda: running.ok("GET", "/v1/publications")["sidecars"], "the sidecar is known")
        yield
