"""One layer: source -> accept -> swap, again and again.

A refused file changes nothing: the old snapshot serves on. The refusal is logged once, counted by its code and shown in
/readyz and /snapshot until a good file comes. What is not the file's fault (no descriptor, no memory, a disk that does
not answer) is tried again until it is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refusal, SnapshotRefused, shorten
from authz.serve.background import in_thread
from authz.serve.layers.file import SETTLE
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.engine.opened_snapshot import OpenedSnapshot
    from authz.serve.layers.accept import Acceptor
    from authz.serve.layers.source import Source
    from authz.serve.layers.swap import Swap
    from authz.serve.observe.metrics import Metrics

_MAX_TRIES: Final = 50  # 10 seconds of a file that never comes to rest
_RETRY: Final = 1.0  # seconds before the first new try of what may be over soon; doubled up to the source's own poll
_CLOCKS: Final = 300.0  # seconds by which the publisher's clock may be ahead of ours
_LOG = logging.getLogger("authz.reload")


class LastRefusal(NamedTuple):
    """Why the newest file is not in use. at: seconds since 1970."""

    code: Refusal
    message: str
    at: float


class Layer:
    """Keeps one layer up to date.

    Args:
        source: Where its file comes from.
        acceptor: Verifies it.
        swap: Puts it in place.
        metrics: Counts loads and refusals.
        max_age: Seconds since a snapshot was made, after which it is stale.

    Attributes:
        opened: What was accepted last; None before the first.
        refusal: Why the newest file is not in use; None where it is.
        from_the_future: Whether it was made later than it is now, by more than clocks differ.
        on_load: Called after each good load.
    """

    def __init__(self, source: Source, acceptor: Acceptor, swap: Swap, metrics: Metrics, max_age: float) -> None:
        self.source = source
        self._acceptor = acceptor
        self._swap = swap
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._max_age = max_age
        self._retry = _RETRY
        self._was_stale = False
        self.opened: OpenedSnapshot | None = None
        self.from_the_future = False
        self.refusal: LastRefusal | None = None
        self.on_load: Callable[[], None] = lambda: None

    async def load_if_changed(self, *, force: bool = False) -> None:
        """Load the file where it is another one than at the last try, or in any case."""
        async with self._lock:
            for tries_left in reversed(range(_MAX_TRIES)):
                loaded, error, again = await self._try(force=force)
                if loaded is not None:
                    self._accepted(loaded)
                elif error is not None and not (again and tries_left):
                    self._refused(error)
                elif error is not None:
                    await asyncio.sleep(SETTLE)
                    continue
                return

    async def _try(self, *, force: bool) -> tuple[OpenedSnapshot | None, SnapshotRefused | None, bool]:
        """Take the steps in a thread; whatever goes wrong is a refusal, and the watch goes on."""
        try:
            return await in_thread(self._steps, force)
        except Exception as error:  # noqa: BLE001  # no memory, no thread, a fault of ours
            refused = SnapshotRefused(Refusal.INTERNAL_ERROR, f"{type(error).__name__}: {shorten(error)}")
            refused.__cause__ = error
            return None, refused, False

    def _steps(self, force: bool) -> tuple[OpenedSnapshot | None, SnapshotRefused | None, bool]:
        """Return what was accepted, or why nothing was and whether to look again soon; nothing where nothing is new."""
        if force:
            self.source.forget()
        try:
            path = self.source.fetch()
            return (None if path is None else self._acceptor.accept(path)), None, False
        except SnapshotRefused as error:
            # A new one: the traceback of this one holds the whole copy of the file, and futures would hold that in a
            # cycle until the next collection; after gc.freeze() for ever.
            refused = error.copy()
        return None, refused, self.source.changed()

    def _accepted(self, loaded: OpenedSnapshot) -> None:
        self._swap.swap(loaded)
        self.opened = loaded
        self.refusal = None
        self._retry = _RETRY
        self._metrics.count_load("ok")
        _LOG.info("loaded serial %d: %d entries, %d bytes", loaded.serial, len(loaded.entries), loaded.size)
        self.look(time.time())
        if self.from_the_future:
            _LOG.warning("serial %d was made at %s, in the future: this clock is wrong, or the publisher's was",
                         loaded.serial, format_moment(loaded.created))  # fmt: skip
        self.on_load()

    def stale(self, now: float) -> bool:
        """Return whether what is loaded is older than it may be, or has expired. now: seconds since 1970."""
        opened = self.opened
        return opened is not None and now >= min(opened.created + self._max_age, opened.expires)

    def look(self, now: float) -> None:
        """Tell when the snapshot has become stale, and when that is over, once each. Called every second."""
        opened, stale = self.opened, self.stale(now)
        self.from_the_future = opened is not None and opened.created > now + _CLOCKS
        if opened is None or stale == self._was_stale:
            return
        self._was_stale = stale
        if stale:
            self._metrics.count("authz_stale_total", layer="policy")
            why = "it has expired" if now >= opened.expires else f"older than {self._max_age:g} seconds"
            _LOG.warning("stale: serial %d was made at %s: %s", opened.serial, format_moment(opened.created), why)
        else:
            _LOG.info("fresh again: serial %d was made at %s", opened.serial, format_moment(opened.created))

    def _refused(self, error: SnapshotRefused) -> None:
        transient = error.code.transient
        if transient:
            self.source.forget()  # it may be over at the next try
        known, self.refusal = self.refusal, LastRefusal(error.code, error.message, time.time())
        self._metrics.count_load(error.code)
        if known is not None and known[:2] == self.refusal[:2] and transient:
            return  # said already
        kept = self._swap.loaded
        serves = f"serial {kept.serial} serves on" if kept else "there is none to serve"
        hint = f"; {error.hint}" if error.hint else ""
        _LOG.warning("refused %s: %s: %s%s; %s", self.source.name, error.code, error.message, hint, serves,
                     exc_info=error.__cause__)  # fmt: skip

    async def watch(self) -> None:
        """Load the file whenever it changes, until cancelled."""
        try:
            while True:
                await self.source.wait(self._limit())
                await self.load_if_changed()
        finally:
            self.source.close()

    def _limit(self) -> float:
        """Return the seconds after which to look, whatever the source thinks."""
        if self.refusal is None or not self.refusal.code.transient:
            return float("inf")
        limit, self._retry = self._retry, self._retry * 2
        return limit
