"""The state file: the highest serial outlives the process, so that an old snapshot cannot be played back."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import logging
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING

import pytest
from support.processes import CONFIG, Process
from support.sidecar.loading import Loading

from authz.errors import DamagedState, InputError, SnapshotRefused
from authz.snapshot import rollback_guard
from authz.snapshot.read import inspect_snapshot
from authz.snapshot.rollback_guard import MAX_STATE, State, accept, load_states, save_states, writing

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

    from authz.engine.entries.ruleset import Ruleset

BROKEN = {
    "empty": b"",
    "cut": b'{"digest": "ab", "ser',
    "text": b"7\n",
    "no UTF-8": b'{"digest": "\xff", "serial": 7}',
    "a list": b"[7]",
    "a serial that is text": b'{"digest": "ab", "serial": "7"}',
    "a serial that is no whole number": b'{"digest": "ab", "serial": 7.5}',
    "a negative serial": b'{"digest": "ab", "serial": -1}',
    "without digest": b'{"serial": 7}',
    "with another key": b'{"digest": "ab", "serial": 7, "host": "a"}',
    "twice": b'{"digest": "ab", "serial": 7}{"digest": "ab", "serial": 7}',
    "far too large": b'{"digest": "ab", "serial": 7}'.ljust(MAX_STATE + 2).replace(b"ab", b"a" * MAX_STATE),
}


@pytest.fixture
def loading(publisher: Publisher, tmp_path: Path) -> Loading:
    """What has loaded the snapshot with serial 5."""
    publisher.publish(serial=5)
    loading = Loading(tmp_path, [publisher.key()])
    assert loading.load() == "ok"
    return loading


def restarted(publisher: Publisher, tmp_path: Path) -> Loading:
    return Loading(tmp_path, [publisher.key()])


def test_a_state_is_read_back(tmp_path: Path) -> None:
    save_states(tmp_path / "state.json", {"policy": State(7, "ab"), "bans": State(9, "cd")})
    assert load_states(tmp_path / "state.json") == {"policy": State(7, "ab"), "bans": State(9, "cd")}
    assert json.loads((tmp_path / "state.json").read_bytes()) == {
        "layers": {"policy": {"serial": 7, "digest": "ab"}, "bans": {"serial": 9, "digest": "cd"}}
    }


def test_a_state_is_for_the_sidecar_alone(tmp_path: Path) -> None:
    save_states(tmp_path / "state.json", {"policy": State(7, "ab")})
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


def test_no_file_is_no_state_yet(tmp_path: Path) -> None:
    assert load_states(tmp_path / "state.json").get("policy") is None
    assert load_states(tmp_path / "missing" / "state.json").get("policy") is None


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_state_is_an_error_that_says_how_to_go_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(BROKEN[name])
    with pytest.raises(InputError) as error:
        load_states(path).get("policy")
    assert error.value.message.startswith(f"{path}: found no state of authz: ")
    assert error.value.hint == 'write it again as {"digest": "", "serial": N} with the highest serial you know of'
    assert path.read_bytes() == BROKEN[name]


def test_a_state_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_states(tmp_path).get("policy")
    assert error.value.message == f"{tmp_path}: cannot be read: Is a directory"


def test_the_state_that_the_hint_names_is_taken(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "authz.json").write_text('{"digest": "", "serial": 5}')
    loading = restarted(publisher, tmp_path)
    publisher.publish(serial=4)
    assert loading.load() == "rolled_back"
    publisher.publish(serial=6)
    assert loading.load() == "ok"


def test_a_state_written_anew_takes_one_snapshot_of_its_own_serial(publisher: Publisher) -> None:
    first = inspect_snapshot(publisher.publish(serial=7))
    other = inspect_snapshot(publisher.publish(serial=7, created=1))
    taken = accept(first, State(serial=7, digest=""))
    assert taken == State(serial=7, digest=first.digest)
    with pytest.raises(SnapshotRefused) as error:
        accept(other, taken)
    assert error.value.code == "rolled_back"


def test_the_first_snapshot_is_accepted_whatever_its_serial(publisher: Publisher) -> None:
    snapshot = inspect_snapshot(publisher.publish(serial=0))
    assert accept(snapshot, None) == State(0, snapshot.digest)


def test_a_refused_serial_is_told_both_sides(publisher: Publisher) -> None:
    snapshot = inspect_snapshot(publisher.publish(serial=41))
    with pytest.raises(SnapshotRefused) as refused:
        accept(snapshot, State(42, "ab"))
    assert refused.value.message == "found serial 41, expected above 42"
    assert refused.value.hint == "publish with a higher --serial"
    with pytest.raises(SnapshotRefused) as refused:
        accept(snapshot, State(41, "ab"))
    assert refused.value.message == "found another snapshot with serial 41, expected above 41"


def test_a_loaded_snapshot_is_remembered(loading: Loading) -> None:
    assert loading.decider.ruleset is not None
    assert load_states(loading.state).get("policy") == State(5, loading.decider.ruleset.policy.digest)


def test_the_highest_serial_is_kept_across_restarts(loading: Loading, publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish(serial=9)
    assert loading.load() == "ok"
    for serial in (1, 5, 8):
        publisher.publish(serial=serial, created=serial)
        again = restarted(publisher, tmp_path)
        assert again.load() == "rolled_back"
        assert again.decider.ruleset is None
    assert load_states(loading.state).get("policy") == State(
        9, loading.decider.ruleset.policy.digest if loading.decider.ruleset else ""
    )


@pytest.mark.usefixtures("loading")
def test_the_very_same_file_is_loaded_after_a_restart(publisher: Publisher, tmp_path: Path) -> None:
    again = restarted(publisher, tmp_path)
    assert again.load() == "ok"
    assert again.decider.ruleset is not None
    assert again.decider.ruleset.serial == 5


def test_the_very_same_file_is_not_remembered_again(loading: Loading) -> None:
    before = loading.state.stat()
    assert loading.load(force=True) == "ok"
    after = loading.state.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("loading")
def test_the_same_serial_with_other_content_is_refused_after_a_restart(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("version: 1\n", serial=5)
    assert restarted(publisher, tmp_path).load() == "rolled_back"


def test_the_same_content_signed_anew_is_the_same_snapshot(loading: Loading, publisher: Publisher) -> None:
    publisher.publish(serial=6, created=1000)
    assert loading.load() == "ok"
    publisher.publish(serial=6, created=1000, keys=["b", "a"])
    assert loading.load() == "ok"
    assert loading.metrics.loads() == {"ok": 3}


@pytest.mark.parametrize("broken", ["folder gone", "folder is a file", "state is a folder"])
def test_a_state_that_cannot_be_written_refuses_the_snapshot_and_the_loaded_one_serves_on(
    loading: Loading, publisher: Publisher, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    loading.state.unlink()
    if broken == "state is a folder":
        loading.state.mkdir()
    else:
        shutil.rmtree(loading.state.parent)
    if broken == "folder is a file":
        loading.state.parent.write_bytes(b"")
    publisher.publish(serial=6)
    before = loading.standing()
    with caplog.at_level(logging.WARNING, "authz"):
        assert loading.load() == "state_unwritable"
    assert loading.standing() == before
    assert loading.metrics.loads() == {"ok": 1, "state_unwritable": 1}
    assert len(caplog.messages) == 1
    assert f"refused {loading.path}: state_unwritable: {loading.state}: " in caplog.messages[0]
    assert (
        "the new serial cannot be remembered; make the folder of snapshot.state, let the sidecar write to it, and send "
        "it SIGHUP; serial 5 serves on"
    ) in caplog.messages[0]


def test_a_state_that_can_be_written_again_takes_the_snapshot_at_the_next_reload(
    loading: Loading, publisher: Publisher
) -> None:
    loading.state.unlink()
    shutil.rmtree(loading.state.parent)
    publisher.publish(serial=6)
    assert loading.load() == "state_unwritable"
    loading.state.parent.mkdir()
    assert loading.load(force=True) == "ok"
    assert loading.decider.ruleset is not None
    assert loading.decider.ruleset.serial == 6
    assert load_states(loading.state).get("policy") == State(6, loading.decider.ruleset.policy.digest)


def test_a_serial_is_remembered_before_it_is_used(
    loading: Loading, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[State | None] = []
    load = loading.decider.load

    def look_and_load(ruleset: Ruleset) -> None:
        states.append(load_states(loading.state).get("policy"))
        load(ruleset)

    monkeypatch.setattr(loading.decider, "load", look_and_load)
    publisher.publish(serial=6)
    assert loading.load() == "ok"
    assert [state.serial for state in states if state] == [6]


def served(folder: Path) -> str:
    """Run `authz serve` that must end at once with status 2, and return what it printed."""
    (folder / "authz.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml", "--log-level", "error"]
    with Process(command, cwd=folder) as process:
        assert process.wait() == 2
        return process.output


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_damaged_state_is_rebuilt_from_the_last_good_copy_with_a_loud_line(
    publisher: Publisher, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It was a crash loop until somebody came; then an older file could be played back though there was a copy."""
    publisher.publish(serial=5)
    assert restarted(publisher, tmp_path).load() == "ok"
    (tmp_path / "state" / "authz.json").write_bytes(content)
    publisher.publish(serial=4)
    again = restarted(publisher, tmp_path)
    with caplog.at_level(logging.ERROR, "authz"):
        asyncio.run(again.layer.start())
    assert again.layer.refusal is not None
    assert again.layer.refusal.code == "rolled_back"
    assert again.decider.ruleset is not None
    assert again.decider.ruleset.serial == 5
    assert load_states(again.state)["policy"] == State(5, again.decider.ruleset.policy.digest)
    assert "state/authz.json: found no state of authz: " in caplog.messages[0]
    assert "continuing with the serials of the last good copies (policy: serial 5)" in caplog.messages[0]
    assert len([message for message in caplog.messages if "found no state" in message]) == 1


@pytest.mark.parametrize("spoil", ["absent", "changed"])
def test_a_damaged_state_without_a_copy_that_is_whole_begins_anew(
    publisher: Publisher, tmp_path: Path, spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher.publish(serial=5)
    assert restarted(publisher, tmp_path).load() == "ok"
    (tmp_path / "state" / "authz.json").write_text("{}")
    copy = tmp_path / "state" / "last-good" / "policy.snapshot"
    content = copy.read_bytes()
    copy.unlink()
    if spoil == "changed":
        copy.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    publisher.publish(serial=4)
    again = restarted(publisher, tmp_path)
    with caplog.at_level(logging.ERROR, "authz"):
        assert again.load() == "ok"
    assert load_states(again.state)["policy"].serial == 4
    assert "the last good copies (none). For a layer without one, an older file could be accepted" in caplog.messages[0]


def test_two_processes_share_a_state_that_is_never_lowered(publisher: Publisher, tmp_path: Path) -> None:
    """The one before and the one after an upgrade overlap."""
    publisher.publish(serial=5)
    old, new = restarted(publisher, tmp_path), restarted(publisher, tmp_path)
    assert old.load() == new.load() == "ok"
    publisher.publish(serial=7)
    assert new.load() == "ok"
    publisher.publish(serial=6)
    assert old.load() == "rolled_back"
    assert old.decider.ruleset is not None
    assert old.decider.ruleset.serial == 5
    assert load_states(old.state)["policy"].serial == 7
    publisher.publish(serial=8)
    assert old.load() == new.load() == "ok"


def test_a_sidecar_without_a_folder_for_its_state_does_not_start(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish()
    (tmp_path / "state").write_bytes(b"")
    assert served(tmp_path).strip() == f"authz: error: {tmp_path}/state/authz.json: cannot be read: Not a directory"


def test_a_process_that_hangs_with_the_lock_of_the_state_is_told(
    publisher: Publisher, loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sidecar that was stopped with the lock kept all others from each later file, and nothing said so."""
    monkeypatch.setattr(rollback_guard, "MAX_LOCKED", 0.05)
    publisher.publish(serial=6)
    with (loading.state.parent / f".{loading.state.name}.lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert loading.load() == "state_unwritable"
    assert loading.load() == "ok"


def test_a_named_pipe_in_the_place_of_the_state_keeps_nobody_from_starting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(DamagedState):
        load_states(tmp_path / "state.json")


@pytest.mark.parametrize(("number", "hint"), [(errno.ENOSPC, "make room there"), (errno.EACCES, "make the folder")])
def test_a_full_disk_is_not_told_as_a_missing_folder(tmp_path: Path, number: int, hint: str) -> None:
    """The hint was to make a folder that was there, and to send a signal; the file is tried again by itself."""
    with pytest.raises(SnapshotRefused) as caught, writing(tmp_path / "authz.json"):
        raise OSError(number, os.strerror(number))
    assert caught.value.code == "state_unwritable"
    assert caught.value.code.transient
    assert caught.value.hint.startswith(hint)
