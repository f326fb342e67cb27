"""What operators ask for in the threads of other products, and get answered badly: each by the API and by a command."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.control import Running, Shell
from support.processes import Sidecar, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LISTEN = """\
grpc: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
drain: 0s
"""
TRIGGER = {
    "name": "guessing", "kind": "brute_force", "where": {"path": "/login"}, "count": {"over": 3, "within": "1h"},
    "then": {"list": "deny", "period": "2h"},
}  # fmt: skip


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("operators") / "control", extra="four_eyes: {addresses: 64}\n")
    wait_for(lambda: running.client.get("/readyz").status_code == 200, "all is published: a command waits for 10 s")
    yield running
    running.end()


@pytest.fixture
def shell(running: Running) -> Shell:
    return Shell(running)


def guess_passwords(shell: Shell, client: str, times: int = 6) -> None:
    """Send events as a proxy does: somebody tries passwords."""
    event, now = {"client": client, "application": "shop", "path": "/login", "status": 401}, time.time()
    lines = "\n".join(json.dumps(event | {"time": now + number / 100}) for number in range(times))
    assert shell.running.client.post("/v1/events", content=lines).status_code == 202


def covering(shell: Shell, address: str) -> list[Any]:
    entries: list[Any] = shell.json("entries", "--address", address)["entries"]
    return entries


def test_an_unban_sticks(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "trigger.json").write_text(json.dumps(TRIGGER))
    shell.run("control", "triggers", "set", str(tmp_path / "trigger.json"))
    guess_passwords(shell, "198.18.20.1")
    wait_for(lambda: covering(shell, "198.18.20.1"), "the trigger lists the guesser")
    shell.run("unban", "198.18.20.1", "--reason", "a customer who forgot the password")
    [hold] = shell.json("control", "holds")["holds"]
    assert (hold["network"], hold["actor"]) == ("198.18.20.1/32", "admin")
    guess_passwords(shell, "198.18.20.1")
    guess_passwords(shell, "198.18.20.2")  # somebody else, counted after it
    wait_for(lambda: covering(shell, "198.18.20.2"), "the other one is listed")
    assert covering(shell, "198.18.20.1") == []
    [state] = shell.api("GET", "/v1/triggers")["items"]
    assert state["suppressed"]["held"] >= 1
    assert shell.json("control", "holds", "end", hold["id"]) == {"ended": hold["id"]}
    assert shell.api("GET", "/v1/holds")["items"] == []


def test_nobody_locks_themselves_out(shell: Shell) -> None:
    refused = shell.running.client.post("/v1/bans", json={"address": "127.0.0.0/24"})
    assert (refused.status_code, refused.json()["code"]) == (409, "lock_out")
    told = shell.run("ban", "127.0.0.1", status=2)
    assert "would deny your own address 127.0.0.1" in told
    made = shell.json("ban", "127.0.0.1", "--force", "--application", "shop")
    [change] = shell.json("history", "127.0.0.1")["changes"]
    assert change["forced"] is True
    shell.run("unban", made["id"])


def test_an_allow_list_beats_bans_and_imports_that_are_there_already(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("198.18.21.1\n198.18.21.2\n")
    shell.run("entries", "replace", "partner-a", str(tmp_path / "bad.txt"), "--for", "7d")
    shell.run("ban", "198.18.21.0/26")
    assert shell.api("GET", "/v1/explain?address=198.18.21.1")["decision"] == "deny"
    shell.run(
        "entries", "add", "--list", "allow", "--network", "198.18.21.1", "--for", "forever", "--wait", "published"
    )
    explained = shell.json("explain", "198.18.21.1")
    assert (explained["decision"], explained["reason"]) == ("allow", "allowlisted")
    assert sorted(each["verdict"].partition(" ")[0] for each in explained["covering"]) == ["decides", "loses", "loses"]
    shell.run("entries", "replace", "partner-a", str(tmp_path / "bad.txt"), "--for", "7d")  # the next import
    assert shell.api("GET", "/v1/explain?address=198.18.21.1")["decision"] == "allow"


def test_an_import_replaces_what_it_said_before(shell: Shell, tmp_path: Path) -> None:
    list_ = tmp_path / "list.txt"
    for day, lines in enumerate((["198.18.22.1", "198.18.22.2"], ["198.18.22.2", "198.18.22.3"])):
        list_.write_text("\n".join(lines))
        done = shell.json("entries", "replace", "partner-b", str(list_), "--for", "7d")
        assert len(done["added"]) == 2 - day
    rows = [{"networks": ["198.18.22.3"], "period": "7d"}]
    done = shell.api("PUT", "/v1/sources/partner-b/entries", rows)
    assert (len(done["deleted"]), len(done["kept"]) + len(done["changed"])) == (1, 1)
    left = shell.json("entries", "--origin", "partner-b")["entries"]
    assert [entry["networks"] for entry in left] == [["198.18.22.3"]]


def test_nobody_overwrites_what_somebody_else_has_changed_meanwhile(shell: Shell, tmp_path: Path) -> None:
    made = shell.json("ban", "198.18.23.1")
    path, seen = f"/v1/entries/{made['id']}", f'"{made["id"]}.1"'
    assert shell.running.client.patch(path, json={"period": "2h"}).status_code == 428
    shell.run("entries", "change", made["id"], "--for", "7d", "--reason", "a colleague was first")
    stale = shell.running.client.patch(path, json={"period": "2h"}, headers={"If-Match": seen})
    assert (stale.status_code, stale.json()["current"]["version"]) == (412, 2)
    (tmp_path / "patch.json").write_text('{"period": "2h"}')
    told = shell.run(
        "control", "api", "PATCH", path, "--data", str(tmp_path / "patch.json"), "--if-match", seen, status=2
    )
    assert "is at version 2 now" in told


def test_what_belongs_to_git_is_not_changed_by_the_way(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nentries: [{id: office, list: allow, networks: [198.18.24.1]}]\n")
    config = str(shell.running.folder / "control.yaml")
    shell.run("control", "import", str(tmp_path / "policy.yaml"), "--config", config)
    told = shell.run("entries", "change", "office", "--for", "7d", status=2)
    assert "belongs to git" in told
    refused = shell.running.client.delete("/v1/entries/office", headers={"If-Match": "*"})
    assert (refused.status_code, refused.json()["code"], refused.json()["owner"]) == (409, "other_owner", "git")
    taken = shell.json("entries", "change", "office", "--for", "7d", "--take-over")
    assert taken["owner"] == "api"


def test_who_deleted_it(shell: Shell) -> None:
    token = shell.api("POST", "/v1/tokens", {"name": "night shift", "role": "operator"})["secret"]
    shell.run("ban", "198.18.25.1", "--reason", "scans")
    shell.with_token(token).run("unban", "198.18.25.1", "--reason", "ticket 4711")
    gone = shell.json("history", "198.18.25.1")["changes"][0]
    assert (gone["action"], gone["actor"], gone["method"], gone["reason"]) == (
        "delete", "night shift", "cli", "ticket 4711",
    )  # fmt: skip
    items = shell.api("GET", "/v1/history?address=198.18.25.1")["items"]
    assert [(each["action"], each["actor"]) for each in items] == [("delete", "night shift"), ("add", "admin")]
    assert "night shift" in shell.run("history", "198.18.25.1")


def test_which_entry_covers_this_address_and_why(shell: Shell) -> None:
    wide = shell.json("entries", "add", "--network", "198.18.26.0/26", "--for", "1d", "--reason", "a botnet")
    spared = shell.json("entries", "add", "--network", "198.18.26.0/27", "--except", "198.18.26.9", "--for", "1d",
                        "--reason", "their cloud")  # fmt: skip
    explained = shell.api("GET", "/v1/explain?address=198.18.26.9&application=shop")
    assert [(each["id"], each["network"], each["change"]["reason"]) for each in explained["covering"]] == [
        (wide["id"], "198.18.26.0/26", "a botnet")
    ]
    told = shell.run("explain", "198.18.26.8", "--application", "shop")
    assert "a botnet" in told
    assert "their cloud" in told
    assert "admin" in told
    assert covering(shell, "198.18.26.9") != covering(shell, "198.18.26.40")
    assert spared["id"] in {entry["id"] for entry in covering(shell, "198.18.26.8")}


def test_no_flush_removes_a_permanent_ban(shell: Shell, tmp_path: Path) -> None:
    kept = shell.json("ban", "198.18.27.1", "--for", "forever", "--reason", "never again")
    for last in (2, 3):
        shell.run("ban", f"198.18.27.{last}")
    told = shell.run("entries", "delete", "--address", "198.18.27.0/24", "--expect", "3", status=2)
    assert "found 2 entries, and 1 permanent ban that stay" in told
    gone = shell.api("DELETE", "/v1/entries?address=198.18.27.0/24&expect=2")["deleted"]
    assert kept["id"] not in gone
    (tmp_path / "list.txt").write_text("198.18.27.9\n")
    shell.run("entries", "replace", "partner-c", str(tmp_path / "list.txt"))
    shell.run("control", "forget", "--older", "1s", "--config", str(shell.running.folder / "control.yaml"))
    shell.running.restart()
    assert [entry["id"] for entry in covering(shell, "198.18.27.1")] == [kept["id"]]
    assert shell.api("GET", "/v1/explain?address=198.18.27.1")["decision"] == "deny"
    shell.run("entries", "delete", "--address", "198.18.27.1", "--permanent", "--expect", "1")
    assert covering(shell, "198.18.27.1") == []


def test_a_read_only_role_reads_and_changes_nothing(shell: Shell) -> None:
    made = shell.json("ban", "198.18.28.1")
    token = shell.api("POST", "/v1/tokens", {"name": "dashboard", "role": "viewer"})["secret"]
    viewer = {"Authorization": f"Bearer {token}"}
    assert shell.api("GET", f"/v1/entries/{made['id']}", **viewer)["id"] == made["id"]
    assert "198.18.28.1" in shell.with_token(token).run("bans")
    assert "may not do that" in shell.with_token(token).run("unban", "198.18.28.1", status=2)
    paths = shell.running.client.get("/schema/openapi.json").json()["paths"]
    allowed = []
    for path, methods in paths.items():
        for method in methods.keys() - {"get"}:
            body: Any = [] if path.endswith(("/bulk", "/entries")) and method == "put" else {}
            query = "?expect=1&origin=x" if (path, method) == ("/v1/entries", "delete") else ""
            answer = shell.running.client.request(
                method, path.replace("{", "").replace("}", "") + query, json=body, headers=viewer
            )
            if answer.status_code not in {401, 403}:
                allowed.append((method, path, answer.status_code))
    assert {path for _, path, status in allowed if status < 300} == {"/v1/preview"}  # which writes nothing
    assert len(covering(shell, "198.18.28.1")) == 1


def test_who_approves_a_change_sees_what_it_would_have_touched_yesterday(shell: Shell) -> None:
    now = time.time()
    lines = [{"client": f"198.18.29.{n}", "application": "shop", "path": "/", "status": 200, "decision": "allow",
              "time": now - 3600} for n in (1, 2, 2)]  # fmt: skip
    assert shell.running.client.post("/v1/events", content="\n".join(map(json.dumps, lines))).status_code == 202
    wait_for(lambda: len(shell.api("GET", "/v1/events?address=198.18.29.0/24")["items"]) == 3, "the events are kept")
    editor = shell.api("POST", "/v1/tokens", {"name": "day shift", "role": "admin"})["secret"]
    asked = shell.with_token(editor).json("ban", "198.18.29.0/24", "--reason", "a botnet")
    shown = shell.api("GET", f"/v1/approvals/{asked['approval']}")
    assert (shown["yesterday"]["events"], shown["yesterday"]["clients"]) == (3, 2)
    told = shell.run("control", "approvals", "show", asked["approval"])
    assert "198.18.29.0/24" in told
    assert "of the events since" in told
    assert shell.json("control", "approvals", "show", asked["approval"])["yesterday"]["events"] == 3
    assert "a second person" in shell.with_token(editor).run(
        "control", "approvals", "approve", asked["approval"], status=2
    )
    assert shell.json("control", "approvals", "approve", asked["approval"])["networks"] == ["198.18.29.0/24"]
    second = shell.with_token(editor).json("ban", "198.18.30.0/24")["approval"]
    assert shell.json("control", "approvals", "reject", second)["state"] == "rejected"


def test_sidecars_confirm_that_a_ban_holds(shell: Shell) -> None:
    folder = shell.running.folder
    with Sidecar(folder, (folder / "authz.yaml").read_text() + LISTEN):
        wait_for(lambda: len(shell.api("GET", "/v1/publications")["sidecars"]) == 2, "both layers are fetched")
        done = shell.json("ban", "198.18.31.1", "--wait", "enforced")
        assert (done["enforced"], done["behind"], done["sidecars"]) == (True, [], 1)
        assert "by 1 sidecar" in shell.run("unban", "198.18.31.1", "--wait", "enforced")
        again = shell.api("POST", "/v1/bans?wait=enforced&timeout=30", {"address": "198.18.31.2"})
        assert again["enforced"] is True
        [bans] = [each for each in shell.json("control", "publications")["sidecars"] if each["layer"] == "bans"]
        assert (bans["serial"], bans["behind"], bans["refusal"]) == (again["serial"], False, "")
