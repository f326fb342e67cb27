"""Unix sockets: clearing what a dead process left, and rights."""

from __future__ import annotations

import contextlib
import socket
import stat
from typing import TYPE_CHECKING

from authz.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path


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


def set_unix_mode(path: Path, mode: int) -> None:
    """Set the rights of a socket: who may write to it may ask us."""
    path.chmod(mode)


def socket_number(path: Path) -> int | None:
    """Return the inode number of what stands at the path, None where there is nothing. The same number: the same."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
