"""One layer: source -> accept -> swap, again and again.

A refused file changes nothing: the old snapshot serves on. The refusal is logged once, counted by its code and shown in
/readyz and /snapshot until a good file comes. What is not the file's fault (no descriptor, no memory, a disk or a
server that does not answer) is tried again until it is over.

At a start whose source has nothing good, or does not answer soon, the last good copy serves.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.errors import Refusal, SnapshotRefused, shorten
from authz.serve.background import in_thread
from authz.serve.layers.file import SETTLE
from authz.serve.layers.overruled import Overruled
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.serve.layers.accept import Acceptor
    from authz.serve.layers.config import LayerConfig
    from authz.serve.layers.source import Source
    from authz.serve.layers.swap import Swap
    from authz.serve.observe.metrics import Metrics

PATIENCE: Final = 5.0  # seconds that the start waits for a source, and then for the last good copy
_MAX_TRIES: Final = 50  # 10 seconds of a file that never comes to rest
_RETRY: Final = 1.0  # seconds before the first new try of what may be over soon; doubled up to the source's own pace
_CLOCKS: Final = 300.0  # seconds by which the publisher's clock may be ahead of ours
_NOT_FETCHED: Final = frozenset({Refusal.UNREACHABLE, Refusal.BAD_ANSWER})  # nothing is known of the file
_LOG = logging.getLogger("authz.reload")


class LastRefusal(NamedTuple):
    """Why the newest file is not in use.

    Attributes:
        at: Seconds since 1970.
    """

    code: Refusal
    message: str
    at: float


class Layer:
    """Keeps one layer up to date.

    Args:
        config: Of the layer; may be changed at any time.
        source: Where its file comes from.
        acceptor: Verifies it.
        swap: Puts it in place.
        metrics: Counts loads and refusals.

    Attributes:
        opened: What was accepted last; None before the first.
        last_good: Whether that is the last good copy, because the source has nothing good.
        refusal: Why the newest file is not in use; None if it is.
        distrusted: Whether it is signed by keys that are no longer trusted.
        from_the_future: Whether it was made later than it is now, by more than clocks differ.
        overruled: What of it has no effect, since the policy protects what it would deny.
        on_load: Called after each good load.
    """

    def __init__(self, config: LayerConfig, source: Source, acceptor: Acceptor, swap: Swap, metrics: Metrics) -> None:
        self.config = config
        self.source = source
        self.acceptor = acceptor
        self._swap = swap
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._retry = _RETRY
        self._was_stale = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.opened: OpenedSnapshot | None = None
        self.last_good = False
        self.distrusted = False
        self.from_the_future = False
        self.overruled = Overruled()
        self.refusal: LastRefusal | None = None
        self._of_the_file: LastRefusal | None = None  # the refusal before the source stopped answering
        self.on_load: Callable[[], None] = lambda: None

    @property
    def _of(self) -> str:
        """The layer, for messages; the only one of most sidecars needs no name."""
        return "" if self.config.name == POLICY_LAYER else f"{self.config.name}: "

    async def start(self) -> None:
        """Load the file or, where it cannot be had soon, the last good copy; it may still come later."""
        await self._for_a_while(self.load_if_changed())
        if self.opened is None:
            await self._for_a_while(self._restore())

    async def _for_a_while(self, work: Coroutine[None, None, None]) -> None:
        await asyncio.wait({self._begin(work)}, timeout=PATIENCE)

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def judge_again(self) -> None:
        """Have the file loaded again if it was refused for what the policy protects: there is another policy now."""
        self._begin(self._judge_again())

    async def _judge_again(self) -> None:
        async with self._lock:  # what is being loaded may be refused by the policy that was
            fetched = self.refusal is None or self.refusal.code not in _NOT_FETCHED
            refusal = self.refusal if fetched else self._of_the_file
        if refusal is not None and refusal.code == Refusal.NOT_PERMITTED_PROTECTED:
            await self.load_if_changed(force=True)

    def try_again(self) -> None:
        """Have a file that was refused loaded again: by another clock it may be good."""
        self._begin(self._try_again())

    async def _try_again(self) -> None:
        if self.refusal is not None:
            await self.load_if_changed(force=True)
        if self.opened is None:
            await self._restore()

    async def _restore(self) -> None:
        try:
            opened = await in_thread(self.acceptor.restore)
        except SnapshotRefused as error:
            if error.code != Refusal.ABSENT:
                _LOG.error("%sthe last good copy was refused: %s: %s", self._of, error.code, error.message)
            return
        except Exception:  # noqa: BLE001  # we go on without it
            _LOG.exception("%sthe last good copy cannot be loaded", self._of)
            return
        if self.opened is None:
            self.last_good = True
            self.use(opened)
            cause = "has no valid file" if self.refusal else "has not been read yet"
            _LOG.warning("%sserving the last good copy: serial %d, made at %s; %s %s", self._of,
                         opened.serial, format_moment(opened.created), self.source.name, cause)  # fmt: skip

    async def load_if_changed(self, *, force: bool = False) -> None:
        """Load the file where it is another one than at the last try, or in any case."""
        async with self._lock:
            for tries_left in reversed(range(_MAX_TRIES)):
                opened, error, again = await self._try(force=force)
                if opened is not None:
                    self._accepted(opened)
                elif error is not None and not (again and tries_left):
                    self._refused(error)
                elif error is not None:
                    await asyncio.sleep(SETTLE)
                    continue
                else:
                    self._unchanged()
                return

    async def _try(self, *, force: bool) -> tuple[OpenedSnapshot | None, SnapshotRefused | None, bool]:
        """Take the steps in a thread; whatever goes wrong is a refusal, and the watch goes on."""
        try:
            return await in_thread(self._steps, force)
        except Exception as error:  # noqa: BLE001  # no memory, no thread, a bug in authz
            refused = SnapshotRefused(Refusal.INTERNAL_ERROR, f"{type(error).__name__}: {shorten(error)}")
            refused.__cause__ = error
            return None, refused, False

    def _steps(self, force: bool) -> tuple[OpenedSnapshot | None, SnapshotRefused | None, bool]:
        """Return what was accepted, or why nothing was and whether to look again soon; nothing if nothing is new."""
        if force:
            self.source.forget()
        try:
            with self.source.fetch() as path:
                return (None if path is None else self.acceptor.accept(path, self.source.fetch_part)), None, False
        except SnapshotRefused as error:
            # A new one: the traceback of this one holds the whole copy of the file, and futures would hold that in a
            # cycle until the next collection; after gc.freeze() forever.
            refused = error.copy()
        return None, refused, self.source.changed()

    def _accepted(self, opened: OpenedSnapshot) -> None:
        self.last_good = self.distrusted = False
        self.refusal = None
        self.source.refused = ""
        self._retry = _RETRY
        self._metrics.count_load("ok", self.config.name)
        self.use(opened)
        size = sum(file.size for file in (opened, *opened.parts))
        _LOG.info("%sloaded serial %d: %d entries, %d bytes", self._of, opened.serial, entries_of(opened), size)
        if self.from_the_future:
            _LOG.warning("%sserial %d was made at %s, in the future: this clock is wrong, or the publisher's was",
                         self._of, opened.serial, format_moment(opened.created))  # fmt: skip

    def _unchanged(self) -> None:
        """Note that the source answers again, and has what it had."""
        if self.refusal is not None and self.refusal.code in _NOT_FETCHED:
            self.refusal = self._of_the_file
            self.source.refused = "" if self.refusal is None else self.refusal.code
            self._retry = _RETRY
            _LOG.info("%s%s answers again", self._of, self.source.name)

    def use(self, opened: OpenedSnapshot) -> None:
        """Decide by this snapshot from the next request on."""
        self.opened = opened
        self._swap.swap(self.config.name, opened)
        self.look(time.time())
        self.on_load()

    def drop(self) -> None:
        """Go on without what is loaded, and have the next look load the file again."""
        self.opened, self.last_good, self.distrusted = None, False, False
        self._swap.drop(self.config.name)
        self.source.forget()

    def stale(self, now: float) -> bool:
        """Return whether what is loaded is older than it may be, or has expired. now: seconds since 1970."""
        opened = self.opened
        return opened is not None and now >= min(opened.created + self.config.max_age, opened.expires)

    def look(self, now: float) -> None:
        """Tell when the snapshot has become stale, and when that is over, once each. Called every second."""
        opened, stale = self.opened, self.stale(now)
        self.from_the_future = opened is not None and opened.created > now + _CLOCKS
        if opened is None or stale == self._was_stale:
            return
        self._was_stale = stale
        made = format_moment(opened.created)
        if stale:
            self._metrics.count("authz_stale_total", layer=self.config.name)
            why = "it has expired" if now >= opened.expires else f"older than {self.config.max_age:g} seconds"
            _LOG.warning("%sstale: serial %d was made at %s: %s", self._of, opened.serial, made, why)
        else:
            _LOG.info("%sfresh again: serial %d was made at %s", self._of, opened.serial, made)

    def _refused(self, error: SnapshotRefused) -> None:
        if error.code.transient and error.code not in _NOT_FETCHED:
            self.source.forget()  # it may be over at the next try
        if self.refusal is None or self.refusal.code not in _NOT_FETCHED:
            self._of_the_file = self.refusal
        known, self.refusal = self.refusal, LastRefusal(error.code, error.message, time.time())
        self.source.refused = error.code
        self._metrics.count_load(error.code, self.config.name)
        if known is not None and known[:2] == self.refusal[:2] and error.code.transient:
            return  # said already
        kept = self.opened
        serves = f"serial {kept.serial} serves on" if kept else "nothing else is loaded"
        hint = f"; {error.hint}" if error.hint else ""
        _LOG.warning("%srefused %s: %s: %s%s; %s", self._of, self.source.name, error.code, error.message, hint, serves,
                     exc_info=error.__cause__)  # fmt: skip

    async def watch(self) -> None:
        """Load the file whenever it changes, until cancelled."""
        try:
            while True:
                await self._wait()
                await self.load_if_changed()
        finally:
            self.source.close()
            for task in self._tasks:
                task.cancel()

    async def _wait(self) -> None:
        """Wait for a change; where even that is not possible (no memory, no thread), for the next try."""
        try:
            await self.source.wait(self._limit())
        except Exception:  # noqa: BLE001  # else this layer would never change again
            _LOG.exception("%s%s cannot be waited for", self._of, self.source.name)
            await asyncio.sleep(_RETRY)

    def _limit(self) -> float:
        """Return the seconds after which to look, whatever the source thinks."""
        if self.refusal is None or not self.refusal.code.transient:
            return float("inf")
        limit, self._retry = self._retry, self._retry * 2
        return limit


def entries_of(opened: OpenedSnapshot) -> int:
    """Return how many entries a file and its parts have, single addresses among them."""
    files = (opened, *opened.parts)
    return sum(len(file.entries) + (len(file.singles) if file.singles else 0) for file in files)
