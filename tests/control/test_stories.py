"""What operators do, told once by the API and once by the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.control import Running


class Shell:
    """The command line, against a control plane."""

    def __init__(self, running: Running) -> None:
        self._running = running

    def run(self, *arguments: str, status: int = 0) -> str:
        env = os.environ | {"AUTHZ_CONTROL_URL": self._running.url, "AUTHZ_TOKEN": self._running.token}
        command = [sys.executable, "-m", "authz", *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def shell(shared: Running) -> Shell:
    return Shell(shared)


def test_ban_for_two_hours_see_it_and_end_it(shell: Shell) -> None:
    made = shell.json(
        "ban", "203.0.113.9", "--for", "2h", "--application", "shop", "--reason", "guesses", "--wait", "published"
    )
    assert (made["address"], made["applications"], made["published"]) == ("203.0.113.9", ["shop"], True)
    assert made["id"] in {ban["id"] for ban in shell.json("bans")["bans"]}
    assert "203.0.113.9" in shell.run("bans")
    ended = shell.json("unban", "203.0.113.9", "--reason", "a customer")["ended"]
    assert [one["id"] for one in ended] == [made["id"]]
    assert "found no ban" in shell.run("unban", "203.0.113.9", status=2)


def test_who_banned_this_address_and_why(shell: Shell) -> None:
    shell.run("ban", "203.0.113.20", "--reason", "scans for .git")
    shell.run("unban", "203.0.113.20", "--reason", "our scanner")
    changes = shell.json("history", "203.0.113.20")["changes"]
    assert [(one["action"], one["actor"], one["method"], one["reason"]) for one in changes] == [
        ("delete", "admin", "cli", "our scanner"),
        ("add", "admin", "cli", "scans for .git"),
    ]
    assert "scans for .git" in shell.run("history", "203.0.113.20")


def test_what_was_on_the_list_then(shell: Shell) -> None:
    shell.run("ban", "203.0.113.30", "--for", "7d")
    added = shell.json("history", "203.0.113.30")["changes"][0]["time"]
    shell.run("unban", "203.0.113.30")
    assert shell.json("entries", "--address", "203.0.113.30")["entries"] == []
    then = shell.json("entries", "--address", "203.0.113.30", "--at", added)["entries"]
    assert [entry["networks"] for entry in then] == [["203.0.113.30"]]


def test_a_ban_is_ended_by_the_network_that_holds_it(shell: Shell) -> None:
    shell.run("ban", "198.51.100.0/24")
    told = shell.run("unban", "198.51.100.7", status=2)
    assert "by 198.51.100.0/24" in told
    shell.run("unban", "198.51.100.0/24")


def test_what_the_control_plane_refuses_is_told_in_one_line(shell: Shell) -> None:
    told = shell.run("ban", "203.0.113.0/8", status=2)
    assert "Traceback" not in told
    assert "203.0.0.0/8" in told


def test_allow_all_but_two_and_block_a_range_with_exceptions(shared: Running) -> None:
    allowed = shared.ok("POST", "/v1/entries?wait=published&timeout=60", {
        "list": "allow", "networks": ["192.0.2.0/24"], "except": ["192.0.2.7", "192.0.2.9"], "period": "forever",
    })  # fmt: skip
    assert (allowed["layer"], allowed["published"]) == ("policy", True)
    blocked = shared.ok("POST", "/v1/entries?wait=published&timeout=60", {
        "networks": ["192.0.2.0-192.0.2.40"], "except": ["192.0.2.20"], "period": "1d",
    })  # fmt: skip
    assert blocked["layer"] == "policy"
    for address, reason in (("192.0.2.1", "allowlisted"), ("192.0.2.7", "denylisted"), ("192.0.2.200", "allowlisted")):
        assert shared.ok("GET", f"/v1/explain?address={address}")["reason"] == reason


def test_warn_first_and_block_later(shared: Running) -> None:
    made = shared.ok("POST", "/v1/entries", {"networks": ["203.0.113.64/26"], "action": "warn", "period": "7d"})
    explained = shared.ok("GET", "/v1/explain?address=203.0.113.70")
    assert (explained["decision"], explained["warnings"]) == ("allow", [made["id"]])
    shared.ok("PATCH", f"/v1/entries/{made['id']}", {"action": "block"}, **{"If-Match": f'"{made["id"]}.1"'})
    assert shared.ok("GET", "/v1/explain?address=203.0.113.70")["decision"] == "deny"


def test_give_a_tenant_its_own_lists(shared: Running) -> None:
    shared.ok("PUT", "/v1/tenants/team-a", {"applications": ["team-a-*"]})
    token = shared.ok("POST", "/v1/tokens", {"name": "team a", "role": "editor", "tenant": "team-a"})["secret"]
    own = {"Authorization": f"Bearer {token}"}
    made = shared.ok("POST", "/v1/bans", {"address": "203.0.113.200", "applications": ["team-a-web"]}, **own)
    assert [entry["id"] for entry in shared.ok("GET", "/v1/bans", **own)["items"]] == [made["id"]]
    assert shared.client.get("/v1/policy", headers=own).status_code == 403


def test_a_preview_tells_what_an_entry_would_do_and_writes_nothing(shared: Running) -> None:
    shared.ok("POST", "/v1/bans", {"address": "198.18.0.7"})
    before = len(shared.ok("GET", "/v1/history?limit=1000")["items"])
    shown = shared.ok("POST", "/v1/preview", {"networks": ["198.18.0.0/24"]})
    assert (shown["layer"], shown["addresses"], shown["problem"]) == ("bans", 256, None)
    assert [entry["networks"] for entry in shown["overlaps"]] == [["198.18.0.7"]]
    own = shared.ok("POST", "/v1/preview", {"networks": ["127.0.0.0/24"]})
    assert own["problem"]["code"] == "lock_out"
    assert len(shared.ok("GET", "/v1/history?limit=1000")["items"]) == before
