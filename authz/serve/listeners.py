"""Listening sockets: bind, set the rights, say goodbye, remove the path. All three listeners use `listen`.

    listener = await listen("http", where, connections, mode=0o660)
    ...
    await listener.end(announce=lambda: None, close=connections.stop)

A connection that would take a descriptor of the reserve is closed at once. A unix path is taken only where nobody
listens any more, and removed at the end only where it still is ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING, cast

from authz.errors import StartError
from authz.serve.descriptors import Descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.serve.config_values import Listen

GOODBYE = 0.2  # seconds between the last accepted connection and the end of all, in which the last answers leave
_BACKLOG = 1024  # connections that wait to be accepted


class Listener:
    """A socket that accepts connections. port: of TCP; 0 for a unix socket."""

    def __init__(self, server: asyncio.Server, path: Path | None, descriptors: Descriptors) -> None:
        self._server = server
        self._descriptors = descriptors
        self._path = path
        self._inode = None if path is None else inode(path)
        self.port = 0 if path is not None else int(server.sockets[0].getsockname()[1])

    async def end(self, close: Callable[[], object], announce: Callable[[], object] = lambda: None) -> None:
        """Accept no more connections, announce the end, wait for `GOODBYE`, close what is left, and remove the path."""
        self._server.close()
        announce()
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
    name: str, where: Listen, factory: Callable[[], asyncio.BaseProtocol], *, mode: int, reuse_port: bool = False
) -> Listener:
    """Bind the socket and accept connections.

    Args:
        name: Of the front, for messages: `http` stands for the key `http.listen`.
        where: A TCP address or a unix path; not `off`.
        factory: Makes the protocol of each connection.
        mode: Rights of a unix socket: who may write to it may ask.
        reuse_port: Share the port with another process (SO_REUSEPORT).

    Raises:
        StartError: The address is in use or cannot be bound.
    """
    loop = asyncio.get_running_loop()
    descriptors = Descriptors()

    def make() -> asyncio.BaseProtocol:
        return _Refuse() if descriptors.scarce() else factory()

    try:
        if where.path is not None:
            clear_unix_path(where.path)
            server = await loop.create_unix_server(make, str(where.path), backlog=_BACKLOG)
            where.path.chmod(mode)
        else:
            server = await loop.create_server(
                make, where.host, where.port, reuse_port=reuse_port or None, backlog=_BACKLOG
            )
    except BaseException as error:
        descriptors.close()
        if not isinstance(error, OSError):
            raise
        problem, hint = bind_problem(error)
        raise StartError(f"{name}.listen: {where}: {problem}", hint=hint) from error
    return Listener(server, where.path, descriptors)


def bind_problem(error: OSError) -> tuple[str, str]:
    """Return why a socket could not be bound, in the system's words, and what to do about it ("": nothing to say)."""
    hints = {
        errno.EADDRINUSE: "is another authz running?",
        errno.EADDRNOTAVAIL: "the address is of no interface of this machine; 0.0.0.0 or [::] is all of them",
        errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
    }
    if not error.errno:
        return str(error), ""
    return os.strerror(error.errno), hints.get(error.errno, "")  # asyncio's own text repeats the address


def clear_unix_path(path: Path) -> None:
    """Remove the socket of a process that has ended, so that the path can be bound.

    Raises StartError where something else stands there, or where somebody still listens.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise StartError(f"{path}: no such folder: {path.parent}") from None
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StartError(f"{path}: exists and is no socket, expected nothing there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where many wait to be accepted we would wait, too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            return
        except OSError:  # it is alive: busy, or of somebody who does not let us in
            pass
    raise StartError(f"{path}: somebody listens there already", hint="is another authz running?")


def inode(path: Path) -> int | None:
    """Return the inode number of what stands at the path; None where nothing does."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
