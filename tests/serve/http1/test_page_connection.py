"""Pages that are made in steps: others have their turns meanwhile, and the answer is as any other."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from support.sidecar.counting import Counting

from authz.serve.http1 import connection as http1_connection
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer, answer_in_steps
from authz.serve.http1.page_connection import PageConnection
from authz.serve.listeners.budget import MAX_WAIT, Turns

if TYPE_CHECKING:
    from authz.serve.http1.messages import HeadParts
    from authz.serve.steps import Steps

STEPS = 5
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npage"
LAST_PAGE = PAGE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Written(Counting):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True


class Listener:
    """One listener with /page, which takes `STEPS` steps, and /broken, which fails in the second."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.connections = HttpConnections(
            self.answer, (), HttpLimits(), turns=Turns(pieces=1), connection=PageConnection
        )

    def answer(self, parts: HeadParts) -> Answer:
        self.taken.append(parts[1])
        if parts[1] in {b"/page", b"/broken"}:
            return answer_in_steps(self.steps(parts[1]), b"text/plain")
        return Answer(SMALL[:-2])

    def steps(self, target: bytes) -> Steps[bytes]:
        for number in range(STEPS):
            self.taken.append(b"step")
            if number and target == b"/broken":
                raise ValueError
            yield
        return b"page"

    def connected(self) -> tuple[PageConnection, Written]:
        connection, transport = self.connections(), Written()
        assert isinstance(connection, PageConnection)
        connection.connection_made(transport)
        return connection, transport


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def ask(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1", *lines, b"", b""))


def test_between_two_steps_of_a_page_others_have_their_turns() -> None:
    async def run() -> None:
        listener = Listener()
        one, transport = listener.connected()
        other, answered = listener.connected()
        one.data_received(ask(b"/page") + ask(b"/behind"))
        await turns(2)
        assert listener.taken == [b"/page", b"step"]
        assert not one.idle
        other.data_received(ask(b"/livez"))
        assert answered.written == SMALL, "a probe does not wait for it"
        other.data_received(ask(b"/other"))
        await turns(4)
        assert b"/other" in listener.taken[3:6]
        assert transport.written == b""
        assert b"/behind" not in listener.taken, "answers come in order"
        await turns(2 * STEPS)
        assert transport.written == PAGE + SMALL
        assert (one.idle, transport.reading) == (True, True)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (ask(b"/page"), PAGE),
        (ask(b"/page", b"Connection: close"), LAST_PAGE),
        (ask(b"/page", method=b"HEAD"), PAGE.replace(b"Content-Length: 4\r\n", b"").removesuffix(b"page")),
    ],
)
def test_a_page_that_was_made_in_steps_is_an_answer_like_others(asked: bytes, answer: bytes) -> None:
    async def run() -> None:
        connection, transport = Listener().connected()
        connection.data_received(asked)
        await turns(STEPS)
        assert not transport.ended
        assert not transport.closed
        await turns(STEPS)
        assert transport.written == answer
        assert transport.ended == (answer == LAST_PAGE)

    asyncio.run(run())


def test_who_sends_no_more_gets_the_page_before_the_connection_is_closed() -> None:
    async def run() -> None:
        connection, transport = Listener().connected()
        connection.data_received(ask(b"/page"))
        await turns(2)
        assert connection.eof_received(), "it stays open"
        await turns(2)
        assert (transport.written, transport.closed, connection.idle) == (b"", False, False)
        await turns(STEPS)
        assert (transport.written, transport.closed) == (PAGE, True)

    asyncio.run(run())


def test_no_page_is_made_for_who_has_gone() -> None:
    async def run() -> None:
        listener = Listener()
        connection, transport = listener.connected()
        connection.data_received(ask(b"/page"))
        await turns(3)
        connection.connection_lost(None)
        taken = len(listener.taken)
        await turns(STEPS)
        assert len(listener.taken) == taken < STEPS
        assert transport.written == b""
        assert not listener.connections.turns.busy

    asyncio.run(run())


@pytest.mark.parametrize("lines", [(), (b"Connection: close",)])
def test_a_page_that_fails_is_answered_by_an_error_and_others_are_made(lines: tuple[bytes, ...]) -> None:
    async def run() -> None:
        listener = Listener()
        broken, transport = listener.connected()
        other, answered = listener.connected()
        broken.data_received(ask(b"/broken", *lines))
        other.data_received(ask(b"/page"))
        await turns(4 * STEPS)
        assert transport.written.startswith(b"HTTP/1.1 500 ")
        assert transport.ended
        assert answered.written == PAGE

    asyncio.run(run())


def test_no_request_is_refused_because_it_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks has no other sidecar to ask: it is this one that is looked at."""

    async def run() -> None:
        connection, transport = Listener().connected()
        connection.data_received(ask(b"/other"))
        late = time.monotonic() + 2 * MAX_WAIT
        monkeypatch.setattr(http1_connection, "_now", lambda: late)
        await turns(2)
        assert transport.written == SMALL

    asyncio.run(run())
