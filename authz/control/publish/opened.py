"""Signed files of the store, opened for questions about then."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from authz.control.store.published.parts import part_content
from authz.control.store.published.publications import content_of, publication_at
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_KEPT = 4


class FeedTaken(NamedTuple):
    """What a file says of a feed.

    Attributes:
        kept_since: It is broken, and this older content of it was taken (seconds).
    """

    entries: int
    kept_since: int | None
    problem: str


class Kept(NamedTuple):
    """A file that is kept open.

    Attributes:
        feeds: By source type and path.
    """

    opened: OpenedSnapshot
    feeds: dict[tuple[str, str], FeedTaken]


class OpenedFiles:
    """The files asked for last, opened."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], Kept] = {}
        self._lock = threading.Lock()

    def at(self, tx: Connection, layer: str, at: int) -> OpenedSnapshot | None:
        """Return the file that was offered at a time (microseconds); None: there was none, or it is not kept."""
        kept = self._kept_at(tx, layer, at)
        return None if kept is None else kept.opened

    def feeds_at(self, tx: Connection, layer: str, at: int) -> dict[tuple[str, str], FeedTaken]:
        """Return what the file of a time took from feeds, by source type and path."""
        kept = self._kept_at(tx, layer, at)
        return {} if kept is None else kept.feeds

    def _kept_at(self, tx: Connection, layer: str, at: int) -> Kept | None:
        publication = publication_at(tx, layer, at)
        if publication is None:
            return None
        key = (layer, publication.serial)
        with self._lock:
            if key not in self._kept:
                content = content_of(tx, layer, publication.serial)
                if content is None:
                    return None
                while len(self._kept) >= MAX_KEPT:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = _opened(content)
            return self._kept[key]

    def parts_at(self, tx: Connection, layer: str, at: int) -> list[OpenedSnapshot]:
        """Return the parts that the file of a time requires, those that are still kept. They are opened again."""
        publication = publication_at(tx, layer, at)
        serials = [] if publication is None else publication.part_serials()
        contents = (part_content(tx, layer, serial) for serial in serials)
        return [_opened(content).opened for content in contents if content is not None]


def _opened(content: bytes) -> Kept:
    """Open a file. It came out of our own store, where only we write; who decides by a file verifies it."""
    with tempfile.NamedTemporaryFile(prefix="authz-", suffix=".snapshot") as file:
        file.write(content)
        file.flush()
        snapshot = inspect_snapshot(Path(file.name))
        feeds = {
            (feed.source, feed.path): FeedTaken(
                feed.entries, feed.kept_since if feed.HasField("kept_since") else None, feed.problem
            )
            for feed in snapshot.manifest.feeds
        }
        return Kept(OpenedSnapshot(snapshot), feeds)
