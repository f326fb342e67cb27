"""What was published is kept, listed, and can be published again."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import POLICY
from support.suite.commands import Commands

from authz.errors import InputError
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.build import build_snapshot
from authz.publisher.policy.read import read_policy
from authz.snapshot.archive import Archive
from authz.snapshot.read import inspect_snapshot, read_snapshot
from authz.snapshot.signing.keys import load_public_key
from authz.snapshot.signing.signers import load_signer
from authz.times import format_moment

if TYPE_CHECKING:
    from pathlib import Path

BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
BACK = ("-o", "lists.snapshot", "--key", "keys/a.key")


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands in a folder with keys `a` and `b` and a policy."""
    commands = Commands(tmp_path, monkeypatch)
    for name in ("a", "b"):
        assert commands("keys", "generate", "keys", "--name", name).status == 0
    (tmp_path / "policy.yaml").write_text(POLICY)
    return commands


def build(authz: Commands, *more: str) -> int:
    serial = authz(*BUILD, "--json", *more).json()["serial"]
    assert isinstance(serial, int)
    return serial


def test_every_build_is_listed_with_when_by_whom_and_from_what(authz: Commands) -> None:
    serials = [build(authz), build(authz)]
    builds = authz("snapshot", "history", "--json").json()["builds"]
    assert [build["serial"] for build in builds] == serials[::-1]
    for listed in builds:
        assert "@" in listed["by"]
        assert (listed["source"], listed["rollback_of"], listed["forced"]) == ("policy.yaml", None, [])
        assert (authz.folder / listed["file"]).stat().st_size == listed["bytes"]
    out = authz("snapshot", "history").out
    assert out.index(str(serials[1])) < out.index(str(serials[0]))
    assert ", from policy.yaml" in out


def test_without_an_archive_nothing_is_kept(authz: Commands) -> None:
    build(authz, "--no-archive")
    assert not (authz.folder / "archive").exists()
    ran = authz("snapshot", "history")
    assert ran.status == 2
    assert "archive/policy: found no builds" in ran.err


def test_a_rollback_has_the_old_content_under_a_higher_serial_without_policy_or_feeds(authz: Commands) -> None:
    old = build(authz, "--valid-for", "7d")
    before = inspect_snapshot(authz.folder / "lists.snapshot")
    (authz.folder / "policy.yaml").write_text("version: 1\n")
    newer = build(authz, "--force")
    (authz.folder / "policy.yaml").unlink()
    back = authz("snapshot", "rollback", str(old), *BACK, "--json").json()
    assert back["serial"] > newer
    key = load_public_key(authz.folder / "keys" / "a.pub")
    after = read_snapshot(authz.folder / "lists.snapshot", [key], now=time.time())
    assert (after.serial, after.manifest.origin.rollback_of) == (back["serial"], old)
    assert {name: bytes(data) for name, data in after.sections.items()} == {
        name: bytes(data) for name, data in before.sections.items()
    }
    assert after.manifest.applications == before.manifest.applications
    assert after.manifest.expires - after.manifest.created == 7 * 86400
    newest = authz("snapshot", "history", "--json").json()["builds"][0]
    assert (newest["serial"], newest["rollback_of"]) == (back["serial"], old)


def test_a_changed_file_of_the_archive_is_not_signed_anew(authz: Commands) -> None:
    """Who can write the archive could else have us sign what he likes."""
    old = build(authz)
    new = build(authz)
    path = authz.folder / "archive" / "policy" / f"{old}.snapshot"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    served = (authz.folder / "lists.snapshot").read_bytes()
    ran = authz("snapshot", "rollback", str(old), *BACK)
    assert ran.status == 2
    assert f"{old}.snapshot: bad_digest" in ran.err
    assert (authz.folder / "lists.snapshot").read_bytes() == served
    assert inspect_snapshot(authz.folder / "lists.snapshot").serial == new


def test_a_build_of_another_key_is_signed_only_where_its_key_is_trusted(authz: Commands) -> None:
    old = build(authz)
    build(authz)
    back = ("snapshot", "rollback", str(old), "-o", "lists.snapshot", "--key", "keys/b.key")
    ran = authz(*back)
    assert ran.status == 2
    assert "unknown_key" in ran.err
    assert "--trusted-key" in ran.err
    assert authz(*back, "--trusted-key", "keys/a.pub").status == 0


def test_an_unknown_serial_names_those_that_there_are(authz: Commands) -> None:
    serial = build(authz)
    ran = authz("snapshot", "rollback", "7", *BACK)
    assert ran.status == 2
    assert f"no build with the serial 7, expected {serial}\n" in ran.err


def test_the_archive_is_bounded_by_number_and_age_but_keeps_the_newest(authz: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    serials = []
    for _ in range(4):
        serials.append(build(authz))
        Archive(folder, "policy", max_files=3).keep(tmp_path / "lists.snapshot", now=time.time())
    assert [build.manifest.serial for build in Archive(folder, "policy").builds()] == serials[:0:-1]
    Archive(folder, "policy", max_age=60).keep(tmp_path / "lists.snapshot", now=time.time() + 120)
    assert [build.manifest.serial for build in Archive(folder, "policy").builds()] == [serials[-1]]


def test_the_build_that_served_at_a_time_is_the_newest_made_by_then(authz: Commands, tmp_path: Path) -> None:
    serial = build(authz)
    archive = Archive(tmp_path / "archive", "policy")
    made = archive.served_at(time.time() + 60).manifest
    assert made.serial == serial
    assert archive.served_at(made.created).manifest.serial == serial
    with pytest.raises(InputError, match="no build served then: the oldest was made 1 seconds later"):
        archive.served_at(made.created - 1)
    with pytest.raises(InputError, match="it is empty"):
        Archive(tmp_path / "none", "policy").served_at(0)


def test_foreign_files_in_the_archive_are_left_alone(authz: Commands, tmp_path: Path) -> None:
    build(authz)
    folder = tmp_path / "archive" / "policy"
    for name in ("notes.txt", "7.snapshot", "x.snapshot"):
        (folder / name).write_text("mine")
    build(authz)
    assert len(authz("snapshot", "history", "--json").json()["builds"]) == 2
    assert {"notes.txt", "7.snapshot", "x.snapshot"} <= {path.name for path in folder.iterdir()}


def test_bans_are_kept_in_an_archive_of_their_layer(authz: Commands) -> None:
    assert authz("bans", "init", "bans.yaml", "--key", "keys/b.key").status == 0
    assert authz("ban", "192.0.2.1").status == 0
    builds = authz("snapshot", "history", "--layer", "bans", "--json").json()["builds"]
    assert [build["source"] for build in builds] == ["bans.yaml: banned 192.0.2.1", "bans.yaml"]


CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], state: state.json}
application: {unknown: default}
"""
LAYERS = """\
layers:
  - {name: policy, path: lists.snapshot, trusted_keys: [keys/a.pub]}
  - {name: bans, path: bans.snapshot, trusted_keys: [keys/b.pub]}
application: {unknown: default}
"""
EXPLAIN = ("explain", "--config", "authz.yaml", "--json")


def test_explain_as_of_a_time_decides_by_the_file_that_served_then(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(CONFIG)
    now = int(time.time())
    signer = load_signer(str(tmp_path / "keys" / "a.key"))
    for serial, policy, created in ((7, POLICY, now - 7200), (8, "version: 1\n", now - 3600)):
        (tmp_path / "policy.yaml").write_text(policy)
        build_snapshot(
            read_policy(tmp_path / "policy.yaml"), tmp_path / "lists.snapshot", [signer], serial=serial, created=created
        )
        Archive(tmp_path / "archive", "policy").keep(tmp_path / "lists.snapshot", now=now)
    assert authz(*EXPLAIN, "203.0.113.7").json()["decision"]["reason"] == "default_allow"
    then = authz(*EXPLAIN, "203.0.113.7", "--as-of", format_moment(now - 3700)).json()
    assert (then["decision"]["reason"], then["decision"]["serial"], then["time"]) == (
        "denylisted", 7, format_moment(now - 3700),
    )  # fmt: skip
    before = authz(*EXPLAIN, "203.0.113.7", "--as-of", format_moment(now - 8000))
    assert before.status == 2
    assert "no build served then: the oldest was made 800 seconds later" in before.out


def test_explain_as_of_a_time_that_is_to_come_is_refused(authz: Commands) -> None:
    """`3h` instead of `-3h`: a client who is banned was shown as allowed."""
    build(authz)
    (authz.folder / "authz.yaml").write_text("snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n")
    ran = authz(*EXPLAIN, "203.0.113.7", "--as-of", "3h")
    assert ran.status == 2
    assert "which is to come, expected a time that is over, such as -2h" in ran.out


def test_explain_as_of_a_time_says_how_to_ask_for_the_build_before_one_that_is_refused(authz: Commands) -> None:
    first = build(authz)
    (authz.folder / "authz.yaml").write_text("snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n")
    path = authz.folder / "archive" / "policy" / f"{first}.snapshot"
    key = load_signer(str(authz.folder / "keys" / "b.key"))
    policy = read_policy(authz.folder / "policy.yaml", now=first)
    build_snapshot(policy, path.with_name(f"{first + 9}.snapshot"), [key], serial=first + 9, created=first - 20)
    ran = authz(*EXPLAIN, "203.0.113.7", "--as-of", format_moment(first - 10))
    assert ran.status != 0
    error = json.loads(ran.out)["error"]
    assert error["code"] == "unknown_key"
    before = f"--as-of {format_moment(first - 21)}"
    assert error["hint"] == f"sidecars may have refused it, too, and decided by the one before: {before}"


def test_a_group_that_shares_a_folder_shares_its_history(authz: Commands) -> None:
    """The second person's changes were in no history."""
    folder = authz.folder
    folder.chmod(0o2770)
    umask = os.umask(0o022)
    try:
        build(authz)
    finally:
        os.umask(umask)
    for made in (folder / "archive", folder / "archive" / "policy"):
        status = made.stat()
        assert status.st_mode & 0o2070 == 0o2070
        assert status.st_gid == folder.stat().st_gid


def test_a_folder_that_no_group_shares_has_a_history_that_no_group_writes(authz: Commands) -> None:
    authz.folder.chmod(0o755)
    build(authz)
    assert (authz.folder / "archive" / "policy").stat().st_mode & 0o022 == 0


def test_a_rollback_by_a_clock_that_went_back_says_so(authz: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(authz)
    now = time.time()
    monkeypatch.setattr("authz.cli.snapshot.history.time.time", lambda: now - 3600)
    ran = authz("snapshot", "rollback", str(first), *BACK)
    assert (ran.status, "the clock went back" in ran.err) == (0, True)


def test_explain_as_of_a_time_before_there_were_bans_decides_without_them_and_says_so(
    authz: Commands, tmp_path: Path
) -> None:
    """It failed: nobody could ask about the time before the first ban, or before those that the archive still has."""
    (tmp_path / "authz.yaml").write_text(LAYERS)
    build(authz)
    before = int(time.time())
    assert authz("bans", "init", "bans.yaml", "--key", "keys/b.key").status == 0
    kept = next(iter(Archive(tmp_path / "archive", "bans").builds())).path
    signer = load_signer(str(tmp_path / "keys" / "b.key"))
    later = build_bans_layer([], layer="bans", serial=before + 60, created=before + 60, signers=[signer])
    kept.with_name(f"{before + 60}.snapshot").write_bytes(later)
    kept.unlink()
    ran = authz(*EXPLAIN, "203.0.113.7", "--as-of", format_moment(before))
    assert ran.json()["decision"]["reason"] == "denylisted"
    assert "no build served then" in ran.err
    assert "decided without the layer bans" in ran.err


def test_explain_as_of_a_time_asks_for_the_archive_of_a_layer_that_comes_from_a_server(
    authz: Commands, tmp_path: Path
) -> None:
    """The error named a folder beside the last good copy, which nobody fills."""
    (tmp_path / "authz.yaml").write_text(LAYERS.replace("path: lists.snapshot", "url: 'http://127.0.0.1:1/lists'"))
    ran = authz(*EXPLAIN, "203.0.113.7", "--as-of", "2026-11-01T00:00:00Z")
    assert ran.status == 2
    assert "--archive DIR" in ran.out


def test_explain_decides_by_all_layers(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(LAYERS)
    build(authz)
    assert authz(*EXPLAIN, "198.51.100.200").json()["decision"]["reason"] == "default_allow"
    assert authz("bans", "init", "bans.yaml", "--key", "keys/b.key").status == 0
    made = authz("ban", "198.51.100.200", "--reason", "guessing", "--json").json()
    content = authz(*EXPLAIN, "198.51.100.200").json()
    assert (content["decision"]["reason"], content["decision"]["entry"]) == ("denylisted", made["id"])
    assert content["covering"][0]["reason"] == "guessing"
    assert "trusted" not in authz("explain", "198.51.100.200", "--config", "authz.yaml").err


def test_explain_believes_no_file_that_another_key_signed(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "authz.yaml").write_text(LAYERS.replace("keys/b.pub", "keys/a.pub"))
    build(authz)
    assert authz("bans", "init", "bans.yaml", "--key", "keys/b.key").status == 0
    ran = authz(*EXPLAIN, "198.51.100.200")
    assert ran.status == 1
    assert "bans.snapshot: unknown_key" in ran.err + ran.out


def test_what_a_killed_build_left_in_the_archive_is_dropped_after_an_hour(authz: Commands, tmp_path: Path) -> None:
    build(authz)
    folder = tmp_path / "archive" / "policy"
    old, new = folder / ".6.snapshot.abcdefgh.new", folder / ".7.snapshot.abcdefgh.new"
    for path, age in ((old, 3700), (new, 10)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    build(authz)
    assert (old.exists(), new.exists()) == (False, True)
