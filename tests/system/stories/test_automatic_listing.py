"""A list that fills itself: a real control plane, a real sidecar, and clients that do too much."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.control import ControlProcess, init
from support.processes import PATIENCE, Process, ports_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login, method: POST, status: [401, 403]},
     count: {over: 5, within: 30s}}
  - {name: knocking, kind: rate, where: {decision: deny, path: /admin}, count: {over: 5, within: 30s},
     then: {applications: all}}
"""
LISTENERS = """\
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: 0s
"""


class Together:
    """A control plane and a sidecar that fetches its layers and sends events to it."""

    def __init__(self, url: str, token: str, sidecar: Process) -> None:
        self.url = url
        self.token = token
        self.port = ports_of(sidecar.output)["http"]

    def ask(self, method: str, path: str, content: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read() or b"null")

    def status(self, client: str, application: str = "shop", path: str = "/") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"X-Forwarded-For": client, "X-Original-URI": path, "X-Original-Method": "GET"}
        connection.request("GET", f"/v1/auth/{application}", headers=headers)
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def together(tmp_path: Path) -> Iterator[Together]:
    folder = tmp_path / "control"
    url, token = init(folder)
    (folder / "triggers.yaml").write_text(TRIGGERS)
    (folder / "token").write_text(token)
    with (folder / "control.yaml").open("a") as file:
        file.write("triggers: triggers.yaml\n")
    with (folder / "authz.yaml").open("a") as file:
        file.write(LISTENERS + f"events: {{url: {url}/v1/events, token_file: token}}\n")
    with (
        ControlProcess(folder),
        Process([sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"], cwd=folder) as sidecar,
    ):
        sidecar.wait_for_line(r"authz: serving")
        running = Together(url, token, sidecar)
        wait_for(lambda: running.status("192.0.2.1") == 200, "both layers are loaded")
        yield running


def test_a_password_guesser_is_denied_at_the_sidecar_until_a_person_deletes_the_entry(together: Together) -> None:
    guess = {"client": "203.0.113.9", "application": "shop", "method": "POST", "path": "/login", "status": 401}
    assert together.status("203.0.113.9") == 200
    together.ask("POST", "/v1/events", b"\n".join([json.dumps(guess).encode()] * 6))
    wait_for(lambda: together.status("203.0.113.9") == 403, "the guesser is denied")
    assert together.status("203.0.113.9", "blog") == 200
    assert together.status("203.0.113.10") == 200
    [entry] = together.ask("GET", "/v1/entries?address=203.0.113.9")["items"]
    together.ask("DELETE", f"/v1/bans/{entry['id']}")
    wait_for(lambda: together.status("203.0.113.9") == 200, "the guesser is let in again")
    together.ask("POST", "/v1/events", b"\n".join([json.dumps(guess).encode()] * 6))
    wait_for(lambda: together.ask("GET", "/v1/triggers")["items"][0]["suppressed"] == {"held": 1})
    assert together.status("203.0.113.9") == 200


def test_what_the_sidecar_denies_comes_back_as_events_and_can_list_its_client(together: Together) -> None:
    together.ask("POST", "/v1/bans", json.dumps({"address": "198.51.100.7", "applications": ["shop"]}).encode())
    wait_for(lambda: together.status("198.51.100.7") == 403, "the ban holds")
    for _ in range(6):
        together.status("198.51.100.7", path="/admin")
    wait_for(lambda: together.status("198.51.100.7", "blog") == 403, "the trigger has listed it everywhere")
    kept = wait_for(lambda: together.ask("GET", "/v1/events?address=198.51.100.7&decision=deny")["items"])
    assert kept[-1]["application"] == "shop"
