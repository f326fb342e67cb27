"""Accepting connections: a few in each turn of the event loop, whatever waits."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from typing import TYPE_CHECKING, Any

import pytest
from support.sidecar.http_questions import LOOPS
from support.sidecar.running import until

from authz.serve.config.values import Listen
from authz.serve.listeners.accept import ACCEPTED_A_TURN, listen

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from authz.serve.listeners.accept import Listener


class Arrivals:
    """Counts connections; the factory of their protocols."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> asyncio.Protocol:
        self.count += 1
        return asyncio.Protocol()


def run(loop: str, coroutine: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(asyncio.wait_for(coroutine, 30))


def connect(listener: Listener, path: Path | None = None) -> socket.socket:
    if path is None:
        return socket.create_connection(("127.0.0.1", listener.port))
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("unix", [False, True])
def test_who_connects_without_a_pause_does_not_have_the_event_loop_for_himself(
    loop: str, unix: bool, tmp_path: Path
) -> None:
    """uvloop accepted all that waited, and whatever came meanwhile, in one turn of the loop."""
    arrivals, path = Arrivals(), tmp_path / "s" if unix else None

    async def live() -> None:
        where = Listen(path=path) if path else Listen(host="127.0.0.1", port=0)
        listener = listen("http", where, arrivals, mode=0o600)
        with contextlib.ExitStack() as stack:
            for _ in range(150):
                stack.enter_context(connect(listener, path))
            while arrivals.count < 150:
                before = arrivals.count
                await asyncio.sleep(0)
                assert arrivals.count - before <= ACCEPTED_A_TURN
        await listener.end(lambda: None)

    run(loop, live())


@pytest.mark.parametrize("loop", LOOPS)
def test_without_descriptors_connections_wait_and_are_accepted_once_there_are_some(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """That they wait is told once a minute: nothing said so."""
    arrivals = Arrivals()

    async def live() -> None:
        listener = listen("http", Listen(host="127.0.0.1", port=0), arrivals, mode=0o600)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with connect(listener):
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await asyncio.sleep(0.25)
                assert arrivals.count == 0
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: arrivals.count)
        await listener.end(lambda: None)

    run(loop, live())
    told = [record.getMessage() for record in caplog.records if record.name == "authz"]
    assert told == ["connections cannot be accepted, and wait: Too many open files"]
