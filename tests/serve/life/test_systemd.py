"""What systemd is told of a sidecar, of one process and of several."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Self

import pytest
from support.processes import PATIENCE, Process
from support.sidecar.running import config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.publishing.publisher import Publisher


class Told:
    """A sidecar, and what it tells systemd."""

    def __init__(self, folder: Path, workers: int) -> None:
        (folder / "authz.yaml").write_text(config("poll: 250ms", f"workers: {workers}\n"))
        self._heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._heard.bind(str(folder / "notify.sock"))
        self._heard.settimeout(PATIENCE)
        command = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
        self.process = Process(command, cwd=folder, env=os.environ | {"NOTIFY_SOCKET": str(folder / "notify.sock")})

    def until(self, wanted: str) -> list[str]:
        """Return the lines of the first message that has a line with this beginning."""
        while True:
            lines = self._heard.recv(65536).decode().split("\n")
            if any(line.startswith(wanted) for line in lines):
                return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end()
        self._heard.close()


@pytest.fixture(params=[1, 2])
def told(publisher: Publisher, request: pytest.FixtureRequest) -> Iterator[Told]:
    with Told(publisher.folder, request.param) as told:
        yield told


def test_the_status_says_why_it_is_not_ready_and_then_that_it_is(told: Told, publisher: Publisher) -> None:
    """Workers: `serving with 2 workers` was told, whatever was loaded. One process: it was told at the start alone."""
    ready, status = told.until("READY=1")
    assert ready == "READY=1"
    assert status.startswith("STATUS=not ready: no_snapshot: none was loaded yet")
    publisher.publish()
    assert told.until("STATUS=ready") == ["STATUS=ready"]
    os.kill(told.process.pid, signal.SIGHUP)
    told.until("RELOADING=1")
    assert told.until("READY=1") == ["READY=1", "STATUS=ready"]
    os.kill(told.process.pid, signal.SIGTERM)
    assert told.until("STOPPING=1") == ["STOPPING=1", "STATUS=draining"]
    assert told.process.wait() == 0


def test_the_status_says_that_a_worker_or_the_keeper_is_missing(publisher: Publisher) -> None:
    publisher.publish()
    with Told(publisher.folder, 2) as told:
        assert told.until("READY=1") == ["READY=1", "STATUS=ready"]
        for name, status in (
            ("worker 1", "not ready: worker 1: does not report"),
            ("the keeper", "not known: the keeper has ended and is replaced"),
        ):
            os.kill(int(told.process.wait_for_line(f"authz: {name}: pid ([0-9]+)$")[1]), signal.SIGKILL)
            assert told.until(f"STATUS={status}") == [f"STATUS={status}"]
            assert told.until("STATUS=ready") == ["STATUS=ready"]
