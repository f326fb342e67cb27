"""A Valkey or Redis of the tests' own, on a free port of loopback, ended with them."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from support.processes import Process, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def program() -> str | None:
    """Return the server's program; None: there is none (apt-get install redis-server)."""
    return shutil.which("valkey-server") or shutil.which("redis-server")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Give the URL of a running server."""
    path, port = program(), free_port()
    assert path is not None
    command = [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with Process(command, cwd=folder) as process:
        process.wait_for_line(r"Ready to accept connections")
        yield f"valkey://127.0.0.1:{port}/0"
