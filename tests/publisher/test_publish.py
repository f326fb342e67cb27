"""What a build is held against before it is signed: the file that it replaces, the clock, and other builds."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from support.publishing.publisher import Publisher
from support.suite.commands import Commands, Ran

from authz import durable
from authz.engine.model import Entry
from authz.errors import InputError, InvalidDocument
from authz.publisher.build import publish
from authz.publisher.checks import ended
from authz.publisher.output_lock import building
from authz.publisher.policy.read import read_policy
from authz.publisher.previous import last_build
from authz.snapshot.read import inspect_snapshot
from authz.times import format_moment, parse_moment

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
DENIES, REPLACED = "the new file denies", "the one that it replaces"
HINT = "hint: nothing was written; --force writes it, with your name in the snapshot"


class Desk:
    """A folder with keys, and builds in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.publisher = Publisher(folder)
        self.folder = folder
        self.output = folder / "lists.snapshot"
        self._authz = Commands(folder, monkeypatch)

    def build(self, policy: str, *options: str) -> Ran:
        (self.folder / "policy.yaml").write_text(policy)
        return self._authz(*BUILD, *options)

    def serial(self) -> int:
        return inspect_snapshot(self.output).manifest.serial

    def refused(self, policy: str, *options: str) -> list[str]:
        before = self.output.read_bytes() if self.output.exists() else None
        ran = self.build(policy, *options)
        assert (ran.status, ran.out) == (2, "")
        assert (self.output.read_bytes() if self.output.exists() else None) == before
        return ran.err.splitlines()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(tmp_path, monkeypatch)


def policy_of(*entries: str, applications: str = "{}") -> str:
    lines = "".join(f"- {{{entry}}}\n" for entry in entries)
    return f"version: 1\napplications: {applications}\nentries:\n{lines}" if entries else "version: 1\n"


def deny(name: str, networks: str, more: str = "") -> str:
    return f"id: {name}, list: deny, networks: [{networks}]{more}"


def at(seconds: float) -> str:
    return format_moment(time.time() + seconds)


# A policy that shrank.


def test_a_policy_that_lost_everything_is_refused(desk: Desk) -> None:
    old = policy_of(deny("a", "192.0.2.0/24"), deny("b", "'2001:db8::/48'"), applications="{shop: {}, admin: {}}")
    assert desk.build(old).status == 0
    assert desk.refused("version: 1\n") == [
        "authz: error: loses 2 applications: shop, admin",
        "loses 2 of 2 entries: a, b",
        "the new file denies 0 IPv4 addresses, the one that it replaces 256: 100 % fewer",
        "the new file denies 0 IPv6 /64s, the one that it replaces 65,536: 100 % fewer",
        HINT,
    ]


def test_force_writes_a_policy_that_shrank_and_keeps_who_did_it(desk: Desk) -> None:
    desk.build(policy_of(deny("a", "192.0.2.0/24"), applications="{shop: {}}"))
    ran = desk.build("version: 1\n", "--force")
    assert ran.status == 0
    assert "authz: warning: forced: loses 1 application: shop" in ran.err.splitlines()
    forced = inspect_snapshot(desk.output).manifest.forced
    assert forced[0].refusal == "loses 1 application: shop"
    assert "@" in forced[0].by


def test_one_lost_application_is_enough_to_refuse(desk: Desk) -> None:
    entry = deny("a", "192.0.2.0/24")
    desk.build(policy_of(entry, applications="{shop: {}, admin: {}}"))
    assert desk.refused(policy_of(entry, applications="{shop: {}}")) == [
        "authz: error: loses 1 application: admin",
        HINT,
    ]


def test_half_of_the_entries_may_go_and_not_more(desk: Desk) -> None:
    entries = [f"id: e{number}, list: allow, networks: [192.0.2.{number}]" for number in range(4)]
    desk.build(policy_of(*entries))
    assert desk.refused(policy_of(entries[0])) == ["authz: error: loses 3 of 4 entries: e1, e2, e3", HINT]
    assert desk.build(policy_of(*entries[:2])).status == 0


def test_many_lost_entries_are_counted_and_some_are_named(desk: Desk) -> None:
    desk.build(policy_of(*(f"id: e{number}, list: allow, networks: [192.0.2.{number}]" for number in range(13))))
    names = ", ".join(f"e{number}" for number in range(10))
    assert desk.refused("version: 1\n")[0] == f"authz: error: loses 13 of 13 entries: {names} and 3 more"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("192.0.2.0/24", "192.0.2.0/25", ""),
        ("192.0.2.0/24", "192.0.2.0/26", f"{DENIES} 64 IPv4 addresses, {REPLACED} 256: 75 % fewer"),
        ("192.0.2.0/31", "192.0.2.0/32", ""),
        ("192.0.2.4/30", "192.0.2.4/32", f"{DENIES} 1 IPv4 address, {REPLACED} 4: 75 % fewer"),
        ("'2001:db8::/62'", "'2001:db8::/64'", f"{DENIES} 1 IPv6 /64, {REPLACED} 4: 75 % fewer"),
    ],
)
def test_half_of_the_denied_addresses_may_go_and_not_more(desk: Desk, before: str, after: str, told: str) -> None:
    desk.build(policy_of(deny("a", before)))
    if told:
        assert desk.refused(policy_of(deny("a", after))) == [f"authz: error: {told}", HINT]
    else:
        assert desk.build(policy_of(deny("a", after))).status == 0


def test_an_address_that_two_entries_deny_counts_once(desk: Desk) -> None:
    desk.build(policy_of(deny("a", "192.0.2.0/24"), deny("b", "192.0.2.0/25")))
    assert desk.build(policy_of(deny("a", "192.0.2.0/25"), deny("b", "192.0.2.0/25"))).status == 0


def test_what_only_warns_denies_nobody(desk: Desk) -> None:
    desk.build(policy_of(deny("a", "192.0.2.0/24")))
    lines = desk.refused(policy_of(deny("a", "192.0.2.0/24", ", action: warn")))
    assert lines[0].startswith(f"authz: error: {DENIES} 0 IPv4 addresses")


def test_entries_that_have_run_out_are_not_lost(desk: Desk) -> None:
    over = ", starts: 2020-01-01T00:00:00Z, expires: 2021-01-01T00:00:00Z"
    desk.build(policy_of(deny("a", "192.0.2.0/24", over), deny("b", "198.51.100.0/24", over), deny("c", "203.0.113.1")))
    assert desk.build(policy_of(deny("c", "203.0.113.1"))).status == 0


def test_a_file_that_cannot_be_read_is_not_compared_when_a_serial_is_given(desk: Desk) -> None:
    desk.output.write_text("no snapshot")
    assert desk.build("version: 1\n", "--serial", "5").status == 0
    assert desk.serial() == 5


# Windows and feeds that do nothing.


@pytest.mark.parametrize(
    ("expires", "told"),
    [("2020-01-01T00:00:00Z", "found 2020-01-01T00:00:00Z, which is over"), (60, r"which is \d\d? seconds from now")],
)
def test_a_new_entry_that_ends_within_five_minutes_is_refused(desk: Desk, expires: str | int, told: str) -> None:
    text = at(expires) if isinstance(expires, int) else expires
    line, count = desk.refused(policy_of(deny("a", "192.0.2.1", f", expires: {text}")))
    assert re.search(told, line)
    assert line.startswith("policy.yaml:4: entries[0].expires: found ")
    assert ", expected at least 300 seconds from now (a new entry without `starts` begins now;" in line
    assert count == "authz: error: 1 mistake in policy.yaml"


def test_an_entry_with_five_minutes_left_is_built(desk: Desk) -> None:
    ran = desk.build(policy_of(deny("a", "192.0.2.1", f", expires: {at(360)}")))  # a minute to build
    assert (ran.status, ran.err) == (0, "")


def test_an_entry_of_the_last_build_may_run_out(desk: Desk) -> None:
    end = int(time.time()) + 2
    entries = [deny("a", "192.0.2.1", f", expires: {format_moment(end)}"), deny("b", "192.0.2.0/24")]
    (desk.folder / "policy.yaml").write_text(policy_of(*entries))
    policy = read_policy(desk.folder / "policy.yaml")  # as of a time when it was new
    publish(policy, None, [desk.publisher.signer()], output=desk.output, created=end - 1000)
    assert desk.build(policy_of(*entries)).status == 0
    assert desk.refused(policy_of(deny("a", "192.0.2.1", f", expires: {format_moment(end + 1)}"), entries[1]))


def test_entries_that_ended_before_the_build_are_a_warning(desk: Desk) -> None:
    window = ", starts: 2020-01-01T00:00:00Z, expires: 2021-01-01T00:00:00Z"
    ran = desk.build(policy_of(deny("old", "192.0.2.1", window)))
    assert (ran.status, ran.err) == (
        0,
        "authz: warning: entry old ended at 2021-01-01T00:00:00Z, before this build: it does nothing",
    )


def test_a_feed_that_no_entry_names_is_a_warning(desk: Desk) -> None:
    (desk.folder / "tor.txt").write_text("192.0.2.1\n")
    ran = desk.build("version: 1\nfeeds:\n- {source: tor, path: tor.txt}\n")
    told = "authz: warning: policy.yaml:3: feeds[0].source: no entry names the source type 'tor': the feed does nothing"
    assert (ran.status, ran.err) == (0, told)


def test_an_entry_is_over_in_the_second_in_which_it_ends() -> None:
    entry = Entry("a", "deny", expires=1000)
    assert [ended([entry], now) != [] for now in (999, 1000, 1001)] == [False, True, True]


def test_a_new_entry_has_five_minutes_left_to_the_second(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(policy_of(deny("a", "192.0.2.1", ", expires: 2026-12-01T00:00:00Z")))
    end = parse_moment("2026-12-01T00:00:00Z")
    assert len(read_policy(policy, now=end - 300).entries) == 1
    with pytest.raises(InvalidDocument, match="which is 299 seconds from now"):
        read_policy(policy, now=end - 299)


# The clock.


def test_a_snapshot_from_the_far_future_is_refused(desk: Desk) -> None:
    (desk.folder / "policy.yaml").write_text("version: 1\n")
    policy, now = read_policy(desk.folder / "policy.yaml"), int(time.time())
    with pytest.raises(InputError, match="seconds ahead of the clock, expected at most 300"):
        publish(policy, None, [desk.publisher.signer()], output=desk.output, created=now + 400)
    assert not desk.output.exists()
    publish(policy, None, [desk.publisher.signer()], output=desk.output, created=now + 200)


def test_a_clock_that_went_back_is_a_warning_and_the_serial_still_grows(desk: Desk) -> None:
    later = datetime.now(UTC) + timedelta(days=3)
    created = int(later.timestamp())
    desk.publisher.publish("version: 1\n", serial=created, created=created)
    ran = desk.build("version: 1\n")
    assert ran.status == 0
    assert ran.err.startswith(
        f"authz: warning: the clock went back: the last build was made at {format_moment(created)}"
    )
    assert desk.serial() == created + 1


# Two builds on one output.


def test_a_build_waits_for_another_one_and_goes_on_from_its_serial(desk: Desk) -> None:
    (desk.folder / "policy.yaml").write_text("version: 1\n")
    with building(desk.output):
        command = [sys.executable, "-m", "authz", *BUILD]
        second = subprocess.Popen(command, cwd=desk.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not _waits_for_lock(second.pid, desk.folder / ".lists.snapshot.lock"):
            assert second.poll() is None
            time.sleep(0.01)
        later = int(time.time()) + 1000
        publish(
            read_policy(desk.folder / "policy.yaml"), None, [desk.publisher.signer()], output=desk.output, serial=later
        )
    out, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, b""), out
    assert desk.serial() == later + 1


def _waits_for_lock(pid: int, lock: Path) -> bool:
    try:
        return any(path.readlink() == lock for path in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def test_a_build_that_waits_too_long_says_for_what(desk: Desk) -> None:
    with building(desk.output), pytest.raises(InputError) as caught, building(desk.output, patience=0):
        pass
    assert caught.value.message == f"{desk.output}: another build of it has been running for 0 seconds"


def test_the_lock_is_free_after_a_build_that_failed(desk: Desk) -> None:
    with pytest.raises(ZeroDivisionError), building(desk.output):
        raise ZeroDivisionError
    with (desk.folder / ".lists.snapshot.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_file_that_somebody_wrote_meanwhile_is_not_replaced(desk: Desk) -> None:
    desk.publisher.publish("version: 1\n", serial=7)
    policy, previous = read_policy(desk.folder / "policy.yaml"), last_build(desk.output, layer="policy")
    desk.publisher.publish("version: 1\n", serial=8)  # by somebody who does not ask for the lock
    with pytest.raises(InputError) as caught:
        publish(policy, previous, [desk.publisher.signer()], output=desk.output)
    assert caught.value.message == (
        f"{desk.output}: found serial 8, expected serial 7 as when this build began: somebody else has written it"
    )
    assert desk.serial() == 8
    with pytest.raises(InputError, match="found serial 8, expected no readable file"):
        publish(policy, None, [desk.publisher.signer()], output=desk.output)


def test_the_serial_is_compared_when_the_new_file_is_on_the_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    replace = durable.replace_file

    def watched(path: Path, write: object, **options: object) -> None:
        check = options["check"]

        def looked() -> None:
            seen.extend(new.stat().st_size for new in path.parent.glob(f".{path.name}.*.new"))
            assert callable(check)
            check()

        replace(path, write, check=looked)  # type: ignore[arg-type]

    monkeypatch.setattr("authz.snapshot.write.replace_file", watched)
    ran = desk.build("version: 1\n", "--json")
    assert seen == [ran.json()["size"]]


def test_leftovers_of_killed_builds_of_this_output_are_removed_and_no_others(desk: Desk) -> None:
    leftovers = [".lists.snapshot.abc_12x9.new", ".lists.snapshot.zzzzzzzz.new"]
    others = [".lists.snapshot.b.abcdefgh.new", ".other.snapshot.abcdefgh.new", ".lists.snapshot.ABC.new", "x.new"]
    for name in (*leftovers, *others):
        (desk.folder / name).write_bytes(b"half a file")
    assert desk.build("version: 1\n").status == 0
    assert not any((desk.folder / name).exists() for name in leftovers)
    assert all((desk.folder / name).exists() for name in others)


def test_the_lock_of_a_shared_folder_is_for_all_who_may_write_there(tmp_path: Path) -> None:
    """The first who banned made a lock for himself: others of his group read that bans.yaml cannot be written."""
    tmp_path.chmod(0o770)
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    with building(tmp_path / "bans.yaml"):
        status = (tmp_path / ".bans.yaml.lock").stat()
    assert (status.st_uid, status.st_gid) == (tmp_path.stat().st_uid, tmp_path.stat().st_gid)
    assert status.st_mode & 0o777 == 0o660


def test_a_lock_of_somebody_else_is_named_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / ".bans.yaml.lock"
    lock.touch()

    def refused(*_: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(InputError) as caught, building(tmp_path / "bans.yaml"):
        pass
    assert caught.value.message == f"{tmp_path / 'bans.yaml'}: cannot be locked: {lock}: Permission denied"
    assert caught.value.hint.startswith(f"do it as {lock.owner()}, whose lock it is")
