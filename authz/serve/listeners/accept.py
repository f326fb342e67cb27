"""Accepting connections on a socket that listens, and the end of it. All listeners use `listen`.

    listener = listen("http", where, connections, mode=0o660)
    listener.drain()
    await listener.end(announce=lambda: None, close=connections.stop)

Some connections are accepted in each turn of the event loop. The loop's own server accepts for as long as any wait, and
who connects without a pause would have the loop for himself. A connection that would take a descriptor of the reserve
is closed at once. A unix path is removed at the end only where it still is ours, and is not one that systemd holds.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from authz.serve.listeners.bind import BACKLOG, bind, inode, leave_to_others
from authz.serve.listeners.descriptors import Descriptors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from authz.serve.config.values import Listen

GOODBYE = 0.2  # seconds in which peers hear that this is the end, while their connections are still accepted
ACCEPTED_A_TURN: Final = 16  # connections; each takes some 0.1 ms
_PAUSE: Final = 0.1  # seconds without a look at new connections where the system has no room for one
_SILENCE: Final = 60.0  # seconds between two lines in the log that say so
_LOG = logging.getLogger("authz")


class _Acceptor:
    """Accepts connections, a few in each turn of the event loop. Call it in the loop.

    Args:
        bound: Listens.
        factory: Makes the protocol of each connection.
        descriptors: Tells whether there are enough.
    """

    def __init__(
        self, bound: socket.socket, factory: Callable[[], asyncio.BaseProtocol], descriptors: Descriptors
    ) -> None:
        self._bound = bound
        self._factory = factory
        self._descriptors = descriptors
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._silent_until = 0.0
        bound.setblocking(False)
        bound.listen(BACKLOG)
        self._watch()

    def _watch(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._bound.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                connection, _ = self._bound.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # it ended while it waited
                continue
            except OSError as error:  # no descriptor, no memory
                self._pause(error)
                return
            if self._descriptors.scarce():
                connection.close()
                continue
            connection.setblocking(False)
            task = self._loop.create_task(self._connect(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _pause(self, error: OSError) -> None:
        self._loop.remove_reader(self._bound.fileno())
        self._loop.call_later(_PAUSE, self._watch)
        now = self._loop.time()
        if now >= self._silent_until:
            self._silent_until = now + _SILENCE
            _LOG.warning("connections cannot be accepted, and wait: %s", error.strerror)

    async def _connect(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._factory, connection)
        except OSError:  # it has ended already
            connection.close()
        except Exception:  # noqa: BLE001  # a bug in authz: others are still connected
            connection.close()
            _LOG.exception("a connection could not be taken")

    def close(self) -> None:
        """Accept no more, and close the socket. A second call is harmless."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._bound.fileno())
            self._bound.close()


class Listener:
    """A socket that accepts connections. port: of TCP; 0 for a unix socket.

    Args:
        acceptor: Accepts.
        bound: Its socket.
        path: To be removed at the end; None if it is not ours to remove.
        descriptors: Tells whether there are enough.
        own: How many sockets of ours share the port.
    """

    def __init__(
        self, acceptor: _Acceptor, bound: socket.socket, path: Path | None, descriptors: Descriptors, own: int
    ) -> None:
        self._acceptor = acceptor
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
        self._acceptor.close()
        announce()  # to those that came meanwhile
        await asyncio.sleep(GOODBYE)
        close()
        self._descriptors.close()
        if self._path is not None and inode(self._path) == self._inode:  # else it is a successor's by now
            self._path.unlink()


def listen(
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
    bound = given or bind(name, where, mode=mode, overlap=overlap)
    descriptors = Descriptors()
    path = where.path if given is None else None
    return Listener(_Acceptor(bound, factory, descriptors), bound, path, descriptors, own)
