"""The decision log: one JSON object a line, written by a thread of its own.

A slow disk must never slow a decision: decisions wait in a bounded queue, and where it is full they are dropped and
counted. Who decides leaves a few references there; the text is made by the thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from authz.errors import StartError
from authz.serve.observe.log.file import LogFile
from authz.serve.observe.log.lines import LogLines

if TYPE_CHECKING:
    from authz.engine.decision.outcome import Outcome
    from authz.serve.config.config import DecisionLogConfig
    from authz.serve.observe.recorder import Taken

_LOG = logging.getLogger("authz.decision_log")
_BATCH: Final = 4096  # lines a write, and the most that is made in one go: who decides waits meanwhile
_PIECE: Final = 64  # lines that are made from what waits before it is freed: more would push all else out of the cache
# Seconds for lines to gather: each write takes the interpreter away from who decides, twice. Less for a short queue, so
# that 200,000 lines a second fill none meanwhile.
_PAUSE: Final = 0.02
_PATIENCE: Final = 0.3  # seconds that the end waits for a stuck disk


class DecisionLog:
    """Writes decisions to a file or to standard output. `open`, `start`, then `write` from any thread, then `stop`."""

    def __init__(self, config: DecisionLogConfig) -> None:
        self._config = config
        self._most = config.queue
        self.on = config.path != "off" and bool(config.denied or config.warned or config.allowed)
        self._file = LogFile(config.path)
        self._waiting: deque[Taken] = deque()
        self._asleep = False  # whether the thread waits to be told that there is something
        self._something = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._moved = threading.Event()
        self._lines = LogLines()
        self._next: LogFile | None = None  # the file to go on with
        self._failing = False  # whether the last batch could not be written
        self.dropped = 0
        self.written = 0

    def open(self) -> None:
        """Open the file; may block. Raises StartError."""
        if self.on:
            open_log(self._file, self._config)

    def change(self, config: DecisionLogConfig, file: LogFile | None) -> None:
        """Go on with other shares and, where one is given, in another file, which is open."""
        self._config = config
        self._most = config.queue
        self.on = config.path != "off" and bool(config.denied or config.warned or config.allowed)
        if file is not None:
            self._next = file

    def start(self) -> None:
        """Start writing."""
        if self.on:
            self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
            self._thread.start()

    def reopen(self) -> None:
        """Write to a file of this name from the next line on: the one so far may have been moved away."""
        self._moved.set()

    def stop(self) -> None:
        """Write what waits, and end. A second call is harmless."""
        if self._thread is not None:
            self._ending = True
            self._something.set()
            self._thread.join(_PATIENCE)
            self._thread = None

    def share(self, outcome: Outcome) -> float:
        """Return the share of decisions of this kind that is written."""
        if not self.on:
            return 0.0
        if outcome.decision == "deny":
            return self._config.denied
        return max(self._config.allowed, self._config.warned if outcome.warned else 0.0)

    def write(self, taken: Taken) -> None:
        """Queue one line."""
        if len(self._waiting) >= self._most:
            self.dropped += 1
            return
        self._waiting.append(taken)
        if self._asleep:
            self._asleep = False
            self._something.set()

    def _run(self) -> None:
        waiting = self._waiting
        while waiting or not self._ending:
            if not waiting:
                self._something.clear()
                self._asleep = True
                if not waiting and not self._ending:  # what came before `_asleep` told nobody
                    self._something.wait()
                self._asleep = False
                continue
            if len(waiting) < _BATCH and not self._ending:
                time.sleep(_PAUSE * min(1.0, self._most / _BATCH))
            self._open_again()
            self._write_next(min(len(waiting), _BATCH))
        self._file.close()

    def _open_again(self) -> None:
        """Open the file again where it was told to have been moved, or go on with the next one."""
        if self._next is not None:
            self._file.close()
            self._file, self._next = self._next, None
        if self._moved.is_set():
            self._moved.clear()
            try:
                self._file.open()
            except OSError as error:
                _LOG.error("the decision log cannot be opened again: %s", error.strerror)  # not a bug: no traceback

    def _write_next(self, count: int) -> None:
        """Write so many lines of what waits."""
        waiting, lines = self._waiting, bytearray()
        for done in range(0, count, _PIECE):
            lines += self._lines.lines([waiting.popleft() for _ in range(min(_PIECE, count - done))])
        try:
            self._file.write(lines)
        except OSError as error:
            self.dropped += count
            if not self._failing:
                _LOG.error("the decision log cannot be written: %s", error.strerror)  # not a bug: no traceback
            self._failing = True
        else:
            self.written += count
            if self._failing:
                _LOG.info("the decision log can be written again; %d lines were lost so far", self.dropped)
            self._failing = False


def open_log(file: LogFile, config: DecisionLogConfig) -> None:
    """Open the file of a configuration; may block. Raises StartError."""
    try:
        file.open()
    except OSError as error:
        raise StartError(f"decision_log.path: {config.path}: {error.strerror}") from error
