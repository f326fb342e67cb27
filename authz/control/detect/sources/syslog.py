"""nginx's access log by syslog, as nginx sends it (RFC 3164): UDP, TCP or a unix datagram socket.

    <190>Dec  1 00:00:00 host nginx: {"time_iso8601": "2026-12-01T00:00:00+00:00", "remote_addr": "203.0.113.9", ...}

What stands behind the first `: ` is the line. Over UDP what does not fit is lost, as with every syslog, and counted,
also where the kernel had no room; over TCP the sender is read from more slowly. Lines are read, and given to the
intake, in a thread: where control planes share the counting it asks Valkey, which may not answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from authz.control.detect.event import MAX_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.control.detect.sources.feeder import Feeder
    from authz.serve.config.values import Listen

_HEAD: Final = re.compile(rb"<\d{1,3}>(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:\S+ )?)?[^\s:]{1,64}: ?")
MAX_QUEUED: Final = 10_000  # datagrams that wait to be read
MAX_BYTES: Final = 16 << 20  # of them: one may have 64 kB
_MAX_LINES: Final = 500  # that are read at once
_DRAIN: Final = 0.5  # seconds at the end in which datagrams are read that the kernel has already
_QUIET: Final = 0.002  # seconds without one after which there are no more
_LAST: Final = 10.0  # seconds at the end in which datagrams that wait are counted: Valkey has 5 for its answer
_CHUNK: Final = 1 << 16  # bytes
_LOG = logging.getLogger("authz.control.detect")


def line_of(message: bytes) -> bytes:
    """Return the log line of a syslog message; the message itself where it has no head that we know."""
    head = _HEAD.match(message)
    return message[head.end() :] if head else message


class Syslog:
    """Listens in the event loop."""

    def __init__(self, listen: Listen, feeder: Feeder) -> None:
        self._listen = listen
        self._feeder = feeder
        self._transports: list[asyncio.BaseTransport] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = anyio.CapacityLimiter(1)  # one at a time: none of the API's, and in their order
        self._ending = threading.Event()
        self._datagrams: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED)
        self._bytes = 0  # of the datagrams that wait
        self._received = 0
        self.port = 0

    async def start(self) -> None:
        """Bind the port or the socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        path, host = self._listen.path, self._listen.host or ""
        if path is not None:
            path.unlink(missing_ok=True)
            make: Any = loop.create_datagram_endpoint(lambda: _Datagrams(self._queue), local_addr=str(path),
                                                      family=_unix_family())  # fmt: skip
        else:
            self._server = await asyncio.start_server(self._serve, host, self._listen.port)
            self.port = self._server.sockets[0].getsockname()[1]
            make = loop.create_datagram_endpoint(lambda: _Datagrams(self._queue), local_addr=(host, self.port))
        transport, _ = await make
        self._transports.append(transport)
        inode = os.fstat(transport.get_extra_info("socket").fileno()).st_ino
        self._feeder.dropped_before = lambda: _dropped_by_kernel(inode)
        self._tasks.add(asyncio.create_task(self._take_datagrams()))

    async def stop(self) -> None:
        """Stop listening; what came before still counts, where there is room."""
        if self._listen.path is not None:
            self._listen.path.unlink(missing_ok=True)  # nobody finds it any more
        await self._read_what_came()
        self._ending.set()
        dropped = self._feeder.dropped_before()
        self._feeder.dropped_before = lambda: dropped
        for transport in self._transports:
            transport.close()
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._datagrams.join(), _LAST)
        self._feeder.dropped += self._datagrams.qsize()
        for task in self._tasks:
            task.cancel()

    async def _read_what_came(self) -> None:
        """Let the loop read datagrams until there are none; who goes on to send is not waited for."""
        loop = asyncio.get_running_loop()
        end, before = loop.time() + _DRAIN, -1
        while self._received != before and loop.time() < end:
            before = self._received
            await asyncio.sleep(_QUIET)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        rest = b""
        try:
            while len(rest) <= MAX_EVENT and (chunk := await reader.read(_CHUNK)):
                *lines, rest = (rest + chunk).split(b"\n")
                await anyio.to_thread.run_sync(self._insist, lines, limiter=self._thread)
        except ConnectionError:
            pass  # the sender has gone, as one whose line is longer than any event has to: it may connect again
        finally:
            writer.close()

    def _insist(self, lines: list[bytes]) -> None:
        self._feeder.insist(self._feeder.events_of(map(line_of, lines)), self._ending)

    def _queue(self, message: bytes) -> None:
        self._received += 1
        if self._datagrams.full() or self._bytes + len(message) > MAX_BYTES:
            self._feeder.dropped += 1
            return
        self._bytes += len(message)
        self._datagrams.put_nowait(message)

    async def _take_datagrams(self) -> None:
        while True:
            messages = [await self._datagrams.get(), *self._queued(_MAX_LINES)]
            self._bytes -= sum(map(len, messages))
            try:
                await anyio.to_thread.run_sync(self._offer, messages, limiter=self._thread)
            except Exception:  # noqa: BLE001  # a bug in authz must not end the listening
                _LOG.exception("syslog: %d messages could not be taken", len(messages))
            for _ in messages:
                self._datagrams.task_done()

    def _queued(self, most: int) -> list[bytes]:
        return [self._datagrams.get_nowait() for _ in range(min(most, self._datagrams.qsize()))]

    def _offer(self, messages: list[bytes]) -> None:
        self._feeder.offer(self._feeder.events_of(map(line_of, messages)))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:  # the name is asyncio's
        """Take one message."""
        self._take(data)


def _unix_family() -> int:
    import socket  # noqa: PLC0415  # absent on some systems

    return socket.AF_UNIX


def _dropped_by_kernel(inode: int) -> int:
    """Return how many datagrams found no room in the buffer of a UDP socket (proc_net_udp: the last column)."""
    for table in ("udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines():
                fields = line.split()
                if fields[9] == str(inode):
                    return int(fields[-1])
    return 0
