"""Over real sockets, with both event loops."""

from __future__ import annotations

import asyncio
import shutil
import socket
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from hpack import Decoder
from support.sidecar.http2 import (
    DATA,
    END,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    TABLE_SIZE,
    WHOLE,
    frame,
    message,
    read_frames,
    window,
)
from support.sidecar.http2 import settings as settings_frame
from support.sidecar.http2_methods import BLOCK, ECHO, Methods, ways

from authz.serve.http2.connection import Http2Connection
from authz.serve.listeners.budget import Turns

if TYPE_CHECKING:
    from pathlib import Path

# Over real sockets.


async def _listening(methods: Methods) -> tuple[asyncio.Server, int]:
    methods.connections.turns = Turns()
    server = await asyncio.get_running_loop().create_server(methods.connections, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def _exchange(methods: Methods, data: bytes) -> bytes:
    """Send data, say that this is all, and return what comes until the other side ends."""
    server, port = await _listening(methods)
    try:
        reading, writing = await asyncio.open_connection("127.0.0.1", port)
        writing.write(data)
        writing.write_eof()
        got = await reading.read()
        writing.close()
        return got
    finally:
        server.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_peer_that_has_sent_all_gets_all_its_answers(methods: Methods, loop: str) -> None:
    streams = range(1, 4001, 2)
    calls = b"".join(ways(message(b"%d" % stream), stream)["whole"] for stream in streams)
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        got = runner.run(_exchange(methods, PREFACE + settings_frame() + window(0, 1 << 20) + calls))

    answered = [item.stream for item in read_frames(got)[0] if item.kind == DATA]
    assert answered == list(streams)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_over_a_socket_a_peer_that_does_not_read_is_not_read(
    methods: Methods, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not read until it reads, a fault behind it is seen then, and all before the fault is answered."""
    paused, usual = asyncio.Event(), Http2Connection.pause_writing
    begin = PREFACE + settings_frame((INITIAL_WINDOW, 1 << 20)) + window(0, 1 << 30)
    calls = b"".join(
        frame(HEADERS, WHOLE, stream, BLOCK) + frame(DATA, END, stream, message(bytes(4000)))
        for stream in range(1, 16001, 2)
    )

    def noted(connection: Http2Connection) -> None:
        usual(connection)
        paused.set()

    monkeypatch.setattr(Http2Connection, "pause_writing", noted)

    async def run() -> bytes:
        server, port = await _listening(methods)
        running = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await running.sock_connect(client, ("127.0.0.1", port))
            await running.sock_sendall(client, begin)
            flood = asyncio.ensure_future(running.sock_sendall(client, calls + frame(PING, 0, 3, bytes(8))))
            await paused.wait()
            [connection] = methods.connections.open
            assert not connection._transport.is_reading()
            assert not flood.done()
            got = bytearray()
            while data := await running.sock_recv(client, 1 << 20):
                got += data
            await flood
        server.close()
        return bytes(got)

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        frames, rest = read_frames(runner.run(run()))
    assert rest == b""
    assert frames[-1].kind == GOAWAY
    answers = [item.stream for item in frames if item.kind == HEADERS and not item.flags & END]
    assert answers == list(range(1, 16001, 2))


# A peer that keeps no header table (RFC 7541, 4.2): its decoder fails where a block does not say so first.

NODE = """
const http2 = require("http2");
const session = http2.connect("http://127.0.0.1:" + process.argv[1], {settings: {headerTableSize: 0}});
const ask = (left) => {
  const call = session.request({":method": "POST", ":path": process.argv[2], "content-type": "application/grpc"});
  call.on("trailers", (trailers) => console.log(trailers["grpc-status"]));
  call.on("end", () => left ? ask(left - 1) : session.close());
  call.resume();
  call.end(Buffer.from([0, 0, 0, 0, 1, 120]));
};
session.on("error", (error) => { console.log(error.message); process.exit(1); });
ask(4);
"""


def test_a_peer_on_a_socket_that_keeps_no_header_table_is_answered(methods: Methods) -> None:
    calls = b"".join(ways(message(b"x"), stream)["whole"] for stream in (1, 3, 5))
    got = asyncio.run(_exchange(methods, PREFACE + settings_frame((TABLE_SIZE, 0)) + calls))
    strict = Decoder()
    strict.max_allowed_table_size = strict.header_table_size = 0
    frames, _ = read_frames(got)
    blocks: list[dict[Any, Any]] = [dict(strict.decode(item.payload)) for item in frames if item.kind == HEADERS]
    assert [block.get("grpc-status") for block in blocks] == [None, "0"] * 3


async def _of_program(methods: Methods, *command: str | Path) -> str:
    """Return what a program prints; PORT stands for that of the listener."""
    server, port = await _listening(methods)
    try:
        words = [str(word).replace("PORT", str(port)) for word in command]
        program = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
        printed, _ = await program.communicate()
        return printed.decode()
    finally:
        server.close()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_a_node_client_that_keeps_no_header_table_is_answered(methods: Methods) -> None:
    assert asyncio.run(_of_program(methods, "node", "-e", NODE, "PORT", ECHO)).split() == ["0"] * 5


@pytest.mark.skipif(shutil.which("h2load") is None, reason="there is no h2load")
def test_an_h2load_that_keeps_no_header_table_is_answered(methods: Methods, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(message(b"x"))
    printed = asyncio.run(_of_program(
        methods, "h2load", "--header-table-size=0", "-n", "50", "-c", "1", "-H", "content-type: application/grpc",
        "-d", tmp_path / "body", f"http://127.0.0.1:PORT{ECHO}",
    ))  # fmt: skip
    assert "50 succeeded, 0 failed, 0 errored" in printed
