"""Sources of events: Envoy's access log service, and syslog as nginx sends it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import grpc
import pytest
from support.processes import PATIENCE
from support.proxies.envoy_logs import DECIDED, log_entry, log_message, text_value, texts_value
from support.servers.intake import LINE, Room, eventually, feeder

from authz.control.detect.sources import envoy
from authz.control.detect.sources import syslog as syslog_source
from authz.control.detect.sources.config import EnvoySource
from authz.control.detect.sources.envoy import EnvoyLogs, event_of
from authz.control.detect.sources.syslog import Syslog, line_of
from authz.serve.config.values import Listen
from authz.wire.envoy.v3.access_log_pb2 import HTTPAccessLogEntry

if TYPE_CHECKING:
    from pathlib import Path

    from authz.control.detect.event import Event

METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


@pytest.fixture
def room() -> Room:
    return Room()


# Syslog.


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (b"<190>Dec  1 00:00:00 host nginx: the line", b"the line"),
        (b"<190>Dec 11 00:00:00 host edge_1: the line", b"the line"),
        (b"<190>Dec 11 00:00:00 nginx: the line", b"the line"),  # with `nohostname`
        (b'{"client": "203.0.113.9"}', b'{"client": "203.0.113.9"}'),
    ],
)
def test_the_line_stands_behind_the_head_of_a_syslog_message(message: bytes, line: bytes) -> None:
    assert line_of(message) == line


async def send_by_syslog(room: Room, datagram: bytes, stream: bytes, expected: int) -> None:
    """Send a datagram by UDP and some lines by TCP, and wait until as many events have come as are expected."""
    syslog = Syslog(Listen("127.0.0.1", 0), feeder(room))
    await syslog.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(datagram, ("127.0.0.1", syslog.port))
    _, writer = await asyncio.open_connection("127.0.0.1", syslog.port)
    writer.write(stream)
    await writer.drain()
    await asyncio.to_thread(eventually, lambda: len(room.events) == expected)
    writer.close()
    await syslog.stop()


def test_syslog_is_read_by_udp_and_by_tcp(room: Room) -> None:
    message = b"<190>Dec  1 00:00:00 host nginx: " + LINE.encode()

    asyncio.run(send_by_syslog(room, message, message + b"\n" + b"nonsense\n" + message + b"\n", expected=3))
    assert {(event.client.text, event.path, event.status) for event in room.events} == {("203.0.113.9", "/login", 401)}


def test_an_intake_that_hangs_stalls_no_event_loop(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where control planes share the counting, the intake asks Valkey, and that may not answer."""
    asked_in: list[threading.Thread] = []
    put = room.put

    def note(events: list[Event], received: float) -> bool:
        asked_in.append(threading.current_thread())
        return put(events, received)

    monkeypatch.setattr(room, "put", note)
    message = b"<190>Dec  1 00:00:00 host nginx: " + LINE.encode()

    asyncio.run(send_by_syslog(room, message, message + b"\n", expected=2))
    assert threading.main_thread() not in asked_in


def test_syslog_is_read_from_a_unix_socket_and_the_socket_is_removed(room: Room, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def run() -> None:
        syslog = Syslog(Listen(path=path), feeder(room))
        await syslog.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(LINE.encode(), str(path))
        await asyncio.to_thread(eventually, lambda: len(room.events) == 1)
        await syslog.stop()

    asyncio.run(run())
    assert not path.exists()


def test_datagrams_that_wait_have_a_budget_of_bytes(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog_source, "MAX_BYTES", 5000)
    answers, put, taking = threading.Event(), room.put, feeder(room)

    def hang(events: list[Event], received: float) -> bool:
        answers.wait(PATIENCE)
        return put(events, received)

    monkeypatch.setattr(room, "put", hang)
    message, path = LINE[:-1].encode() + b"x" * 1000 + b'"', tmp_path / "log"

    def send() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            for _ in range(40):
                sender.sendto(message, str(path))

    async def run() -> None:
        syslog = Syslog(Listen(path=path), taking)
        await syslog.start()
        await asyncio.to_thread(send)
        await asyncio.to_thread(eventually, lambda: taking.dropped >= 20)
        answers.set()
        await asyncio.to_thread(eventually, lambda: len(room.events) + taking.dropped == 40)
        await asyncio.to_thread(send)  # their room is free again
        await asyncio.to_thread(eventually, lambda: len(room.events) + taking.dropped == 80)
        await syslog.stop()

    asyncio.run(run())
    assert room.events


def test_datagrams_that_came_before_the_end_all_count(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that the kernel still has, those that wait, and those that are just being read."""
    put, path = room.put, tmp_path / "log"

    def slowly(events: list[Event], received: float) -> bool:
        time.sleep(0.05)
        return put(events, received)

    monkeypatch.setattr(room, "put", slowly)
    monkeypatch.setattr(syslog_source, "_DRAIN", PATIENCE)
    monkeypatch.setattr(syslog_source, "_LAST", PATIENCE)

    async def run() -> None:
        syslog = Syslog(Listen(path=path), feeder(room))
        await syslog.start()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(LINE.encode(), str(path))
            await asyncio.sleep(0.02)  # it is being read
            sender.setblocking(False)
            sent = 1
            with contextlib.suppress(BlockingIOError):  # more than the kernel keeps
                while sent < 400:
                    sender.sendto(LINE.encode(), str(path))  # the loop has no turn to read them in
                    sent += 1
        await syslog.stop()
        assert len(room.events) == sent > 5

    asyncio.run(run())


def test_datagrams_that_the_kernel_has_no_room_for_are_counted(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syslog_source, "_DRAIN", PATIENCE)
    monkeypatch.setattr(syslog_source, "_LAST", PATIENCE)
    message, taking, sent = LINE.encode() + b" " * 1000, feeder(room), 2000

    async def run() -> None:
        syslog = Syslog(Listen("127.0.0.1", 0), taking)
        await syslog.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(sent):
                udp.sendto(message, ("127.0.0.1", syslog.port))  # the loop has no turn to read them in
        await syslog.stop()

    asyncio.run(run())
    assert taking.dropped_before() > 0
    assert len(room.events) + taking.all_dropped == sent


def test_messages_without_room_are_counted(room: Room) -> None:
    full = feeder(room)
    room.full = True
    assert not full.offer(full.events_of([LINE.encode()] * 3))
    assert full.dropped == 3


def test_any_bytes_in_a_line_are_an_event_or_counted(room: Room) -> None:
    feeds = feeder(room)
    lines = [bytes([number]) * 40 for number in range(256)] + [LINE.encode().replace(b"/login", b"/\xff\x00\\x22")]
    assert len(feeds.events_of(reversed(lines))) == 1
    assert feeds.skipped >= 200


# Envoy.


def test_the_client_and_application_of_an_envoy_entry_are_those_of_the_decision() -> None:
    event = event_of(HTTPAccessLogEntry.FromString(bytes(log_entry(DECIDED))))
    assert event is not None
    assert (event.client.text, event.application, event.decision) == ("203.0.113.9", "shop", "allow")
    assert (event.method, event.path, event.host, event.status) == ("POST", "/login", "shop.example.com", 401)


def test_without_a_decision_the_client_is_envoys_own_idea() -> None:
    event = event_of(HTTPAccessLogEntry.FromString(bytes(log_entry())))
    assert event is not None
    assert (event.client.text, event.application) == ("10.0.0.1", "")


def test_what_a_waf_says_in_metadata_of_envoy_is_of_the_event() -> None:
    def read_metadata(waf: dict[str, Any], namespace: str = "acme.waf") -> tuple[tuple[str, ...], str]:
        event = event_of(HTTPAccessLogEntry.FromString(bytes(log_entry(DECIDED, waf))), namespace)
        assert event is not None
        return event.attacks, event.payload

    single = {"attacks": text_value("sqli"), "payload": text_value("1' or 1=1")}
    assert read_metadata(single) == (("sqli",), "1' or 1=1")
    assert read_metadata(single, "") == ((), "")
    assert read_metadata({"attacks": texts_value("xss", "", "rce")}) == (("xss", "rce"), "")


def test_a_stream_of_envoy_is_taken(room: Room) -> None:
    message = log_message(*[log_entry(DECIDED)] * 3)

    async def run() -> None:
        logs = EnvoyLogs(EnvoySource(listen=Listen("127.0.0.1", 0)), feeder(room), threading.Event())
        await logs.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{logs.port}") as channel:
            call: Any = channel.stream_unary(METHOD, None, None)
            await call(iter([message, message]))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(iter([b"\xff\xff"]))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        await logs.stop()

    asyncio.run(run())
    assert len(room.events) == 6


def test_a_flood_of_access_logs_leaves_the_event_loop_and_its_threads_to_others(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in: set[threading.Thread] = set()

    def note(*given: Any) -> Any:
        read_in.add(threading.current_thread())
        return event_of(*given)

    monkeypatch.setattr(envoy, "event_of", note)
    room.full = True

    async def run() -> int:
        ending = threading.Event()
        logs = EnvoyLogs(EnvoySource(listen=Listen("127.0.0.1", 0)), feeder(room), ending)
        await logs.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{logs.port}") as channel:
            stream: Any = channel.stream_unary(METHOD, None, None)
            calls = [stream(iter([log_message(log_entry(DECIDED))])) for _ in range(3 * envoy.MAX_READ)]
            await asyncio.to_thread(eventually, lambda: len(read_in) == envoy.MAX_READ)
            borrowed = anyio.to_thread.current_default_thread_limiter().borrowed_tokens
            ending.set()
            await asyncio.gather(*calls)
        await logs.stop()
        return borrowed

    assert asyncio.run(run()) == 0
    assert threading.main_thread() not in read_in
