"""nginx's access log by syslog, as nginx sends it (RFC 3164): UDP, TCP or a unix datagram socket.

    <190>Dec  1 00:00:00 host nginx: {"time_iso8601": "2026-12-01T00:00:00+00:00", "remote_addr": "203.0.113.9", ...}

What stands behind the first `: ` is the line. Over UDP what does not fit is lost, as with every syslog; over TCP the
sender is read from more slowly.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from authz.control.detect.event import MAX_EVENT

if TYPE_CHECKING:
    from authz.control.detect.sources.feeder import Feeder
    from authz.serve.config.values import Listen

_HEAD: Final = re.compile(rb"<\d{1,3}>(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:\S+ )?)?[^\s:]{1,64}: ?")
_FULL: Final = 0.05  # seconds until a full intake is asked again


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
        self._streams: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Bind the port or the socket. Raises OSError."""
        loop = asyncio.get_running_loop()
        path, host = self._listen.path, self._listen.host or ""
        if path is not None:
            path.unlink(missing_ok=True)
            make: Any = loop.create_datagram_endpoint(lambda: _Datagrams(self._feeder), local_addr=str(path),
                                                      family=_unix_family())  # fmt: skip
        else:
            self._server = await asyncio.start_server(self._serve, host, self._listen.port, limit=MAX_EVENT)
            self.port = self._server.sockets[0].getsockname()[1]
            make = loop.create_datagram_endpoint(lambda: _Datagrams(self._feeder), local_addr=(host, self.port))
        transport, _ = await make
        self._transports.append(transport)

    async def stop(self) -> None:
        """Stop listening."""
        for transport in self._transports:
            transport.close()
        if self._server is not None:
            self._server.close()
        for task in self._streams:
            task.cancel()
        if self._listen.path is not None:
            self._listen.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)
        try:
            while line := await reader.readuntil(b"\n"):
                events = self._feeder.events_of([line_of(line)])
                while not self._feeder.has_room(events):  # noqa: ASYNC110  # the intake is emptied by a thread
                    await asyncio.sleep(_FULL)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the sender has gone, or sends a line longer than any event: it may connect again
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, feeder: Feeder) -> None:
        self._feeder = feeder

    def datagram_received(self, data: bytes, addr: Any) -> None:  # the name is asyncio's
        """Take one message."""
        self._feeder.offer(self._feeder.events_of([line_of(data)]))


def _unix_family() -> int:
    import socket  # noqa: PLC0415  # absent on some systems

    return socket.AF_UNIX
