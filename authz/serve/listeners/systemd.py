"""What systemd gives to a service and wants to hear of it; without systemd nothing of this does anything.

LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES   sockets that it holds for us, over restarts (sd_listen_fds(3))
NOTIFY_SOCKET                            READY=1, STOPPING=1, STATUS=, RELOADING=1 (sd_notify(3))
WATCHDOG_USEC, WATCHDOG_PID              how often it wants to hear WATCHDOG=1 (sd_watchdog_enabled(3))
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from authz.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from authz.serve.config.values import Listen

_FIRST: Final = 3  # descriptor; SD_LISTEN_FDS_START


class Passed:
    """Sockets that were passed to us; `take` gives each out once.

    Args:
        sockets: By the name that the unit gives them (`FileDescriptorName=`), or its own where it gives none.
    """

    def __init__(self, sockets: list[tuple[str, socket.socket]]) -> None:
        self._sockets = sockets

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Passed:
        """Take the sockets that the environment tells of, and the variables out of it. Raises StartError."""
        number, pid, names = (environment.pop(f"LISTEN_{name}", "") for name in ("FDS", "PID", "FDNAMES"))
        if not number or pid != str(os.getpid()):
            return cls([])
        if not number.isascii() or not number.isdigit():
            raise StartError(f"LISTEN_FDS: found '{number[:20]}', expected a number")
        sockets = []
        names_in_order = [*names.split(":"), *[""] * int(number)]
        for descriptor, name in zip(range(_FIRST, _FIRST + int(number)), names_in_order, strict=False):
            try:
                passed = socket.socket(fileno=descriptor)
                listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            except OSError as error:
                raise StartError(f"LISTEN_FDS: descriptor {descriptor}: {error.strerror}, expected a socket") from error
            if not listens or passed.type != socket.SOCK_STREAM:
                raise StartError(f"LISTEN_FDS: descriptor {descriptor}: expected a stream socket that listens")
            passed.setblocking(False)
            os.set_inheritable(descriptor, False)
            sockets.append((name, passed))
        return cls(sockets)

    def take(self, name: str, where: Listen) -> socket.socket | None:
        """Return the socket with the name of a listener (`grpc`, `http`, `admin`), or with its address; or None."""
        for by_name in (True, False):
            for given in self._sockets:
                if given[0] == name if by_name else _at(given[1]) == str(where):
                    self._sockets.remove(given)
                    return given[1]
        return None

    def check_all_taken(self) -> None:
        """Raise StartError where a socket is of no listener: its clients would wait forever."""
        if self._sockets:
            name, unused = self._sockets[0]
            raise StartError(
                f"LISTEN_FDS: found a socket '{name}' at {_at(unused)} that no listener has",
                hint="name it grpc, http or admin (FileDescriptorName=), or listen at the same address",
            )


def _at(listening: socket.socket) -> str:
    name = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return f"unix://{name}"
    return f"[{name[0]}]:{name[1]}" if listening.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def notify(environment: Mapping[str, str], *lines: str) -> None:
    """Tell systemd; nothing if it does not listen. Never blocks, never raises."""
    path = environment.get("NOTIFY_SOCKET", "")
    if path[:1] not in {"/", "@"}:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.sendto("\n".join(lines).encode(), "\0" + path[1:] if path[0] == "@" else path)


def watchdog(environment: Mapping[str, str]) -> float | None:
    """Return how often to say WATCHDOG=1, in seconds: twice in the time that systemd waits. None: it does not wait."""
    wanted, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not wanted.isdigit() or not int(wanted) or pid not in {"", str(os.getpid())}:
        return None
    return int(wanted) / 2_000_000


def reloading() -> tuple[str, str]:
    """Return what to say when the configuration is read again; READY=1 follows (`Type=notify-reload`)."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
