"""Replacing a file: whatever fails and whenever, the old file or the new one is there, whole, and nothing beside it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from authz.durable import replace_file
from authz.errors import InputError, SnapshotRefused
from authz.publisher.bans.document import create_bans_file
from authz.publisher.bans.file import change_bans
from authz.snapshot.rollback_guard import State, load_states, save_states
from authz.snapshot.signing.signers import generate_keys, load_signer

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher

OLD, NEW = b"old" * 1000, b"new" * 2000


class Broken(OSError):
    """What the tests let a step fail with."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the old content, alone in its folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(OLD)
    return folder / "file"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_new(file: BinaryIO) -> None:
    file.write(NEW[:100])
    file.write(NEW[100:])


# The steps, in order: where the function is, its name, and which call of it is the step.
STEPS: dict[str, tuple[Any, str, int]] = {
    "create": (os, "open", 1),
    "rights": (os, "fchmod", 1),
    "sync the file": (os, "fsync", 1),
    "rename": (Path, "replace", 1),
    "sync the folder": (os, "fsync", 2),
}


def break_step(monkeypatch: pytest.MonkeyPatch, step: str, *, after: bool) -> None:
    """Let a step fail before it does anything, or after it was done."""
    owner, name, count = STEPS[step]
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def broken(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        if name == "open" and not arguments[1] & os.O_EXCL:  # of a lock, or of what is read
            return real(*arguments, **named)
        calls += 1
        if calls != count:
            return real(*arguments, **named)
        if after:
            real(*arguments, **named)
        raise Broken(5, "broken by the test")

    monkeypatch.setattr(owner, name, broken)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", [step for step in STEPS if step != "create"])
def test_a_step_that_fails_leaves_the_old_file_or_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    break_step(monkeypatch, step, after=after)
    with pytest.raises(Broken):
        replace_file(path, write_new)
    renamed = step == "sync the folder" or (step == "rename" and after)
    assert path.read_bytes() == (NEW if renamed else OLD)
    assert names(path.parent) == ["file"]


def test_a_file_that_cannot_be_made_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_step(monkeypatch, "create", after=False)
    with pytest.raises(Broken):
        replace_file(path, write_new)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("error", [Broken(28, "no space left"), ValueError("a bug"), KeyboardInterrupt()])
@pytest.mark.parametrize("written", [b"", NEW])
def test_a_write_that_fails_halfway_leaves_the_old_file(path: Path, error: BaseException, written: bytes) -> None:
    def write(file: BinaryIO) -> None:
        file.write(written)
        raise error

    with pytest.raises(type(error)):
        replace_file(path, write)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


def test_a_full_disk_at_the_flush_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    class Full:
        def __init__(self, *arguments: Any) -> None:
            self._file = real(*arguments)

        def __enter__(self) -> Any:
            self._file.__enter__()
            return self

        def __exit__(self, *arguments: object) -> None:
            self._file.__exit__(*arguments)

        def write(self, data: bytes) -> None:
            self._file.write(data)

        def flush(self) -> None:
            raise Broken(28, "no space left")

    monkeypatch.setattr(os, "fdopen", Full)
    with pytest.raises(Broken):
        replace_file(path, write_new)
    assert path.read_bytes() == OLD
    assert names(path.parent) == ["file"]


def test_without_failure_the_new_file_is_there_with_its_rights_and_nothing_beside_it(path: Path) -> None:
    replace_file(path, write_new)
    assert path.read_bytes() == NEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    replace_file(path, write_new, mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(path.parent) == ["file"]


def test_a_file_that_was_not_there_is_made(tmp_path: Path) -> None:
    replace_file(tmp_path / "file", write_new)
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_reader_of_the_old_file_keeps_it(path: Path) -> None:
    with path.open("rb") as reader:
        replace_file(path, write_new)
        assert reader.read() == OLD


class Syncs:
    """What was synced, in order, between the renames."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        sync, rename = os.fsync, Path.replace

        def count_sync(descriptor: int) -> None:
            self.steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
            sync(descriptor)

        def count_rename(path: Path, target: Path) -> Path:
            self.steps.append("rename")
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", count_sync)
        monkeypatch.setattr(Path, "replace", count_rename)


def test_a_replacement_syncs_the_file_before_and_the_folder_after_the_rename(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    replace_file(path, write_new)
    assert syncs.steps == ["file", "rename", "folder"]


def test_a_snapshot_costs_two_syncs_however_many_sections_it_has(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs(monkeypatch)
    publisher.publish()
    assert syncs.steps == ["file", "rename", "folder"]


def test_a_ban_is_in_place_after_three_syncs_and_in_the_archive_after_three_more(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = publisher.folder
    create_bans_file(folder / "bans.yaml", layer="bans", snapshot="bans.snapshot", key="keys/a.key")
    syncs = Syncs(monkeypatch)
    change_bans(folder / "bans.yaml", lambda _, bans: bans, load_signer, now=int(time.time()), by="test")
    assert syncs.steps == 3 * ["file", "rename", "folder"]


def test_a_state_costs_two_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    save_states(tmp_path / "state.json", {"policy": State(7, "digest")})
    assert syncs.steps == ["file", "rename", "folder"]


def test_a_key_pair_syncs_both_files_and_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    generate_keys(tmp_path, "a")
    assert syncs.steps == ["file", "file", "folder"]


@pytest.mark.parametrize("step", STEPS)
def test_a_snapshot_that_cannot_be_written_leaves_the_old_or_the_new_one_whole(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = publisher.publish(serial=1)
    old = path.read_bytes()
    before = names(path.parent)
    break_step(monkeypatch, step, after=False)
    with pytest.raises(InputError, match=r"lists.snapshot: cannot be written: broken by the test"):
        publisher.publish(serial=2)
    assert names(path.parent) == before
    assert (path.read_bytes() == old) == (step != "sync the folder")


@pytest.mark.parametrize("step", STEPS)
def test_a_state_that_cannot_be_written_leaves_the_old_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "state.json"
    save_states(path, {"policy": State(1, "one")})
    break_step(monkeypatch, step, after=False)
    with pytest.raises(SnapshotRefused) as refused:
        save_states(path, {"policy": State(2, "two")})
    assert refused.value.code == "state_unwritable"
    assert load_states(path).get("policy") == (State(2, "two") if step == "sync the folder" else State(1, "one"))
    assert names(tmp_path) == ["state.json"]
