"""The last good content of feeds, for those that a policy would rather have old than not at all (`on_broken: keep`).

A copy of each such feed is kept in a folder beside the snapshot, made by every build that could read it. A build that
cannot takes the copy, warns, and writes since when into the snapshot.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from authz.durable import replace_file
from authz.errors import InputError


class LastGood(NamedTuple):
    """A copy.

    Attributes:
        since: When it was last seen to be good, in seconds since 1970.
    """

    path: Path
    since: int


def keep_content(folder: Path, written: str, feed: Path) -> None:
    """Keep the content of a feed that has just been read.

    Args:
        folder: For all copies of a snapshot; made where it is missing.
        written: The path as the policy has it.
        feed: The file.

    Raises:
        InputError: The copy cannot be written.

    """
    copy = _copy_of(folder, written)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with feed.open("rb") as source:
            replace_file(copy, lambda file: file.writelines(iter(lambda: source.read(1 << 20), b"")))
    except OSError as error:
        raise InputError(f"{copy}: cannot be written: {error.strerror}") from error


def find_last_good(folder: Path | None, written: str) -> LastGood | None:
    """Return the copy of a feed; None if there is none. See `keep_content`."""
    if folder is None:
        return None
    copy = _copy_of(folder, written)
    try:
        return LastGood(copy, int(copy.stat().st_mtime))
    except OSError:
        return None


def _copy_of(folder: Path, written: str) -> Path:
    """Two feeds may have the same name in different folders."""
    return folder / f"{hashlib.sha256(written.encode()).hexdigest()[:12]}-{Path(written).name}"
