"""A proxy of a test: its ports, and its process, which is waited for until it listens."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from support.processes import LOOPBACK, Process, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ProxyPorts(NamedTuple):
    """edge: who connects is the peer. proxied: the peer is whom the PROXY protocol names."""

    edge: int
    proxied: int


def program_of_system(name: str, needs: str) -> Path:
    """Return a program of the system, or skip the test. Debian has daemons where only root's PATH looks."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip(f"needs {needs}")
    return Path(path)


def adapted(text: str, changes: Mapping[str, str]) -> str:
    """Return a printed configuration with what a test on one machine cannot use as it stands replaced."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class ProxyProcess(Process):
    """A running proxy."""

    def __init__(
        self, command: Sequence[str | Path], folder: Path, ports: ProxyPorts, *, env: dict[str, str] | None = None
    ) -> None:
        self.ports = ports
        super().__init__(command, cwd=folder, env=env)
        try:
            wait_for(self._listens, f"{command[0]} listens")
        except BaseException:
            self.end()
            raise

    def _listens(self) -> bool:
        assert self.popen.poll() is None, f"it ended:\n{self.output}"
        for port in self.ports:
            socket.create_connection((LOOPBACK, port)).close()
        return True
