"""Accepting connections on a socket that listens, and the end of it. All listeners use `listen`.

    listener = await listen("http", where, connections, mode=0o660)
    listener.drain()
    await listener.end(announce=lambda: None, close=connections.stop)

A connection that would take a descriptor of the reserve is closed at once. A unix path is removed at the end only where
it still is ours, and is not one that systemd holds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from authz.serve.listeners.bind import BACKLOG, bind, inode, leave_to_others
from authz.serve.listeners.descriptors import Descriptors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from authz.serve.config.values import Listen

GOODBYE = 0.2  # seconds in which peers hear that this is the end, while their connections are still accepted


class Listener:
    """A socket that accepts connections. port: of TCP; 0 for a unix socket.

    Args:
        server: Accepts.
        bound: Its socket.
        path: To be removed at the end; None if it is not ours to remove.
        descriptors: Tells whether there are enough.
        own: How many sockets of ours share the port.
    """

    def __init__(
        self, server: asyncio.Server, bound: socket.socket, path: Path | None, descriptors: Descriptors, own: int
    ) -> None:
        self._server = server
        self._bound = bound
        self._descriptors = descriptors
        self._path = path
        self._own = own
        self._inode = None if path is None else inode(path)
        name = bound.getsockname()
        self.port = int(name[1]) if isinstance(name, tuple) else 0

    def drain(self) -> None:
        """Leave new connections to a successor, if there is one. We go on accepting what comes to us."""
        leave_to_others(self._bound, self._own)

    async def end(self, close: Callable[[], object], announce: Callable[[], object] = lambda: None) -> None:
        """Announce the end, accept for `GOODBYE` still, then stop; close what is left, and remove the path."""
        self.drain()
        announce()
        await asyncio.sleep(GOODBYE)
        self._server.close()
        announce()  # to those that came meanwhile
        await asyncio.sleep(GOODBYE)
        close()
        self._descriptors.close()
        if self._path is not None and inode(self._path) == self._inode:  # else it is a successor's by now
            self._path.unlink()


class _Refuse(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close the connection."""
        cast("asyncio.Transport", transport).abort()


async def listen(
    name: str,
    where: Listen,
    factory: Callable[[], asyncio.BaseProtocol],
    *,
    mode: int,
    overlap: bool = False,
    given: socket.socket | None = None,
    own: int = 1,
) -> Listener:
    """Accept connections.

    Args:
        name: Of the listener, for messages: `http` stands for the key `http.listen`.
        where: A TCP address or a unix path; not `off`.
        factory: Makes the protocol of each connection.
        mode: Rights of a unix socket: whoever may write to it may ask.
        overlap: Whether another process of ours may listen there, too.
        given: A socket that listens there already; None: one is bound.
        own: How many sockets of ours share the port.

    Raises:
        StartError: The address is in use or cannot be bound.
    """
    loop = asyncio.get_running_loop()
    bound = given or bind(name, where, mode=mode, overlap=overlap)
    descriptors = Descriptors()

    def make() -> asyncio.BaseProtocol:
        return _Refuse() if descriptors.scarce() else factory()

    path = where.path if given is None else None
    create = loop.create_server if where.path is None else loop.create_unix_server
    server = await create(make, sock=bound, backlog=BACKLOG)
    return Listener(server, bound, path, descriptors, own)
