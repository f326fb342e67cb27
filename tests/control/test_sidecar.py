"""A control plane and a sidecar, as `authz control init` made them: bans hold, and hold without the control plane."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest
from support.control import Running
from support.processes import Sidecar, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTEN = """\
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: 0s
"""


def sidecar_config(running: Running) -> str:
    """Return the authz.yaml that init made, on ports of our own."""
    return (running.folder / "authz.yaml").read_text().removesuffix(LISTEN) + LISTEN


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Sidecar]]:
    running = Running(tmp_path_factory.mktemp("pair") / "control")
    config = sidecar_config(running)
    with Sidecar(running.folder, config) as sidecar:
        wait_for(lambda: ask(sidecar, "192.0.2.1") == (200, "default_allow"), "the layers are there")
        yield running, sidecar
    running.end()


def ask(sidecar: Sidecar, client: str, application: str = "shop") -> tuple[int, str]:
    """Return status and reason of a check."""
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.ports["http"], timeout=10)
    try:
        connection.request("GET", f"/v1/auth/{application}", headers={"X-Forwarded-For": client})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["X-Authz-Reason"]
    finally:
        connection.close()


def test_a_ban_is_enforced_when_its_answer_says_so_and_ends_when_that_is_said(pair: tuple[Running, Sidecar]) -> None:
    running, sidecar = pair
    body = {"address": "203.0.113.9", "applications": ["shop"], "period": "2h"}
    made = running.ok("POST", "/v1/bans?wait=enforced&timeout=60", body)
    assert (made["enforced"], made["behind"], made["sidecars"]) == (True, [], 1)
    assert ask(sidecar, "203.0.113.9") == (403, "denylisted")
    assert ask(sidecar, "203.0.113.9", "blog") == (200, "default_allow")
    ended = running.ok("DELETE", f"/v1/bans/{made['id']}?wait=enforced&timeout=60")
    assert ended["enforced"] is True
    assert ask(sidecar, "203.0.113.9") == (200, "default_allow")


def test_an_allow_entry_goes_by_the_policy_layer_and_beats_a_ban(pair: tuple[Running, Sidecar]) -> None:
    running, sidecar = pair
    running.ok("POST", "/v1/bans?wait=enforced&timeout=60", {"address": "198.51.100.0/24"})
    allowed = {"list": "allow", "networks": ["198.51.100.0/28"], "except": ["198.51.100.3"], "period": "1d"}
    made = running.ok("POST", "/v1/entries?wait=enforced&timeout=60", allowed)
    assert (made["layer"], made["enforced"]) == ("policy", True)
    assert ask(sidecar, "198.51.100.1") == (200, "allowlisted")
    assert ask(sidecar, "198.51.100.3") == (403, "denylisted")
    assert ask(sidecar, "198.51.100.77") == (403, "denylisted")


def test_the_mode_of_an_application_is_set_by_the_api(pair: tuple[Running, Sidecar]) -> None:
    running, sidecar = pair
    running.ok("PUT", "/v1/applications/secret?wait=enforced&timeout=60", {"default": "deny"})
    assert ask(sidecar, "192.0.2.1", "secret") == (403, "default_deny")


def test_what_was_banned_stays_banned_while_the_control_plane_is_down(pair: tuple[Running, Sidecar]) -> None:
    running, sidecar = pair
    running.ok("POST", "/v1/bans?wait=enforced&timeout=60", {"address": "203.0.113.50"})
    running.process.popen.kill()
    running.process.end()
    assert ask(sidecar, "203.0.113.50") == (403, "denylisted")
    sidecar.end()
    with Sidecar(running.folder, sidecar_config(running)) as again:  # from its last good copies
        assert ask(again, "203.0.113.50") == (403, "denylisted")
        running.restart()
        made = running.ok("POST", "/v1/bans?wait=published&timeout=60", {"address": "203.0.113.51"})
        assert made["published"] is True
        wait_for(lambda: ask(again, "203.0.113.51") == (403, "denylisted"), "the new ban is there")
