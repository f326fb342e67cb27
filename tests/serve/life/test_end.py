"""The end of a sidecar: drain, goodbye, nothing left."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import Sidecar, wait_for
from support.sidecar.fronts import HttpClient
from support.sidecar.running import (
    ALLOWED,
    DENIED,
    PATIENCE,
    config,
    get,
    logging_to,
    run,
    running,
)

from authz.serve.listeners import accept
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.senders.events import EventSender

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher

    from authz.serve.http1.messages import Answer, HeadParts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_a_second_one_ends_at_once(publisher: Publisher, number: signal.Signals) -> None:
    publisher.publish()
    text = config().replace("drain: 0s", "drain: 1h").replace('"off"', f'"unix://{publisher.folder}/g.sock"', 1)
    with (
        Sidecar(publisher.folder, text) as sidecar,
        socket.create_connection(("127.0.0.1", sidecar.ports["http"]), timeout=PATIENCE) as connection,
    ):
        kept = HttpClient(connection)
        assert kept.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        assert (publisher.folder / "g.sock").is_socket()

        sidecar.popen.send_signal(number)
        wait_for(lambda: get(sidecar.ports["admin"], "/readyz").status == 503)

        readiness = json.loads(get(sidecar.ports["admin"], "/readyz").body)
        assert readiness == {"ready": False, "reasons": ["draining: the process was told to end"]}
        assert get(sidecar.ports["admin"], "/livez").status == 200
        assert kept.ask("/v1/auth", f"X-Forwarded-For: {ALLOWED}").status == 200
        assert get(sidecar.ports["http"], "/v1/auth", DENIED).status == 403
        sidecar.popen.send_signal(signal.SIGHUP)  # changes nothing
        assert sidecar.popen.poll() is None

        sidecar.popen.send_signal(number)
        assert sidecar.wait() == 0
        assert kept.rest() == b""

    assert not (publisher.folder / "g.sock").exists()
    steps = re.findall(r"authz: (\w+): ended", sidecar.output)

    assert steps == ["http", "grpc", "admin", "decision_log"]
    assert sidecar.lines[-1].endswith("authz: ended")
    assert "Traceback" not in sidecar.output


def test_after_the_drain_it_ends_by_itself_and_its_sockets_are_gone(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace("drain: 0s", "drain: 100ms")
    for name in ("grpc", "http", "admin"):
        text = re.sub(rf'{name}: {{listen: "[^"]*"', f'{name}: {{listen: "unix:{name}.sock"', text)
    with Sidecar(publisher.folder, text) as sidecar:
        sockets = [publisher.folder / f"{name}.sock" for name in ("grpc", "http", "admin")]
        assert all(path.is_socket() for path in sockets)
        sidecar.popen.terminate()
        assert sidecar.wait() == 0

    assert not any(path.exists() for path in sockets)


def test_the_socket_of_a_successor_stays_when_the_old_process_ends(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace('http: {listen: "127.0.0.1:0"', 'http: {listen: "unix:http.sock"')
    path = publisher.folder / "http.sock"

    async def live() -> None:
        async with running(publisher.folder, text):
            path.rename(publisher.folder / "old.sock")
            path.touch()
        assert path.exists()

    run(live())


def test_a_request_in_the_last_moment_is_answered_whole(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept, "GOODBYE", 0.2)
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder) as started:
            http, ends = started.sidecar._http, list[asyncio.Task[None]]()
            assert http is not None
            handle = http.handler

            def end_and_handle(head: HeadParts) -> Answer:
                if not ends:  # with the first request, while the others wait to be answered
                    ends.append(asyncio.get_running_loop().create_task(started.sidecar.stop()))
                return handle(head)

            http.handler = end_and_handle
            reader, writer = await asyncio.open_connection("127.0.0.1", started.sidecar.ports["http"])
            writer.write(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {ALLOWED}\r\n\r\n".encode() * 100)
            answers = await reader.read()
            writer.close()
            await ends[0]
        assert answers.count(b"HTTP/1.1 200 OK\r\n") == 100
        assert answers.endswith(b"\r\n\r\n")

    run(live())


def test_the_ends_of_listeners_and_of_writers_wait_together(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other, they took longer than the second that the end may take more than the drain."""
    publisher.publish()
    text = logging_to() + 'events: {url: "http://127.0.0.1:1/v1/events"}\n'
    listeners, writers = asyncio.Barrier(2), threading.Barrier(2)
    end = accept.Listener.end
    stops: dict[type, Callable[[Any], None]] = {DecisionLog: DecisionLog.stop, EventSender: EventSender.stop}

    async def end_together(listener: accept.Listener, *arguments: Any) -> None:
        async with asyncio.timeout(PATIENCE):
            await listeners.wait()
        await end(listener, *arguments)

    def stop_together(writer: Any) -> None:
        writers.wait(PATIENCE)
        stops[type(writer)](writer)

    async def live() -> None:
        monkeypatch.setattr(accept.Listener, "end", end_together)
        for kind in stops:
            monkeypatch.setattr(kind, "stop", stop_together)
        async with running(publisher.folder, text):
            pass

    run(live())
    assert not writers.broken


def test_stopping_twice_is_harmless(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder) as started:
            await started.sidecar.stop()
            await started.sidecar.stop()

    run(live())
