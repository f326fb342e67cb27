"""A source of events: a log file that is rotated, renamed, truncated, or replaced by something else."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import PATIENCE
from support.servers.intake import LINE, Room, eventually, feeder

from authz.control.detect.sources import file as file_source
from authz.control.detect.sources.file import FollowedFile

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def room() -> Room:
    return Room()


@contextlib.contextmanager
def following(path: Path, room: Room) -> Iterator[None]:
    followed = FollowedFile(path, feeder(room))
    opened, open_ = threading.Event(), followed._open

    def noted(*, at_end: bool) -> Any:
        file = open_(at_end=at_end)
        opened.set()
        return file

    followed._open = noted  # type: ignore[method-assign]  # to see that it has looked
    followed.start()
    assert opened.wait(PATIENCE)  # it has looked for its end
    try:
        yield
    finally:
        followed.stop()


def test_a_file_is_followed_from_its_end_through_a_rotation(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_text(f"{LINE}\n" * 5)
    with following(path, room), path.open("a") as old:
        old.write(f"{LINE}\n{LINE[:20]}")
        old.flush()
        eventually(lambda: len(room.events) == 1)
        path.rename(tmp_path / "access.log.1")
        old.write(f"{LINE[20:]}\n{LINE}\n")  # nginx writes on until it is told
        old.flush()
        eventually(lambda: len(room.events) == 3)
        path.write_text(f"{LINE}\n{LINE}\n")
        eventually(lambda: len(room.events) == 5)
        old.write(f"{LINE}\n{LINE[:20]}")  # one of its workers has not been told yet
        old.flush()
        eventually(lambda: len(room.events) == 6)
        old.write(f"{LINE[20:]}\n")
        old.flush()
        eventually(lambda: len(room.events) == 7)


def test_a_file_that_was_renamed_is_closed_once_it_is_quiet_or_others_follow(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last line counts then, also without an end."""
    path = tmp_path / "access.log"
    path.touch()

    def open_files() -> list[str]:
        names = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                names.append(str(descriptor.readlink()))
        return [name for name in names if name.startswith(str(path))]

    with following(path, room):
        for number in range(1, 9):
            path.rename(tmp_path / f"access.log.{number}")
            path.write_text(f"{LINE}\n{LINE}")
            eventually(lambda: str(path) in open_files())
        eventually(lambda: len(open_files()) == 1 + file_source.MAX_RENAMED)
        eventually(lambda: len(room.events) == 2 * 8 - 1 - file_source.MAX_RENAMED)
        monkeypatch.setattr(file_source, "QUIET", 0.0)
        eventually(lambda: open_files() == [str(path)])
        eventually(lambda: len(room.events) == 2 * 8 - 1)


def test_a_file_that_is_away_for_a_moment_does_not_count_again(room: Room, tmp_path: Path) -> None:
    path, away = tmp_path / "access.log", tmp_path / "away"
    path.touch()
    with following(path, room), path.open("a") as log:
        for number in range(1, 4):
            log.write(f"{LINE}\n")
            log.flush()
            eventually(lambda: len(room.events) == number)  # noqa: B023  # it is called here
            path.rename(away)
            time.sleep(3 * file_source.LOOK)
            away.rename(path)
        log.write(f"{LINE}\n")
        log.flush()
        eventually(lambda: len(room.events) == 4)
        time.sleep(3 * file_source.LOOK)
    assert len(room.events) == 4


def test_the_end_of_a_line_that_is_too_long_is_no_line_of_its_own(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "_CHUNK", 70_000)  # bytes of a read; a line may have 65,536
    path = tmp_path / "access.log"
    path.touch()
    with following(path, room), path.open("a") as log:
        log.write(f"{'x' * 140_000}{LINE}\n{LINE.replace('/login', '/next')}\n")
        log.flush()
        eventually(lambda: bool(room.events))
    assert [event.path for event in room.events] == ["/next"]


def test_a_file_that_is_truncated_or_comes_late_is_followed(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    with following(path, room):
        path.write_text(f"{LINE}\n" * 3)
        eventually(lambda: len(room.events) == 3)
        path.write_text(f"{LINE}\n")
        eventually(lambda: len(room.events) == 4)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_log_that_is_replaced_by_a_pipe_or_a_device_stalls_nothing(room: Room, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "access.log"
    path.touch()
    with following(path, room):
        path.unlink()
        if kind == "pipe":
            os.mkfifo(path)  # to open it would wait for a writer
        else:
            path.symlink_to("/dev/zero")  # has no end
        time.sleep(0.3)
        path.unlink()
        path.write_text(f"{LINE}\n")
        eventually(lambda: len(room.events) == 1)


def test_a_file_waits_for_room(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.touch()
    room.full = True
    with following(path, room):
        path.write_text(f"{LINE}\n" * 3)
        time.sleep(0.3)
        assert not room.events
        room.full = False
        eventually(lambda: len(room.events) == 3)
