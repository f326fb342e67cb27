"""Bans of a file: mistakes that made bans void, said that they were, or were told in words of something else."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands, commands_with_bans

from authz.publisher.bans import limits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return commands_with_bans(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((r'"expires": "[^"]+"', '"expires": "2099-01-31T00:00:00Z"'), "expires: found .*, expected at most 7d"),
        ((r', "expires": "[^"]+"', ""), "expires: found forever, expected at most 7d"),
        ((r'"list": "deny"', '"list": "allow"'), "list: found allow, expected deny or gray"),
        ((r"203\.0\.113\.9/32", "203.0.112.0/23"), "network: found 203.0.112.0/23, expected at most a /24"),
        ((r'"list"', f'"reason": "{"x" * 20_000}", "list"'), "reason: found 2[0-9]+ bytes with all texts, expected"),
    ],
)
def test_what_was_written_by_hand_and_sidecars_would_refuse_is_signed_by_no_command(
    authz: Commands, change: tuple[str, str], why: str
) -> None:
    """It said "banned", and no sidecar took this ban or any later one."""
    wrong = authz("ban", "203.0.113.9", "--json").json()["id"]
    authz("ban", "198.51.100.7")
    path, snapshot = authz.folder / "bans.yaml", (authz.folder / "bans.snapshot").read_bytes()
    text = re.sub(*change, path.read_text(), count=1)
    path.write_text(text)
    for command in (("ban", "192.0.2.1"), ("bans", "sign")):
        ran = authz(*command)
        assert ran.status == 2
        assert re.search(rf"bans.yaml: the ban {wrong} of \S+: {why}", ran.err)
        assert f"or end it: `authz unban {wrong}`" in ran.err
    assert (path.read_text(), (authz.folder / "bans.snapshot").read_bytes()) == (text, snapshot)
    assert authz("unban", wrong).status == 0
    assert authz("ban", "192.0.2.1").status == 0


def test_too_many_bans_over_one_address_are_found_in_what_was_written_by_hand(
    authz: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    for network in ("192.0.2.0/24", "192.0.2.0/25", "192.0.2.128/25", "192.0.2.129"):
        assert authz("ban", network).status == 0
    monkeypatch.setattr(limits, "MAX_OVER_ONE", 2)
    ran = authz("bans", "sign")
    assert (ran.status, "found 3 bans over one address, expected at most 2" in ran.err) == (2, True)
    assert authz("unban", "192.0.2.129").status == 0


def test_a_ban_by_another_key_than_before_says_who_may_refuse_it(authz: Commands) -> None:
    assert authz("keys", "generate", "keys", "--name", "other").status == 0
    assert "another key" not in authz("ban", "192.0.2.1").err
    for number in (2, 3):
        ran = authz("ban", f"192.0.2.{number}", "--key", "keys/other.key")
        assert ("another key signed the last snapshot" in ran.err) == (number == 2)
        assert ran.status == 0


def test_a_ban_by_a_clock_that_went_back_says_so(authz: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had ended already for sidecars whose clock is right."""
    assert "clock" not in authz("ban", "192.0.2.1").err
    now = time.time()
    monkeypatch.setattr("authz.cli.bans.local.time.time", lambda: now - 3 * 3600)
    ran = authz("ban", "192.0.2.2", "--for", "2h")
    assert (ran.status, "the clock went back: the last build was made at" in ran.err) == (0, True)


@pytest.mark.parametrize(("back", "status"), [(250, 0), (3 * 3600, 2)])
def test_a_clock_that_is_behind_makes_no_ban_too_long_that_sidecars_take(
    authz: Commands, monkeypatch: pytest.MonkeyPatch, back: int, status: int
) -> None:
    authz("ban", "192.0.2.1", "--for", "7d")
    now = time.time()
    monkeypatch.setattr("authz.cli.bans.local.time.time", lambda: now - back)
    ran = authz("ban", "192.0.2.2")
    assert (ran.status, "is the clock of this machine right?" in ran.err) == (status, status != 0)


def test_unban_ends_one_of_several_wrong_bans_and_says_what_else_is_wrong(authz: Commands) -> None:
    """Each was refused for the other."""
    wrong = [authz("ban", f"192.0.2.{number}", "--for", "3d", "--json").json()["id"] for number in (1, 2)]
    path = authz.folder / "bans.yaml"
    path.write_text(path.read_text().replace('"longest": "7d"', '"longest": "1d"'))
    assert authz("ban", "203.0.113.9").status == 2
    ran = authz("unban", wrong[0])
    assert (ran.status, f"warning: bans.yaml: the ban {wrong[1]} of 192.0.2.2/32: expires:" in ran.err) == (0, True)
    ran = authz("unban", wrong[1])
    assert (ran.status, ran.err) == (0, "")
    assert authz("ban", "203.0.113.9").status == 0


def test_bans_that_the_layer_may_not_have_any_more_do_not_come_back(authz: Commands) -> None:
    made = authz("ban", "192.0.2.1", "--for", "3d", "--json").json()
    assert authz("unban", made["id"]).status == 0
    path = authz.folder / "bans.yaml"
    path.write_text(path.read_text().replace('"longest": "7d"', '"longest": "1d"'))
    ran = authz("bans", "rollback", str(made["serial"]))
    assert (ran.status, f"the ban {made['id']} of 192.0.2.1/32: expires: found" in ran.err) == (2, True)


def test_bans_beside_each_other_are_not_over_one_address(authz: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_OVER_ONE", 2)
    for number in (1, 2, 3):
        assert authz("ban", f"192.0.2.{number}").status == 0
    assert authz("ban", "192.0.2.0/24").status == 0
    assert authz("ban", "192.0.2.0/25").status == 2


def test_a_ban_names_an_application_as_it_likes_where_the_policy_has_none(authz: Commands) -> None:
    """It said that the ban has no effect; it has."""
    assert authz("keys", "generate", "keys", "--name", "2026").status == 0
    init = ("bans", "init", "known.yaml", "--key", "keys/bans.key", "--snapshot", "known.snapshot")
    ran = authz(*init, "--policy", "lists.snapshot")
    assert "lists.snapshot: no such file: until there is one, a ban may touch what the policy protects" in ran.err
    for policy, warned in (("version: 1\n", False), ("version: 1\napplications: {shop: {}}\n", True)):
        (authz.folder / "policy.yaml").write_text(policy)
        assert authz("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/2026.key").status == 0
        ran = authz("ban", "192.0.2.1", "--application", "blog", "--layer", "known.yaml")
        told = "the policy has no application blog (it has shop): there the ban concerns only requests for"
        assert (ran.status, told in ran.err, "warning" in ran.err) == (0, warned, warned)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("ban", "192.0.2.1-192.0.2.9"), "found '192.0.2.1-192.0.2.9', expected an address or a network such as"),
        (("unban", "B-123"), "found 'B-123', expected an address, a network, or the id of a ban"),
        (("unban", "192.0.2.1/24"), "did you mean '192.0.2.0/24'?"),
        (("bans", "rollback", "5"), "`authz snapshot history --layer bans` lists them"),
    ],
)
def test_a_mistake_is_told_by_what_may_stand_there(authz: Commands, command: tuple[str, ...], expected: str) -> None:
    ran = authz(*command)
    assert (ran.status, expected in ran.err) == (2, True), ran.err


def test_lint_takes_the_applications_of_bans_to_be_in_the_policy(authz: Commands) -> None:
    authz("ban", "192.0.2.0/24", "--application", "shop", "--reason", "x")
    authz("ban", "198.51.100.0/24", "--list", "gray", "--reason", "x")
    ran = authz("snapshot", "lint", "bans.snapshot", "--strict")
    assert (ran.status, ran.out) == (0, "good: bans.snapshot has nothing to find fault with")
    authz("ban", "192.0.2.0/25", "--application", "shop", "--list", "gray", "--reason", "x", "--for", "30m")
    assert "never decides in any of its applications" in authz("snapshot", "lint", "bans.snapshot").out
