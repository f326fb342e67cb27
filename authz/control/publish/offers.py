"""What is offered to sidecars now, and which requests wait for more.

A long poll holds no thread and no connection of the store: it waits for an event of the loop. Files are kept in memory,
one a layer, with the parts that it requires.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from authz.control.model.problems import NotReady
from authz.control.store.published.parts import part_content
from authz.control.store.published.publications import content_of, newest_publication, published_serials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from authz.control.store.database import Store
    from authz.control.store.published.publications import Publication
    from authz.control.store.signals import Signals


class Offer(NamedTuple):
    """A file that sidecars are given.

    Attributes:
        parts: By their serials.
    """

    publication: Publication
    content: bytes
    parts: Mapping[int, bytes] = {}


class Offers:
    """The newest file of each layer."""

    def __init__(self, store: Store, signals: Signals) -> None:
        self._store = store
        self._offers: dict[str, Offer] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        signals.on("published", self._signalled)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Load what is published, and from now on follow it. loop: whose tasks wait."""
        self._loop = loop
        self.refresh()

    def get(self, layer: str) -> Offer | None:
        """Return what is offered; None: nothing yet."""
        return self._offers.get(layer)

    def refresh(self) -> None:
        """Load what is newer in the store. Reads the store: not for the loop's thread."""
        with self._lock, self._store.reading() as tx:
            for layer, serial in published_serials(tx).items():
                known = self._offers.get(layer)
                if known is not None and known.publication.serial >= serial:
                    continue
                newest = newest_publication(tx, layer)
                content = newest and content_of(tx, layer, newest.serial)
                if newest is not None and content is not None:
                    self._offers[layer] = Offer(newest, content, _parts(tx, newest, known.parts if known else {}))
        self.wake()

    def put(self, publication: Publication, content: bytes, parts: Mapping[int, bytes]) -> bool:
        """Offer a file that was just kept in the store, without reading it from there.

        parts: those of its parts that are new. Returns False if another one that it requires is not in memory:
        `refresh` finds all.
        """
        with self._lock:
            known = self._offers.get(publication.layer)
            if known is not None and known.publication.serial >= publication.serial:
                return True
            there = {**(known.parts if known is not None else {}), **parts}
            wanted = publication.part_serials()
            if any(serial not in there for serial in wanted):
                return False
            self._offers[publication.layer] = Offer(publication, content, {serial: there[serial] for serial in wanted})
        self.wake()
        return True

    def part(self, layer: str, serial: int) -> bytes | None:
        """Return a part that the newest file requires, or one before did; None: none. May read the store."""
        offer = self._offers.get(layer)
        if offer is not None and serial in offer.parts:
            return offer.parts[serial]
        with self._store.reading() as tx:
            return part_content(tx, layer, serial)

    def wake(self) -> None:
        """Let all who wait look again."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._wake_in_loop)

    def close(self) -> None:
        """Let all who wait go: the process ends."""
        self._closed = True
        self.wake()

    def _wake_in_loop(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _signalled(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError, NotReady):
                self._loop.call_soon_threadsafe(self._refresh_soon)

    def _refresh_soon(self) -> None:
        if self._loop is not None:
            task = self._loop.run_in_executor(None, self._refresh_quietly)
            task.add_done_callback(lambda done: done.exception())

    def _refresh_quietly(self) -> None:
        with contextlib.suppress(NotReady):
            self.refresh()

    async def until(self, reached: Callable[[], bool], timeout: float) -> bool:  # a wait with an answer
        """Wait until `reached` says yes, looking whenever something changes. Return what it says in the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not reached() and not self._closed:
                    await self._changed.wait()
        return reached()


def _parts(tx: Connection, publication: Publication, known: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the parts of a file; those that are in memory already are not read again."""
    contents = {}
    for serial in publication.part_serials():
        content = known.get(serial) or part_content(tx, publication.layer, serial)
        if content is not None:
            contents[serial] = content
    return contents
