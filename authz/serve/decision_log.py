"""The decision log: one JSON object a line, written by a thread of its own.

A slow disk must never slow a decision: lines wait in a bounded queue, and where it is full they are dropped and
counted.

    {"time":"2026-12-01T00:00:00.123Z","front":"grpc","peer":"10.0.0.1","decision":"deny","reason":"denylisted",...}
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from authz.errors import StartError, shorten

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.serve.config import DecisionLogConfig
    from authz.serve.decision import Outcome

_LOG = logging.getLogger("authz.decision_log")
_BATCH = 512  # lines a write
_PATIENCE = 2.0  # seconds that the end waits for a stuck disk


class DecisionLog:
    """Writes decisions to a file or to standard output. `start`, then `write` from any thread, then `stop`."""

    def __init__(self, config: DecisionLogConfig) -> None:
        on = config.path != "off"
        self._denied = config.denied if on else 0.0
        self._allowed = config.allowed if on else 0.0
        self._path = config.path
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(config.queue)
        self._thread: threading.Thread | None = None
        self._moved = threading.Event()
        self.dropped = 0
        self.written = 0

    def start(self) -> None:
        """Open the file and start writing. Raises StartError."""
        if not self._denied and not self._allowed:
            return
        try:
            file = self._open()
        except OSError as error:
            raise StartError(f"decision_log.path: {self._path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._run, args=(file,), name="decision-log", daemon=True)
        self._thread.start()

    def _open(self) -> BinaryIO:
        # Unbuffered: each batch is one write, and nothing waits in this process.
        return sys.stdout.buffer if self._path == "-" else open(self._path, "ab", buffering=0)  # noqa: PTH123  # a path or "-"

    def reopen(self) -> None:
        """Write to a file of this name from the next line on: the one so far may have been moved away."""
        self._moved.set()

    def stop(self) -> None:
        """Write what waits, and end. A second call is harmless."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=_PATIENCE)
            self._thread.join(_PATIENCE)
            self._thread = None

    def wants(self, outcome: Outcome) -> bool:
        """Return whether the turn of this decision has come."""
        share = self._allowed if outcome.decision == "allow" and outcome.enforced else self._denied
        return share > 0 and (share >= 1 or random.random() < share)  # noqa: S311  # a sample, no secret

    def write(self, outcome: Outcome, client: Address | None, peer: str | None, front: str, now: float) -> None:
        """Queue one line. now: seconds since 1970."""
        line = {"time": now, "front": front, "peer": peer, **outcome.as_dict(client)}
        try:
            self._queue.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def _run(self, file: BinaryIO) -> None:
        ended = False
        while not ended:
            lines = [self._queue.get()]
            while len(lines) < _BATCH and not self._queue.empty():
                lines.append(self._queue.get())
            ended = lines[-1] is None or None in lines
            file = self._opened_again(file)
            self._write_all(file, [line for line in lines if line is not None])
        if file is not sys.stdout.buffer:
            file.close()

    def _opened_again(self, file: BinaryIO) -> BinaryIO:
        """Return the file to write to: another one where it was told to have been moved."""
        if not self._moved.is_set() or file is sys.stdout.buffer:
            return file
        self._moved.clear()
        try:
            new = self._open()
        except OSError as error:
            _LOG.error("the decision log cannot be opened again: %s", error.strerror)  # no fault of ours
            return file
        file.close()
        return new

    def _write_all(self, file: BinaryIO, lines: list[dict[str, Any]]) -> None:
        try:
            left = memoryview(b"".join(_text(line) for line in lines))
            while left:  # an unbuffered file may take a part
                left = left[file.write(left) :]
            file.flush()
            self.written += len(lines)
        except OSError as error:
            if not self.dropped:
                _LOG.error("the decision log cannot be written: %s", error.strerror)  # no fault of ours
            self.dropped += len(lines)


def _text(line: dict[str, Any]) -> bytes:
    moment = datetime.fromtimestamp(line["time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    peer = line["peer"]
    return orjson.dumps({**line, "time": moment, "peer": "unix:" if peer is None else shorten(peer)},
                        option=orjson.OPT_APPEND_NEWLINE)  # fmt: skip
