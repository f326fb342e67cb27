"""The decision log: one JSON object a line, written by a thread of its own.

A slow disk must never slow a decision: decisions wait in a bounded queue, and where it is full they are dropped and
counted. Who decides leaves four references there; the text is made by the thread.

    {"time":"2026-12-01T00:00:00.123Z","front":"grpc","peer":"10.0.0.1","decision":"deny","reason":"denylisted",...}
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import orjson

from authz.addresses import MAX_TEXT
from authz.errors import StartError, shorten

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.engine.decision import Outcome
    from authz.serve.config import DecisionLogConfig

_LOG = logging.getLogger("authz.decision_log")
_BATCH = 4096  # lines a write, and the most that is made in one go: who decides waits meanwhile
_PAUSE = 0.005  # seconds for lines to gather; a wake-up for each would cost who decides more than the line itself
_PATIENCE = 2.0  # seconds that the end waits for a stuck disk
_PARTS: Final = object()  # ours in the memo of an outcome
_MAX_PEERS = 1024  # whose texts are remembered


class _Decision(NamedTuple):
    """What waits in the queue."""

    now: float
    front: str
    peer: str | None
    outcome: Outcome
    client: Address | None


class DecisionLog:
    """Writes decisions to a file or to standard output. `start`, then `write` from any thread, then `stop`."""

    def __init__(self, config: DecisionLogConfig) -> None:
        on = config.path != "off"
        self._denied = config.denied if on else 0.0
        self._allowed = config.allowed if on else 0.0
        self._path = config.path
        self._capacity = config.queue
        self._waiting: deque[_Decision] = deque()
        self._asleep = False  # whether the thread waits to be told that there is something
        self._something = threading.Event()
        self._ending = False
        self._thread: threading.Thread | None = None
        self._moved = threading.Event()
        self._texts = _Texts()
        self.dropped = 0
        self.written = 0

    @property
    def on(self) -> bool:
        """Whether it may want anything."""
        return bool(self._denied or self._allowed)

    def start(self) -> None:
        """Open the file and start writing. Raises StartError."""
        if not self.on:
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
            self._ending = True
            self._something.set()
            self._thread.join(_PATIENCE)
            self._thread = None

    def wants(self, outcome: Outcome) -> bool:
        """Return whether the turn of this decision has come."""
        share = self._allowed if outcome.decision == "allow" and outcome.enforced else self._denied
        return share > 0 and (share >= 1 or random.random() < share)  # noqa: S311  # a sample, no secret

    def write(self, outcome: Outcome, client: Address | None, peer: str | None, front: str, now: float) -> None:
        """Queue one line. now: seconds since 1970."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        if client is None and peer is not None and len(peer) > MAX_TEXT:
            peer = f"{peer[:MAX_TEXT]}..."  # it may be a megabyte; where it is no address there is no client
        self._waiting.append(tuple.__new__(_Decision, (now, front, peer, outcome, client)))
        if self._asleep:
            self._asleep = False
            self._something.set()

    def _run(self, file: BinaryIO) -> None:
        waiting = self._waiting
        while waiting or not self._ending:
            if not waiting:
                self._something.clear()
                self._asleep = True
                if not waiting and not self._ending:  # what came before `_asleep` told nobody
                    self._something.wait()
                self._asleep = False
                if not self._ending:
                    time.sleep(_PAUSE)
                continue
            batch = [waiting.popleft() for _ in range(min(len(waiting), _BATCH))]
            file = self._opened_again(file)
            self._write_all(file, batch)
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

    def _write_all(self, file: BinaryIO, batch: list[_Decision]) -> None:
        text = self._texts
        try:
            left = memoryview(b"".join([text.line(decision) for decision in batch]))
            while left:  # an unbuffered file may take a part
                left = left[file.write(left) :]
            file.flush()
            self.written += len(batch)
        except OSError as error:
            if not self.dropped:
                _LOG.error("the decision log cannot be written: %s", error.strerror)  # no fault of ours
            self.dropped += len(batch)


class _Texts:
    """Makes lines, and remembers the parts that many of them share."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._time = b""
        self._peers: dict[str | None, bytes] = {}

    def line(self, decision: _Decision) -> bytes:
        """Return one line: a JSON object."""
        now, front, peer, outcome, client = decision
        try:
            parts = outcome.memo[_PARTS]
        except KeyError:
            parts = outcome.memo[_PARTS] = _cut(outcome)
        entry = b"null" if outcome.entry is None else b'"%b"' % outcome.entry.encode("ascii")
        address = b"null" if client is None else b'"%b"' % client.text.encode("ascii")
        return b"".join((
            b'{"time":"', self._moment(now), b'","front":"', front.encode("ascii"), b'","peer":', self._peer(peer),
            parts[0], entry, parts[1], address, parts[2],
        ))  # fmt: skip

    def _moment(self, now: float) -> bytes:
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
            self._millisecond, self._time = millisecond, moment.replace("+00:00", "Z").encode("ascii")
        return self._time

    def _peer(self, peer: str | None) -> bytes:
        text = self._peers.get(peer)
        if text is None:
            if len(self._peers) >= _MAX_PEERS:
                self._peers.clear()
            text = self._peers[peer] = orjson.dumps("unix:" if peer is None else shorten(peer))
        return text


def _cut(outcome: Outcome) -> tuple[bytes, bytes, bytes]:
    """Return the line's text before the entry, between entry and client, and behind the client."""
    decision = outcome.as_dict(None)
    names = list(decision)
    entry, client = names.index("entry"), names.index("client")
    before, between, behind = names[:entry], names[entry + 1 : client], names[client + 1 :]

    def fields(wanted: list[str]) -> bytes:
        return orjson.dumps({name: decision[name] for name in wanted})[1:-1]

    middle = fields(between) + b"," if between else b""
    return (
        b"," + fields(before) + b',"entry":',
        b"," + middle + b'"client":',
        b"," + fields(behind) + b"}\n",
    )
