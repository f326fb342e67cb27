"""Builds that were published, kept to look back and to go back: ARCHIVE/LAYER/SERIAL.snapshot, and its parts beside it.

The archive is a folder of files as they were published, each signed. Someone who can write to it can remove history,
but cannot forge it: what is taken out of it to be signed again is verified first.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from authz.durable import replace_file
from authz.errors import InputError, SnapshotRefused
from authz.snapshot.heading import part_path, read_heading

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

MAX_FILES = 50  # of a layer
MAX_AGE = 90 * 86400  # seconds since a file was made
_SUFFIX = ".snapshot"
_UNFINISHED = 3600  # seconds after which nobody writes a copy any more


class Archived(NamedTuple):
    """A build in the archive.

    Attributes:
        path: Its file.
        manifest: What it says of itself.
        size: Bytes.
    """

    path: Path
    manifest: Manifest
    size: int


class Archive:
    """The builds of one layer, in a folder of its own.

    Args:
        folder: The archive.
        layer: The name of the layer.
        max_files: How many builds are kept.
        max_age: Seconds for which a build is kept; the newest is kept however old it is.
    """

    def __init__(self, folder: Path, layer: str, max_files: int = MAX_FILES, max_age: int = MAX_AGE) -> None:
        self.folder = folder / layer
        self._max_files = max_files
        self._max_age = max_age

    def keep(self, file: Path, *, now: float) -> Path:
        """Copy a published file into the archive, drop what is too old or too much, and return the copy.

        Args:
            file: The published file.
            now: Seconds since 1970.

        Raises:
            InputError: The archive cannot be written, or the file is not a snapshot.
        """
        try:
            heading = read_heading(file)
            place = self.folder / f"{heading.serial}{_SUFFIX}"
            for folder in (self.folder.parent, self.folder):
                _make_folder(folder)
            for part in heading.requires:
                _keep_part(part_path(file, part), part_path(place, part))
            with file.open("rb") as source:
                replace_file(place, lambda copy: copy.writelines(_blocks(source)))
            self._drop(now)
        except SnapshotRefused as error:
            raise InputError(f"{file}: cannot be archived: {error.message}") from error
        except OSError as error:
            raise InputError(
                f"{self.folder}: {file.name} cannot be archived: {error.strerror}",
                hint="the snapshot was published, and the history does not have it",
            ) from error
        return place

    def _drop(self, now: float) -> None:
        """Drop what is too much, and from the oldest on what is too old: builds stand in the order of their times."""
        for leftover in self.folder.glob(".*.new"):  # of who was killed in `keep`
            with contextlib.suppress(FileNotFoundError):
                if leftover.stat().st_mtime < now - _UNFINISHED:
                    leftover.unlink()
        paths = self._paths()
        for path in paths[self._max_files :]:
            self._remove(path)
        for path in reversed(paths[1 : self._max_files]):
            with contextlib.suppress(FileNotFoundError, SnapshotRefused):  # somebody else dropped it; not ours
                if read_heading(path).created >= now - self._max_age:
                    return
                self._remove(path)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        for part in self.folder.glob(f"{path.name}.*"):
            part.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """Return the files, the highest serial first."""
        if not self.folder.is_dir():
            return []
        names = [path for path in self.folder.iterdir() if path.suffix == _SUFFIX and path.stem.isascii()]
        return sorted((path for path in names if path.stem.isdigit()), key=lambda path: int(path.stem), reverse=True)

    def builds(self) -> Iterator[Archived]:
        """Yield the builds, the newest first. A file that cannot be read is passed over."""
        from authz.snapshot.read import inspect_manifest  # noqa: PLC0415  # loads protobuf, which takes its time

        for path in self._paths():
            with contextlib.suppress(SnapshotRefused, FileNotFoundError):
                yield Archived(path, inspect_manifest(path), path.stat().st_size)

    def find(self, serial: int) -> Path:
        """Return the file of a build.

        Args:
            serial: Of the build.

        Raises:
            InputError: The archive does not have it. The error says which builds it has.
        """
        path = self.folder / f"{serial}{_SUFFIX}"
        if not path.is_file():
            kept = [archived.stem for archived in self._paths()]
            of = "" if self.folder.name == "policy" else f" --layer {self.folder.name}"
            known = f"one of {len(kept)}, from {kept[-1]} to {kept[0]}" if len(kept) > 1 else "".join(kept) or "none"
            raise InputError(
                f"{self.folder}: no build with the serial {serial}, expected {known}",
                hint=f"`authz snapshot history{of}` lists them" if kept else "no build is kept here",
            )
        return path

    def served_at(self, moment: float) -> Archived:
        """Return the build that served at a time: the newest that was made by then.

        Args:
            moment: Seconds since 1970.

        Raises:
            InputError: The archive has no build as old as that.
        """
        oldest: Archived | None = None
        for archived in self.builds():
            if archived.manifest.created <= moment:
                return archived
            oldest = archived
        since = (
            f"the oldest was made {oldest.manifest.created - int(moment)} seconds later" if oldest else "it is empty"
        )
        raise InputError(f"{self.folder}: no build served then: {since}")


def _make_folder(folder: Path) -> None:
    """Make a folder if there is none. Where a group shares the folder around it, the group shares it, too."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        around, made = folder.parent.stat(), folder.stat()
        if around.st_mode & stat.S_IWGRP and made.st_gid == around.st_gid:
            folder.chmod(stat.S_IMODE(made.st_mode) | stat.S_IRWXG)


def _keep_part(part: Path, place: Path) -> None:
    """Keep a part, which many heads require: by a second name of the file where it can have one, else by a copy."""
    try:
        os.link(part, place)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise
    except OSError:  # on another file system, or one without such names
        with part.open("rb") as source:
            replace_file(place, lambda copy: copy.writelines(_blocks(source)))


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.read(1 << 20), b"")
