"""Listening sockets: bound here, or handed over by systemd; shared with a successor, and left to it.

    overlap       a second process of the same configuration may start before the first ends: TCP ports are shared
                  (SO_REUSEPORT), unix paths are taken over by rename
    leave_to_others
                  while we still accept what had come to us, the kernel gives new connections to the sockets that were
                  added behind ours. Where there are none, they still come to us

Without the last step a connection that waits in our queue when we close it is reset: with 49,000 requests a second,
some 60 of them at each restart.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from authz.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from authz.serve.config.values import Listen

BACKLOG: Final = 1024  # connections that wait to be accepted
_BESIDE: Final = re.compile(r"\.[0-9a-f]{6}")  # a name of `beside_of`
_LEFT: Final = 60.0  # seconds after which one that nobody listens on is left behind; one is bound before it listens
# What to do where somebody listens already, by our own `overlap`.
IN_USE: Final = {
    False: "is another authz running? Two at the same time need `overlap: true` in the configuration of both",
    True: "another program listens there, or an authz that runs without `overlap: true` or as another user",
}
NOT_A_SOCKET: Final = "found a file that is not a socket, expected a socket or nothing"
_SO_ATTACH_REUSEPORT_CBPF: Final = 51  # <asm-generic/socket.h>
_LOAD_RANDOM, _MODULO, _ADD, _RETURN = (
    (0x20, 0xFFFFF000 + 56),
    0x94,
    0x04,
    0x16,
)  # <linux/bpf_common.h>, <linux/filter.h>


def bind(name: str, where: Listen, *, mode: int, overlap: bool) -> socket.socket:
    """Return a socket that listens.

    Args:
        name: Of the listener, for messages: `http` stands for the key `http.listen`.
        where: A TCP address or a unix path; not `off`.
        mode: Rights of a unix socket: whoever may write to it may ask.
        overlap: Whether another process of ours may listen there, too.

    Raises:
        StartError: The address is in use or cannot be bound.
    """
    family = socket.AF_UNIX if where.path is not None else socket.AF_INET6 if ":" in str(where.host) else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if where.path is not None:
            _bind_unix(bound, where.path, mode, overlap=overlap)
        else:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if overlap:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            bound.bind((where.host, where.port))
            bound.listen(BACKLOG)
    except BaseException as error:
        bound.close()
        if not isinstance(error, OSError):
            raise
        problem, hint = bind_problem(error, overlap=overlap)
        raise StartError(f"{name}.listen: {where}: {problem}", hint=hint) from error
    bound.setblocking(False)
    return bound


def _bind_unix(bound: socket.socket, path: Path, mode: int, *, overlap: bool) -> None:
    """Bind beside the path, and rename: nobody finds a socket there that does not listen yet."""
    if not overlap:
        clear_unix_path(path)
    elif not path.parent.is_dir():
        raise StartError(f"{path}: no such folder: {path.parent}")
    elif path.exists() and not path.is_socket():
        raise StartError(f"{path}: {NOT_A_SOCKET}")
    _clear_left_behind(path.parent)
    beside = beside_of(path)
    bound.bind(str(beside))
    try:
        beside.chmod(mode)
        bound.listen(BACKLOG)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _clear_left_behind(folder: Path) -> None:
    """Remove sockets beside a path that a process of ours left when it was killed before it could rename them."""
    with suppress(OSError):
        for beside in folder.iterdir():
            if not _BESIDE.fullmatch(beside.name):
                continue
            with suppress(OSError):
                status = beside.lstat()
                is_ours = stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()
                if is_ours and time.time() - status.st_mtime > _LEFT and not _is_listened_on(beside):
                    beside.unlink()


def beside_of(path: Path) -> Path:
    """Return a path in the same folder that nobody has: two containers may have the same process id, so it is random.

    It is short, for a unix socket's path has 107 bytes at most.
    """
    return path.with_name(f".{os.urandom(3).hex()}")


def leave_to_others(bound: socket.socket, own: int = 1) -> None:
    """Have new connections go to the sockets that were bound behind ours; harmless if there are none.

    The kernel asks a small program (BPF) for the number of a socket among those that share the port, in the order in
    which they were bound; an invalid number means that it chooses itself, as without a program. Linux only; for
    unix sockets there is nothing to do.

    Args:
        bound: One of ours.
        own: How many sockets of ours share the port.
    """
    if sys.platform != "linux" or bound.family == socket.AF_UNIX:
        return
    steps = struct.pack("=HBBI", _LOAD_RANDOM[0], 0, 0, _LOAD_RANDOM[1])
    steps += struct.pack("=HBBI", _MODULO, 0, 0, own)
    steps += struct.pack("=HBBI", _ADD, 0, 0, own) + struct.pack("=HBBI", _RETURN, 0, 0, 0)
    program = ctypes.create_string_buffer(steps)
    option = struct.pack("@HP", len(steps) // 8, ctypes.addressof(program))
    with suppress(OSError):  # a kernel without it: the few that wait when we close are lost
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, option)


def bind_problem(error: OSError, *, overlap: bool = False) -> tuple[str, str]:
    """Return why a socket could not be bound, in the system's words, and what to do about it ("": nothing to say)."""
    hints = {
        errno.EADDRINUSE: IN_USE[overlap],
        errno.EADDRNOTAVAIL: "the address is of no interface of this machine; 0.0.0.0 or [::] is all of them",
        errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE",
    }
    if not error.errno:
        return str(error), ""
    return os.strerror(error.errno), hints.get(error.errno, "")  # Python's own text repeats the address


def clear_unix_path(path: Path) -> None:
    """Remove the socket of a process that has ended, so that the path can be bound.

    Raises StartError if something else stands there, or where somebody still listens.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise StartError(f"{path}: no such folder: {path.parent}") from None
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise StartError(f"{path}: {NOT_A_SOCKET}")
    if not _is_listened_on(path):
        path.unlink(missing_ok=True)
        return
    raise StartError(f"{path}: another program listens there", hint=IN_USE[False])


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # where many wait to be accepted we would wait, too
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:  # it is alive: busy, or another user's
            return True
    return True


def inode(path: Path) -> int | None:
    """Return the inode number of what stands at the path; None if nothing does."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
