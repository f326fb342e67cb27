"""Events through streams of Valkey: a stream for each partition, read by the consumer group `detect`.

A batch stays in its stream until it is counted, and what followed is written: then it is acknowledged. It goes on to
stay there for as long as the longest window. When a process takes a partition over, it

    1. counts again what was acknowledged in that time, and lists nobody for it: its counters stand as the other's did
    2. counts what the other had got and not acknowledged, and lists
    3. goes on with what is new

So a process that is killed loses nothing, and nothing counts twice: counters are made again from the stream. A process
that takes a partition back which it had before starts all of its counters again: they still have what it counted then.
"""

from __future__ import annotations

import logging
import math
import re
import secrets
import socket
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import valkey
from valkey.exceptions import ResponseError, ValkeyError

from authz.control.detect.shared.codec import pack, unpack
from authz.control.detect.shared.leases import RENEW, Leases
from authz.control.detect.work import Batch
from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.control.detect.event import Event
    from authz.control.detect.shared.config import Streams
    from authz.control.detect.shared.partitions import Partitioning

GROUP: Final = "detect"
MAX_EVENTS: Final = 500  # of an entry of a stream
MAX_WAITING: Final = 2000  # entries of a partition that nobody has counted; more are refused
_COUNT: Final = 20  # entries of a read
_TRIM: Final = 10.0  # seconds from one trimming of the streams to the next
_TIMEOUT: Final = 5.0  # seconds that Valkey has for an answer
_LOG = logging.getLogger("authz.control.detect")


class SharedWork:
    """Events that several processes share; see authz.control.detect.work.Work.

    Args:
        config: `streams` of control.yaml.
        partitioning: Asked for the partition of each client.
        window: Asked for the longest window of a trigger, in seconds.

    """

    def __init__(self, config: Streams, partitioning: Callable[[], Partitioning], window: Callable[[], float]) -> None:
        self._config = config
        self._partitioning = partitioning
        self._window = window
        self._client = client_of(config)
        self.name = f"{socket.gethostname()}-{secrets.token_hex(6)}"
        self._leases = Leases(self._client, config.prefix, self.name, config.partitions)
        self._owned: set[int] = set()  # by this process, with counters that stand
        self._dirty: set[int] = set()  # of which counters still have something, though they are not ours now
        self._ready: deque[Batch] = deque()
        self._recovery: Iterator[Batch] | None = None
        self._lag: dict[int, int] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_leases, name="leases", daemon=True)
        self._trimmed = 0.0
        self._away = False

    @property
    def waiting(self) -> int:
        """About how many events wait in all partitions."""
        return sum(self._lag.values()) + sum(len(batch.events) for batch in [*self._ready])

    def start(self) -> None:
        """Make the streams, and begin to take partitions."""
        self._thread.start()

    def put(self, events: list[Event], received: float) -> bool:
        """Take events; see Work. They are in the streams, all or none, when this returns True."""
        by_partition: dict[int, list[Event]] = {}
        find = self._partitioning().of
        for event in events:
            by_partition.setdefault(find(event.client), []).append(event)
        if any(self._lag.get(partition, 0) > MAX_WAITING for partition in by_partition):
            return False
        try:
            with self._client.pipeline(transaction=True) as sending:
                for partition, some in by_partition.items():
                    for start in range(0, len(some), MAX_EVENTS):
                        content = pack(some[start : start + MAX_EVENTS])
                        sending.xadd(self._stream(partition), {"r": repr(received), "e": content})
                sending.execute()
        except ValkeyError as error:
            self._tell(error)
            return False
        return True

    def next(self, timeout: float) -> Batch | None:
        """Wait for a batch; see Work."""
        try:
            return self._next(timeout)
        except ValkeyError as error:
            self._tell(error)
            self._end.wait(timeout)
            return None

    def done(self, batch: Batch) -> None:
        """Acknowledge a batch. Where that fails, it comes again."""
        if batch.place is None or batch.counted:
            return
        partition, entry = batch.place
        try:
            self._client.xack(self._stream(partition), GROUP, entry)
        except ValkeyError as error:
            self._tell(error)

    def close(self) -> None:
        """Take no more batches; what was not taken stays in the streams. A second call is harmless."""
        self._end.set()

    def release(self) -> None:
        """Give the partitions back: others go on with them. A second call is harmless."""
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._leases.close()
        except ValkeyError as error:
            self._tell(error)
        self._client.close()

    def _next(self, timeout: float) -> Batch | None:
        while not self._end.is_set():
            if self._recovery is None and self._leases.held() != self._owned:
                self._recovery = self._follow_leases()
            if self._recovery is not None:
                batch = next(self._recovery, None)
                if batch is not None:
                    return batch
                self._recovery = None
            while self._ready:
                batch = self._ready.popleft()
                if self._is_ours(batch):
                    return batch
            if not self._read(timeout):
                return None
        return None

    def _is_ours(self, batch: Batch) -> bool:
        """Return whether we may count a batch: a partition that is another's by now has it again there."""
        partition = batch.place[0] if batch.place else -1
        return partition in self._owned and self._leases.holds(partition)

    def _follow_leases(self) -> Iterator[Batch]:
        """Give up what is not ours any more, and make counters for what is ours now."""
        held = self._leases.held()
        lost, gained = self._owned - held, held - self._owned
        self._owned -= lost
        self._dirty |= lost
        if gained & self._dirty:
            gained, self._owned, self._dirty = held, set(), set()
            self._ready.clear()  # they are not acknowledged, and come again
            yield Batch([], 0.0, anew=True)
        for partition in sorted(gained):
            self._owned.add(partition)
            yield from self._recovered(partition)
        if gained or lost:
            _LOG.info("counting %d of %d partitions", len(self._owned), self._config.partitions)

    def _recovered(self, partition: int) -> Iterator[Batch]:
        stream = self._stream(partition)
        self._make_group(stream)
        first = self._client.xpending(stream, GROUP)["min"]
        end = f"({first.decode()}" if first else self._delivered(stream)
        begin = f"{max(0, int((self._now() - self._retention()) * 1000))}-0"
        while end != "0-0":
            rows = self._client.xrange(stream, begin, end, count=_COUNT)
            for entry, fields in rows:
                yield from self._batch(partition, entry, fields, counted=True)
            if len(rows) < _COUNT:
                break
            begin = f"({rows[-1][0].decode()}"
        start: Any = "0-0"
        while True:
            start, rows, *_ = self._client.xautoclaim(stream, GROUP, self.name, 0, start, count=_COUNT)
            for entry, fields in rows:
                yield from self._batch(partition, entry, fields)
            if start in {b"0-0", "0-0"}:
                return

    def _read(self, timeout: float) -> bool:
        """Read what is new; return whether there was something."""
        self._trim()
        streams = {self._stream(partition): ">" for partition in self._owned}
        if not streams:
            self._end.wait(min(timeout, 0.1))
            return False
        batches = self._client.xreadgroup(GROUP, self.name, streams, count=_COUNT, block=max(1, int(timeout * 1000)))
        for stream, rows in batches or ():
            partition = int(stream.rpartition(b":")[2])
            for entry, fields in rows:
                self._ready.extend(self._batch(partition, entry, fields))
        return bool(batches)

    def _batch(
        self, partition: int, entry: bytes, fields: dict[bytes, bytes] | None, *, counted: bool = False
    ) -> Iterator[Batch]:
        try:
            if fields:
                yield Batch(unpack(fields[b"e"]), float(fields[b"r"]), counted, (partition, entry))
        except (msgspec.DecodeError, AddressError, KeyError, ValueError) as error:
            _LOG.error("%s: %s is not a batch of events: %s", self._stream(partition), entry, error)
            self._client.xack(self._stream(partition), GROUP, entry)

    def _keep_leases(self) -> None:
        while True:
            try:
                self._leases.renew()
                self._look_at_lags()
                if self._away:
                    _LOG.info("Valkey is back")
                self._away = False
            except ValkeyError as error:
                self._tell(error)
            if self._end.wait(RENEW):
                return

    def _look_at_lags(self) -> None:
        for partition in range(self._config.partitions):
            try:
                groups = self._client.xinfo_groups(self._stream(partition))
            except ResponseError:  # there is no such stream yet
                continue
            self._lag[partition] = sum((group["lag"] or 0) + group["pending"] for group in groups)

    def _trim(self) -> None:
        now = self._now()
        if now - self._trimmed < _TRIM:
            return
        self._trimmed = now
        oldest = int((now - self._retention()) * 1000)
        for partition in self._owned:
            stream = self._stream(partition)
            first = self._client.xpending(stream, GROUP)["min"]
            kept = min([oldest, *([int(first.partition(b"-")[0])] if first else [])])
            delivered = int(self._delivered(stream).partition("-")[0])
            self._client.xtrim(stream, minid=f"{min(kept, delivered)}-0", approximate=False)

    def _delivered(self, stream: str) -> str:
        groups = self._client.xinfo_groups(stream)
        last = next(group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode())
        return str(last.decode())

    def _make_group(self, stream: str) -> None:
        try:
            self._client.xgroup_create(stream, GROUP, id="0-0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _now(self) -> float:
        seconds, micros = self._client.time()
        return float(seconds + micros / 1e6)

    def _retention(self) -> float:
        return math.ceil(min(self._window(), self._config.keep)) + 5.0

    def _stream(self, partition: int) -> str:
        return f"{self._config.prefix}:events:{partition}"

    def _tell(self, error: ValkeyError) -> None:
        if not self._away:
            _LOG.warning("Valkey cannot be used: %s", error)
        self._away = True


def client_of(config: Streams) -> Any:
    """Return a client of the Valkey or Redis that a configuration names. Raises OSError if a password file fails."""
    url = re.sub("^redis", "valkey", config.url or "")
    password = None if config.password_file is None else Path(config.password_file).read_text("utf-8").strip()
    return valkey.Valkey.from_url(
        url, username=config.username, password=password, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT,
        health_check_interval=30,
    )  # fmt: skip
