"""Signed files of the store, opened for questions about then."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from authz.control.store.published.parts import part_content
from authz.control.store.published.publications import content_of, publication_at
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_KEPT = 4


class OpenedFiles:
    """The files asked for last, opened."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], OpenedSnapshot] = {}
        self._lock = threading.Lock()

    def at(self, tx: Connection, layer: str, at: int) -> OpenedSnapshot | None:
        """Return the file that was offered at a time (microseconds); None: there was none, or it is not kept."""
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
        """Return the parts that the file of a time requires, those that are still kept. They are opened anew."""
        publication = publication_at(tx, layer, at)
        serials = [] if publication is None else publication.part_serials()
        contents = (part_content(tx, layer, serial) for serial in serials)
        return [_opened(content) for content in contents if content is not None]


def _opened(content: bytes) -> OpenedSnapshot:
    """Open a file. It came out of our own store, where only we write; who decides by a file verifies it."""
    with tempfile.NamedTemporaryFile(prefix="authz-", suffix=".snapshot") as file:
        file.write(content)
        file.flush()
        return OpenedSnapshot(inspect_snapshot(Path(file.name)))
