"""Folders under watch: what happens in them is told, and nothing of what happens elsewhere."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
import uvloop
from support.suite.descriptors import descriptors

from authz.durable import replace_file
from authz.serve.layers import watch as folders_module
from authz.serve.layers.watch import FolderWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any

PATIENCE = 60.0
NEVER = 3600.0
NAMES = ("file", "link", "old", "watched")
linux = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(coroutine)


class Watch:
    """A watch, and whether it has told of a change since the last look. settle: seconds."""

    def __init__(self, settle: float) -> None:
        self.told = asyncio.Event()
        self.folders = FolderWatch(asyncio.get_running_loop(), self.told.set, settle)

    def follow(self, *folders: Path) -> tuple[bool, bool]:
        return self.folders.follow(folders, NAMES)

    async def tells(self) -> None:
        """Wait until it tells."""
        async with asyncio.timeout(PATIENCE):
            await self.told.wait()
        self.told.clear()


def written(folder: Path) -> None:
    (folder / "file").write_bytes(b"content")


def renamed(folder: Path) -> None:
    (folder.parent / "beside").write_bytes(b"content")
    (folder.parent / "beside").rename(folder / "file")


def linked(folder: Path) -> None:
    (folder / "link").symlink_to("file")


def removed(folder: Path) -> None:
    (folder / "old").unlink()


def rights(folder: Path) -> None:
    (folder / "old").chmod(0o600)


def moved_away(folder: Path) -> None:
    (folder / "old").rename(folder.parent / "gone")


@linux
@pytest.mark.parametrize(("change", "settle"), [(written, NEVER), (renamed, NEVER), (linked, 0.01), (removed, 0.01),
                                                (rights, 0.01), (moved_away, 0.01)])  # fmt: skip
def test_a_whole_file_is_told_at_once_and_any_other_change_when_it_settled(
    tmp_path: Path, change: Callable[[Path], None], settle: float
) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    (folder / "old").write_bytes(b"old")

    async def live() -> None:
        watch = Watch(settle)
        assert watch.follow(folder) == (True, True)
        assert watch.follow(folder) == (True, False)
        change(folder)
        await watch.tells()
        watch.folders.close()
        watch.folders.close()

    run(live())


@linux
def test_a_folder_that_comes_and_goes_and_comes_again_is_followed(tmp_path: Path) -> None:
    folder = tmp_path / "watched"

    async def live() -> None:
        watch = Watch(0.01)
        assert watch.follow(folder, tmp_path) == (False, True)
        for _ in range(2):
            folder.mkdir()
            await watch.tells()
            assert watch.follow(folder, tmp_path) == (True, True)
            (folder / "file").write_bytes(b"content")
            await watch.tells()
            (folder / "file").unlink()
            folder.rmdir()
            await watch.tells()
            assert watch.follow(folder, tmp_path) == (False, False)
            while watch.told.is_set():  # of all that the removal is told as
                await watch.tells()
        watch.folders.close()

    run(live())


@linux
def test_a_folder_that_another_took_the_place_of_is_followed_no_more(tmp_path: Path) -> None:
    folder, other = tmp_path / "watched", tmp_path / "other"
    folder.mkdir()
    other.mkdir()

    async def live() -> None:
        watch = Watch(0.01)
        watch.follow(folder)
        folder.rename(tmp_path / "moved")
        await watch.tells()
        other.rename(folder)
        assert watch.follow(folder) == (True, True)
        await watch.tells()  # that the first is followed no more
        (tmp_path / "moved" / "file").write_bytes(b"content")
        (folder / "file").write_bytes(b"content")
        await watch.tells()
        watch.folders.close()

    run(live())


@linux
def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    async def live() -> None:
        watch = Watch(NEVER)
        assert watch.follow(tmp_path / "file") == (False, False)
        watch.folders.close()

    run(live())


@linux
def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async def live() -> None:
        before = descriptors()
        watch = Watch(NEVER)
        watch.follow(tmp_path)
        watch.folders.close()
        assert descriptors() <= before

    run(live())


def test_without_inotify_nothing_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders_module, "_libc", lambda: None)

    async def live() -> None:
        watch = Watch(0.0)
        assert watch.follow(tmp_path) == (False, False)
        watch.folders.close()

    run(live())


@linux
def test_what_is_written_beside_the_file_wakes_nobody(tmp_path: Path) -> None:
    """`authz ban` writes bans.yaml and files that are not whole yet beside bans.snapshot: each woke every layer."""

    async def live() -> None:
        watch = Watch(0.0)
        watch.follow(tmp_path)
        replace_file(tmp_path / "bans.yaml", lambda file: file.write(b"bans"))
        (tmp_path / ".file.0123abcd.new").write_bytes(b"half of it")
        (tmp_path / "gone").write_bytes(b"")
        (tmp_path / "gone").unlink()
        await asyncio.sleep(0.05)
        assert not watch.told.is_set()
        (tmp_path / ".file.0123abcd.new").rename(tmp_path / "file")
        await watch.tells()
        watch.folders.close()

    run(live())


@linux
def test_the_part_of_a_file_is_told(tmp_path: Path) -> None:
    async def live() -> None:
        watch = Watch(NEVER)
        watch.follow(tmp_path)
        (tmp_path / "file.1795830000").write_bytes(b"part")
        await watch.tells()
        watch.folders.close()

    run(live())


@linux
def test_a_name_that_is_new_may_have_changed_before(tmp_path: Path) -> None:
    async def live() -> None:
        watch = Watch(NEVER)
        assert watch.folders.follow([tmp_path], ["file"]) == (True, True)
        assert watch.folders.follow([tmp_path], ["file", "target"]) == (True, True)
        assert watch.folders.follow([tmp_path], ["file"]) == (True, False)
        watch.folders.close()

    run(live())
