"""`authz doctor`: what the sidecar saw of requests through real proxies, and what is wrong with them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.processes import Sidecar, free_port, wait_for
from support.proxies.client import ask
from support.proxies.programs.envoy import Envoy, adapt_envoy
from support.proxies.programs.nginx import Nginx
from support.proxies.upstream import Upstream
from support.publishing.publisher import Publisher
from support.servers.certificates import Authority

from authz.addresses import NetworkSet, parse_network
from authz.analysis.doctor import FORGED, Probe, judge
from authz.cli.sidecar.proxy_config import render
from authz.publisher.policy.read import read_applications
from authz.serve.config.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLICY = """\
version: 1
applications:
  shop: {}
  admin: {hosts: [admin.example.com], default: deny}
"""
CONFIG = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}}
grpc: {{listen: "127.0.0.1:{grpc}"}}
http: {{listen: "127.0.0.1:{http}"}}
admin: {{listen: "127.0.0.1:{admin}"}}
client_address: {{trusted_proxies: [127.0.0.1]}}
application: {{unknown: default}}
decision_log: {{path: "off"}}
drain: 0s
"""


class Started:
    """A sidecar and an application, for proxies that a test starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        Publisher(folder).publish(POLICY)
        self.text = CONFIG.format(grpc=free_port(), http=free_port(), admin=free_port())
        (folder / "authz.yaml").write_text(self.text)
        self.config = load_config(folder / "authz.yaml", {})
        self.applications = read_applications(folder / "policy.yaml")
        self.upstream = Upstream()

    def doctor(self, port: int) -> tuple[int, dict[str, Any], str]:
        """Return the exit status, what it says as JSON, and what it says to people."""
        command = [sys.executable, "-m", "authz", "doctor", "--config", "authz.yaml"]
        command += ["--proxy", f"http://127.0.0.1:{port}"]
        wait_for(lambda: ask(port, "/shop").status == 200, "the first answer")
        as_json = subprocess.run([*command, "--json"], cwd=self.folder, capture_output=True, text=True, check=False)
        text = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "80"}
        )
        assert text.returncode == as_json.returncode
        assert as_json.stdout, as_json.stderr
        return as_json.returncode, json.loads(as_json.stdout), text.stdout


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    started = Started(tmp_path_factory.mktemp("doctor"))
    with started.upstream, Sidecar(started.folder, started.text):
        yield started


def seen_by(content: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {
        request["name"]: (request["seen"]["client"], request["seen"]["application"], request["seen"]["reason"])
        for request in content["requests"]
    }


EXPECTED = {
    "plain": ("127.0.0.1", "*", "default_allow"),
    "forwarded": (FORGED, "*", "default_allow"),
    "application shop": (FORGED, "shop", "default_allow"),
    "application admin": (FORGED, "admin", "default_deny"),
}


def test_through_what_is_printed_nothing_is_wrong(started: Started) -> None:
    printed = {proxy: render(proxy, started.config, started.applications) for proxy in ("envoy", "nginx")}
    with contextlib.ExitStack() as stack:
        envoy = stack.enter_context(Envoy(started.folder, adapt_envoy(printed["envoy"], started.upstream)))
        nginx = stack.enter_context(Nginx(started.folder, printed["nginx"], started.upstream))
        for port in (envoy.ports["edge"], nginx.ports.edge):
            status, content, text = started.doctor(port)
            assert status == 0
            assert seen_by(content) == EXPECTED
            assert "application shop: GET /shop from 203.0.113.77, it says -> 200\n" in text
            assert "  client 203.0.113.77, peer 127.0.0.1, application shop, allow: default_allow\n" in text
            assert text.endswith("  nothing is wrong\n")


def test_an_envoy_that_names_itself_is_found(started: Started) -> None:
    config = adapt_envoy(render("envoy", started.config, started.applications), started.upstream)
    for listener in config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        del manager["skip_xff_append"]
        manager["http_filters"] = [
            filter_ for filter_ in manager["http_filters"] if "header_mutation" not in filter_["name"]
        ]
    with Envoy(started.folder, config) as envoy:
        status, _, text = started.doctor(envoy.ports["edge"])
    assert status == 1
    assert "wrong: found client " in text
    assert "set skip_xff_append" in text


def test_routes_that_do_not_ask_or_name_another_application_are_found(started: Started) -> None:
    config = adapt_envoy(render("envoy", started.config, started.applications), started.upstream)
    name = "envoy.filters.http.ext_authz"
    for listener in config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        admin, others = manager["route_config"]["virtual_hosts"]
        admin["typed_per_filter_config"][name]["check_settings"] = {"context_extensions": {"application": "shop"}}
        shop = next(route for route in others["routes"] if route["match"].get("path_separated_prefix") == "/shop")
        settings = shop["typed_per_filter_config"][name]
        del settings["check_settings"]
        settings["disabled"] = True
    (started.folder / "changed.yaml").write_text(yaml.safe_dump(config))
    with Envoy(started.folder, config) as envoy:
        status, _, text = started.doctor(envoy.ports["edge"])
    assert status == 1
    assert "wrong: application shop: the proxy answered 200 and did not ask this sidecar" in text
    assert "wrong: application admin: decided as shop, expected admin: the proxy names shop on this route" in text


def test_a_sidecar_that_does_not_run_and_a_url_that_is_none_are_mistakes(tmp_path: Path) -> None:
    text = CONFIG.format(grpc=free_port(), http=free_port(), admin=free_port())
    (tmp_path / "authz.yaml").write_text(text)
    for url, message in (("http://127.0.0.1:1", "admin.listen"), ("127.0.0.1:1", "--proxy: found '127.0.0.1:1'")):
        command = [sys.executable, "-m", "authz", "doctor", "--config", "authz.yaml", "--proxy", url]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr


def test_a_certificate_that_has_expired_is_noted(started: Started, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path, "a").issue("a", "127.0.0.1", seconds=-60)
    sender = f"{{url: 'https://control.example/v1/events', certificate: {certificate}, key: {key}}}"
    (started.folder / "expired.yaml").write_text(f"{started.text}events: {sender}\n")
    command = [sys.executable, "-m", "authz", "doctor", "--config", "expired.yaml", "--json"]
    command += ["--proxy", f"http://127.0.0.1:{started.config.http.listen.port}"]
    done = subprocess.run(command, cwd=started.folder, capture_output=True, text=True, check=False)
    last = json.loads(done.stdout)["findings"][-1]
    assert last["text"].startswith(f"events.certificate: {certificate}: found a certificate that expired at ")
    assert not last["bad"]


def test_nothing_is_kept_while_nobody_looks(started: Started) -> None:
    admin, http = started.config.admin.listen.port, started.config.http.listen.port
    assert ask(admin, "/decisions", host="localhost").status == 200
    ask(http, "/v1/auth/shop", [("X-Forwarded-For", "192.0.2.1"), ("X-Original-URI", "/a")])
    (decision,) = json.loads(ask(admin, "/decisions", host="localhost").body)["decisions"]
    assert (decision["client"], decision["path"], decision["front"], decision["application"]) == (
        "192.0.2.1",
        "/a",
        "http",
        "shop",
    )


# What probes mean.

TRUSTED = NetworkSet([parse_network("127.0.0.0/8")])


def probe(seen: dict[str, Any] | None, status: int | None = 200, source: str = "127.0.0.1") -> Probe:
    return Probe("forwarded", "/x", "", FORGED, None, status, source, seen)


def decided(client: str | None, reason: str = "default_allow", decision: str = "allow") -> dict[str, Any]:
    return {"client": client, "reason": reason, "decision": decision, "application": "*", "named": "", "peer": "",
            "front": "grpc"}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "bad", "text"),
    [
        (probe(decided(FORGED)), False, "named the client in the forwarding header"),
        (probe(decided("198.51.100.1"), source="198.51.100.1"), False, "another client that it names does not count"),
        (probe(decided("192.0.2.2")), True, "a proxy writes its own address into the forwarding header"),
        (probe(decided("192.0.2.2"), source="198.51.100.1"), True, "another proxy stands between"),
        (
            probe(decided("192.0.2.3") | {"front": "http", "peer": "192.0.2.3"}),
            True,
            "the proxy asked from 192.0.2.3, which is not in client_address.trusted_proxies",
        ),
        (probe(None), True, "did not ask this sidecar"),
        (probe(None, None), True, "the proxy did not answer"),
        (probe(decided(None, "client_unresolved", "deny"), 403), True, "client_unresolved: the forwarding header"),
        (
            probe(decided(FORGED, "unknown_application", "deny") | {"named": "chop"}, 403),
            True,
            "the proxy names the application 'chop', which the policy does not have",
        ),
        (probe(decided(FORGED, "denylisted", "deny"), 200), True, "but the proxy answered 200, expected 400 to 503"),
    ],
)
def test_what_was_seen_is_told_as_what_it_means(given: Probe, bad: bool, text: str) -> None:
    findings = judge([given], TRUSTED)
    assert any(finding.bad == bad and text in finding.text for finding in findings), findings


def test_a_request_for_no_application_is_no_mistake_of_the_proxy() -> None:
    """The quick starts ended with "wrong", for the path `/` that no application of theirs has."""
    findings = judge([probe(decided(FORGED, "unknown_application", "deny"), 403)], TRUSTED)
    assert [finding.bad for finding in findings] == [False, False]
    assert "for none of your applications is denied" in findings[0].text
