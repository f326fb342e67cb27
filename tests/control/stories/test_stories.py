"""What operators do, told once by the API and once by the command line."""

from __future__ import annotations

import json
import urllib.parse
from typing import TYPE_CHECKING

import pytest
from support.control import Shell
from support.processes import wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Running


@pytest.fixture
def shell(shared: Running) -> Shell:
    wait_for(lambda: shared.client.get("/readyz").status_code == 200, "all is published: a command waits for 10 s")
    return Shell(shared)


def test_ban_for_two_hours_see_it_and_end_it(shell: Shell) -> None:
    made = shell.json(
        "ban", "203.0.113.9", "--for", "2h", "--application", "shop", "--reason", "guesses", "--wait", "published"
    )
    assert (made["address"], made["applications"], made["published"]) == ("203.0.113.9", ["shop"], True)
    assert made["id"] in {ban["id"] for ban in shell.json("bans")["bans"]}
    assert "203.0.113.9" in shell.run("bans")
    ended = shell.json("unban", "203.0.113.9", "--reason", "a customer")["ended"]
    assert [ban["id"] for ban in ended] == [made["id"]]
    assert "found no ban" in shell.run("unban", "203.0.113.9", status=2)


def test_who_banned_this_address_and_why(shell: Shell) -> None:
    shell.run("ban", "203.0.113.20", "--reason", "scans for .git")
    shell.run("unban", "203.0.113.20", "--reason", "our scanner")
    changes = shell.json("history", "203.0.113.20")["changes"]
    assert [(change["action"], change["actor"], change["method"], change["reason"]) for change in changes] == [
        ("delete", "admin", "cli", "our scanner"),
        ("add", "admin", "cli", "scans for .git"),
    ]
    assert "scans for .git" in shell.run("history", "203.0.113.20")
    begin, end = (urllib.parse.quote(changes[place]["time"]) for place in (1, 0))
    of_then = shell.api("GET", f"/v1/history?address=203.0.113.20&from={begin}&to={end}")["items"]
    assert [(change["action"], change["actor"], change["reason"]) for change in of_then] == [
        ("add", "admin", "scans for .git")
    ]
    told = shell.api("GET", f"/v1/explain?address=203.0.113.20&at={begin}")
    assert told["decision"] == "deny"
    assert "scans for .git" in json.dumps(told)


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


def test_allow_all_but_one_and_block_a_range_with_two_exceptions_by_command(shell: Shell) -> None:
    shell.run("entries", "add", "--list", "allow", "--network", "198.18.4.0/24", "--except", "198.18.4.7",
              "--for", "forever")  # fmt: skip
    shell.run("entries", "add", "--network", "198.18.4.0-198.18.4.40", "--except", "198.18.4.20", "--except",
              "198.18.4.21", "--for", "1d", "--wait", "published")  # fmt: skip
    for address, reason in (
        ("198.18.4.1", "allowlisted"),
        ("198.18.4.7", "denylisted"),
        ("198.18.4.21", "allowlisted"),
    ):
        assert shell.api("GET", f"/v1/explain?address={address}")["reason"] == reason
    assert "denylisted" in shell.run("explain", "198.18.4.7")


def test_change_the_period(shell: Shell) -> None:
    made = shell.json("ban", "198.18.5.1", "--for", "1h")
    changed = shell.json("entries", "change", made["id"], "--for", "7d", "--reason", "came back")
    assert changed["expires"] > made["expires"]
    seen = f'"{made["id"]}.{changed["version"]}"'
    again = shell.api("PATCH", f"/v1/entries/{made['id']}", {"period": "forever"}, **{"If-Match": seen})
    assert (again["expires"], again["version"]) == (None, 3)
    actions = [change["action"] for change in shell.json("history", "198.18.5.1")["changes"]]
    assert actions == ["change", "change", "add"]


def test_warn_first_and_block_later_by_command(shell: Shell) -> None:
    made = shell.json("entries", "add", "--network", "198.18.6.0/26", "--warn", "--for", "7d")
    assert shell.api("GET", "/v1/explain?address=198.18.6.7")["warnings"] == [made["id"]]
    shell.run("entries", "change", made["id"], "--action", "block")
    assert shell.api("GET", "/v1/explain?address=198.18.6.7")["decision"] == "deny"


def test_roll_back_an_hour(shell: Shell) -> None:
    kept = shell.json("ban", "198.18.7.1")
    then = shell.json("history", "198.18.7.1")["changes"][0]["time"]
    shell.run("unban", "198.18.7.1")
    wrong = shell.api("POST", "/v1/bans", {"address": "198.18.7.2", "reason": "a script ran wild"})
    shown = shell.json("rollback", then, "--dry-run")
    assert (wrong["id"] in shown["deleted"], kept["id"] in shown["restored"]) == (True, True)
    assert shell.json("entries", "--address", "198.18.7.1")["entries"] == []  # nothing was done yet
    shell.run("rollback", then, "--reason", "a script ran wild", "--wait", "published")
    for address, decision in (("198.18.7.1", "deny"), ("198.18.7.2", "allow")):
        assert shell.api("GET", f"/v1/explain?address={address}")["decision"] == decision
    shell.api("POST", "/v1/rollback", {"to": then, "reason": "once more"})
    assert len(shell.json("entries", "--address", "198.18.7.1")["entries"]) == 1


def test_give_a_tenant_its_own_lists_by_command(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "tenant.json").write_text('{"applications": ["team-b-*"]}')
    shell.run("control", "api", "PUT", "/v1/tenants/team-b", "--data", str(tmp_path / "tenant.json"))
    token = shell.json("control", "tokens", "add", "team b", "--role", "operator", "--tenant", "team-b")["secret"]
    theirs = shell.with_token(token)
    made = theirs.json("ban", "198.18.8.1", "--application", "team-b-web")
    assert [ban["id"] for ban in theirs.json("bans")["bans"]] == [made["id"]]
    assert "team-b" in theirs.run("ban", "198.18.8.2", "--application", "shop", status=2)


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
