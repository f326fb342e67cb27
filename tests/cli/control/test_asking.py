"""The commands that ask a control plane, as a person types them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.control import Running
from support.servers.web_server import WebServer
from support.suite.commands import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Person:
    """Somebody at a command line."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running = running
        self.folder = folder

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        env = os.environ | {"AUTHZ_CONTROL_URL": self.running.url, "AUTHZ_TOKEN": self.running.token}
        return subprocess.run(
            [sys.executable, "-m", "authz", *arguments], cwd=self.folder, env=env, input=text, capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def says(self, *arguments: str, text: str = "") -> str:
        done = self.run(*arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.says(*arguments, "--json"))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    folder = tmp_path_factory.mktemp("person")
    running = Running(folder / "control")
    yield Person(running, folder)
    running.end()


def test_a_ban_of_somebody_banned_already_changes_the_time(person: Person) -> None:
    first = person.json("ban", "203.0.113.1", "--for", "1h")
    told = " ".join(person.says("ban", "203.0.113.1", "--for", "7d", "--reason", "again").split())
    assert f"was banned already, until {first['expires']}: it ends later now" in told
    (now,) = person.json("entries", "--address", "203.0.113.1")["entries"]
    assert now["id"] == first["id"]
    assert now["expires"] > first["expires"]
    told = " ".join(person.says("ban", "203.0.113.1", "--for", "2h").split())
    assert f"was banned already, until {now['expires']}: it ends EARLIER now" in told


def test_no_id_and_no_time_is_cut_in_two(person: Person) -> None:
    made = person.json("ban", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "--reason", "a reason of some length, for once")
    for command in (("bans",), ("entries",), ("history",)):
        assert any(made["id"] in line and "a reason of some length, for once" in line
                   for line in person.says(*command).splitlines())  # fmt: skip


def test_an_address_is_unbanned_where_an_allow_entry_names_it_too(person: Person) -> None:
    """It ended the ban, and then failed: the allow entry was no ban."""
    made = person.json("ban", "192.0.2.70")
    person.says("entries", "add", "--list", "allow", "--network", "192.0.2.70", "--for", "1d")
    ended = person.json("unban", "192.0.2.70")["ended"]
    assert [entry["id"] for entry in ended] == [made["id"]]
    again = person.run("unban", "192.0.2.70")
    assert (again.returncode, "found no ban of '192.0.2.70'" in again.stderr) == (2, True)


def test_a_ban_that_an_allow_entry_overrules_is_warned_of(person: Person) -> None:
    """It said `banned` and `enforced`, and denied nobody."""
    allowed = person.json("entries", "add", "--list", "allow", "--network", "192.0.2.71", "--for", "1d")
    told = person.run("ban", "192.0.2.71").stderr
    by = f"by {allowed['id']}, which wins (precedence allow_first)"
    assert told.splitlines() == [f"authz: warning: 192.0.2.71 is allowed {by}: the ban has no effect"]
    assert person.run("ban", "192.0.2.72").stderr == ""


def test_a_ban_that_names_an_application_for_the_first_time_says_so(person: Person) -> None:
    """A name that was mistyped was added to the policy without a word, and the ban denied nobody."""
    first = person.run("ban", "192.0.2.73", "--application", "till").stderr
    told = "authz: warning: till: new, the policy names it with this ban (before: "
    assert first.startswith(told)
    assert person.run("ban", "192.0.2.74", "--application", "till").stderr == ""


def test_an_address_that_a_wider_ban_still_covers_is_not_said_to_be_free(person: Person) -> None:
    wide = person.json("ban", "198.51.100.64/26")
    person.says("ban", "198.51.100.70")
    told = person.run("unban", "198.51.100.70").stderr
    by = f"by 198.51.100.64/26: `authz unban {wide['id']}` ends that"
    assert told.splitlines() == [f"authz: warning: 198.51.100.70 is still banned, {by}"]
    assert person.run("unban", wide["id"]).stderr == ""


def test_ones_own_address_is_banned_by_force_only(person: Person) -> None:
    refused = person.run("ban", "127.0.0.1")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    made = person.json("ban", "127.0.0.1", "--force")
    person.says("unban", made["id"])


def test_an_entry_is_added_shown_changed_and_deleted(person: Person) -> None:
    made = person.json(
        "entries", "add", "--network", "198.51.100.0/24", "--except", "198.51.100.7", "--except", "198.51.100.8",
        "--for", "forever", "--reason", "a botnet",
    )  # fmt: skip
    shown = person.says("entries", "show", made["id"])
    for text in ("198.51.100.0/24", "198.51.100.7, 198.51.100.8", "forever", "a botnet"):
        assert text in shown
    changed = person.json("entries", "change", made["id"], "--action", "warn", "--for", "2h")
    assert (changed["action"], changed["version"]) == ("warn", 2)
    person.says("entries", "delete", made["id"], "--reason", "over")
    assert person.run("entries", "show", made["id"]).returncode == 2


def test_what_a_source_says_is_replaced_and_deleted_by_filter_with_the_number_that_is_expected(person: Person) -> None:
    (person.folder / "list.txt").write_text("# bad\n192.0.2.1\n192.0.2.2  # worse\n\n192.0.2.3\n")
    done = person.json("entries", "replace", "partner", "list.txt", "--for", "7d")
    assert len(done["added"]) == 3
    again = json.loads(person.says("entries", "replace", "partner", "-", "--for", "7d", "--json", text="192.0.2.3\n"))
    assert (len(again["deleted"]), len(again["added"])) == (2, 0)
    missing = person.run("entries", "delete", "--origin", "partner")
    assert "finds 1 now" in missing.stderr
    assert person.run("entries", "delete", "--origin", "partner", "--expect", "3").returncode == 2
    person.says("entries", "delete", "--origin", "partner", "--expect", "1")
    assert person.json("entries", "--origin", "partner")["entries"] == []


def test_history_shows_the_layer_of_each_serial(person: Person) -> None:
    made = person.json("ban", "203.0.113.51")
    row = next(line for line in person.says("history", "203.0.113.51").splitlines() if made["id"] in line)
    assert row.split()[-2] == "bans"


def test_a_change_is_taken_back(person: Person) -> None:
    made = person.json("ban", "203.0.113.50")
    ended = person.json("unban", "203.0.113.50")["ended"][0]
    person.says("undo", str(ended["serial"]), "--reason", "a mistake")
    assert [entry["id"] for entry in person.json("entries", "--address", "203.0.113.50")["entries"]] == [made["id"]]


def test_explain_asks_the_control_plane_where_no_sidecar_is_named(person: Person) -> None:
    made = person.json("ban", "203.0.113.60", "--application", "shop", "--reason", "guesses passwords")
    said = person.says("explain", "203.0.113.60", "--application", "shop")
    for text in ("deny", "denylisted", "guesses passwords", "admin", "until", made["expires"]):
        assert text in said
    assert person.json("explain", "203.0.113.61")["decision"] == "allow"


def test_tokens_are_made_listed_and_revoked(person: Person) -> None:
    made = person.json("control", "tokens", "add", "ci", "--role", "viewer", "--for", "1d", "--network", "127.0.0.0/8")
    assert made["secret"].startswith("authz_")
    listed = person.says("control", "tokens")
    assert made["id"] in listed
    assert made["secret"] not in listed
    person.says("control", "tokens", "revoke", made["id"])
    assert "revoked" in next(line for line in person.says("control", "tokens").splitlines() if made["id"] in line)


def test_what_is_published_and_anything_else_of_the_api(person: Person) -> None:
    assert "no sidecar has asked lately" in person.says("control", "publications")
    assert "no feeds" in person.says("control", "feeds")
    assert "nothing waits" in person.says("control", "approvals")
    (person.folder / "shop.json").write_text('{"mode": "block", "default": "allow"}')
    person.says("control", "api", "PUT", "/v1/applications/web", "--data", "shop.json")
    assert "web" in person.says("control", "api", "get", "/v1/applications")
    refused = person.run("control", "api", "PUT", "/v1/applications/web", "--data", "none.json")
    assert refused.returncode == 2
    assert "none.json" in refused.stderr


def test_a_misspelt_key_is_named(person: Person) -> None:
    (person.folder / "ban.json").write_text('{"address": "203.0.113.9", "aplications": ["shop"]}')
    refused = person.run("control", "api", "POST", "/v1/bans", "--data", "ban.json")
    assert refused.returncode == 2
    assert "/aplications: found a key that is not known here" in refused.stderr


@pytest.mark.parametrize(
    ("scheme", "told", "hint"),
    [
        ("http", "answered 404, not as a control plane", "is it the right AUTHZ_CONTROL_URL?"),
        ("https", "wrong version number", "it does not speak TLS there: http:// instead of https://?"),
    ],
)
def test_the_address_of_another_server_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, told: str, hint: str
) -> None:
    """That of the sidecar gave `answered 404`, without a word of where."""
    server = WebServer(b"")
    server.status = 404
    with server.running():
        url = f"{scheme}://127.0.0.1:{server.port}"
        monkeypatch.setenv("AUTHZ_CONTROL_URL", url)
        ran = Commands(tmp_path, monkeypatch)("bans")
    assert (ran.status, ran.out) == (2, "")
    error, advice = ran.err.splitlines()
    assert error.startswith(f"authz: error: {url}: {told}")
    assert advice == f"hint: {hint}"
