"""Loading the snapshot, and loading it again when the file changes.

    changed since the last try? -> read and check -> serial above the highest? -> remember it -> swap

A refused file changes nothing: the old snapshot serves on. The refusal is logged once, counted by its code and shown in
/readyz and /snapshot until a good one comes. Noticed are a rename over the file, a write in place, and a change of
a link on the way to it (Kubernetes swaps `..data`); should the system not tell us, a slow poll looks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from authz.engine.ruleset import Loaded
from authz.errors import Refusal, SnapshotRefused, shorten
from authz.serve.layers.watch import FolderWatch
from authz.snapshot.read import read_snapshot
from authz.snapshot.rollback_guard import State, accept, save_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from securesystemslib.signer import Key

    from authz.engine.decider import Decider
    from authz.serve.config import SnapshotConfig
    from authz.serve.observe.metrics import Metrics

_SETTLE: Final = 0.2  # seconds after which a file that changed while we read it is read again
_UNWATCHED: Final = 1.0  # seconds between two looks where the system does not tell us: no folder yet, or no inotify
_SWITCH: Final = 0.0005  # seconds after which we let go of the interpreter for one who waits; by default 5 ms
_MAX_TRIES: Final = 50  # 10 seconds of a file that never comes to rest
_PASSING: Final = frozenset({"internal_error", "state_unwritable"})  # not the file's fault
_LOG = logging.getLogger("authz.reload")


class LastRefusal(NamedTuple):
    """Why the newest file is not in use. at: seconds since 1970."""

    code: str
    message: str
    at: float


class Signature(NamedTuple):
    """What tells one state of the file from another."""

    device: int
    inode: int
    size: int
    changed: int  # nanoseconds; ctime, which a change of the rights moves too


class Loader:
    """Loads the snapshot into the decider.

    state: what was accepted last. on_load: called after each good load.
    """

    def __init__(
        self, config: SnapshotConfig, keys: Sequence[Key], state: State | None, decider: Decider, metrics: Metrics
    ) -> None:
        self._config = config
        self._path = Path(config.path)
        self._keys = keys
        self._state = state
        self._decider = decider
        self._metrics = metrics
        self._tried: Signature | Literal["absent", "never"] = "never"
        self._lock = asyncio.Lock()
        self.refusal: LastRefusal | None = None
        self.on_load: Callable[[], None] = lambda: None

    async def load_if_changed(self, *, force: bool = False) -> None:
        """Load the file where it is another one than at the last try, or in any case."""
        async with self._lock:
            before = self._signature()
            if before == self._tried and not force:
                return
            for tries_left in reversed(range(_MAX_TRIES)):
                self._tried = before
                error = await self._try()
                if error is None:
                    self._accepted()
                    return
                after = self._signature()
                if after == before or not tries_left:
                    self._refused(error)
                    return
                await asyncio.sleep(_SETTLE)  # somebody is writing it; what we read was half of it
                before = self._signature()

    def _signature(self) -> Signature | Literal["absent"]:
        try:
            status = self._path.stat()
        except OSError:
            return "absent"
        return Signature(status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)

    async def _try(self) -> SnapshotRefused | None:
        """Load the file in a thread; whatever goes wrong is a refusal, and the watch goes on."""
        try:
            return await asyncio.to_thread(self._try_load)
        except Exception as error:  # noqa: BLE001  # no memory, no thread, a fault of ours
            refused = SnapshotRefused(Refusal.INTERNAL_ERROR, f"{type(error).__name__}: {shorten(error)}")
            refused.__cause__ = error
            return refused

    def _try_load(self) -> SnapshotRefused | None:
        """Load the file, or say why not. Runs in a thread: a big file takes a while to read and to hash."""
        try:
            with _considerate():
                most, threshold = self._config.max_size, self._config.threshold
                snapshot = read_snapshot(self._path, self._keys, threshold, now=time.time(), most=most)
                state = accept(snapshot, self._state)
                loaded = Loaded(snapshot)
                if state != self._state:
                    save_state(Path(self._config.state), state)
                self._state = state
                self._decider.load(loaded)
                gc.freeze()
        except SnapshotRefused as error:
            # A new one: the traceback of this one holds the whole copy of the file, and futures would hold that in a
            # cycle until the next collection; after gc.freeze() for ever.
            return error.copy()
        return None

    def _accepted(self) -> None:
        self.refusal = None
        self._metrics.count_load("ok")
        loaded = self._decider.loaded
        if loaded is not None:
            _LOG.info("loaded serial %d: %d entries, %d bytes", loaded.serial, len(loaded.entries), loaded.size)
        self.on_load()

    def _refused(self, error: SnapshotRefused) -> None:
        if error.code in _PASSING:
            self._tried = "never"  # it may be over at the next poll
        known, self.refusal = self.refusal, LastRefusal(error.code, error.message, time.time())
        self._metrics.count_load(error.code)
        if known is not None and known[:2] == self.refusal[:2] and error.code in _PASSING:
            return  # said already
        kept = self._decider.loaded
        serves = f"serial {kept.serial} serves on" if kept else "there is none to serve"
        hint = f"; {error.hint}" if error.hint else ""
        _LOG.warning("refused %s: %s: %s%s; %s", self._path, error.code, error.message, hint, serves,
                     exc_info=error.__cause__)  # fmt: skip

    async def watch(self) -> None:
        """Load the file whenever it changes, until cancelled."""
        changed = asyncio.Event()
        folders = FolderWatch(asyncio.get_running_loop(), changed.set, _SETTLE)
        try:
            while True:
                all_watched, new = folders.follow(self._folders())
                if not new:
                    wait = self._config.poll if all_watched else min(self._config.poll, _UNWATCHED)
                    with contextlib.suppress(TimeoutError):  # not wait_for(): before Python 3.12 it can swallow our end
                        async with asyncio.timeout(wait):
                            await changed.wait()
                changed.clear()  # before the look: what changes from now on is seen again
                await self.load_if_changed()
        finally:
            folders.close()

    def _folders(self) -> set[Path]:
        """Return where the file stands, and where it really stands."""
        with contextlib.suppress(OSError, RuntimeError):  # before Python 3.13 a circle of links is a RuntimeError
            return {self._path.parent, self._path.resolve().parent}
        return {self._path.parent}


@contextlib.contextmanager
def _considerate() -> Iterator[None]:
    """Work so that those who decide meanwhile wait as little as can be."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _SWITCH))
    gc.disable()  # what is made here stays; looking for garbage among it would only stall the checks
    try:
        yield
    finally:
        gc.enable()
        sys.setswitchinterval(interval)
