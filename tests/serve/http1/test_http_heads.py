"""Header blocks as they come, without a socket: how names are spelled, and what is counted against the limit."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.sidecar.http2 import ManualTurns
from support.suite.effort import tries

from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.messages import Answer, RequestHead
from authz.serve.http1.spellings import MAX_SPELLINGS, Spellings

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.http1.messages import HeadParts

MAX_HEADER = 200  # bytes of a header block
FORWARDED = b"x-forwarded-for"


class Transport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Take them; nothing waits here."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Do nothing: the test sends."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended


def heads_of(
    *pieces: bytes, refuse: Callable[[str | None, bytes], Answer] | None = None
) -> tuple[list[RequestHead], list[int]]:
    """Return the header blocks that the pieces bring, and the statuses of all answers."""
    heads: list[RequestHead] = []

    def handler(head: HeadParts) -> Answer:
        heads.append(RequestHead._make(head))
        return Answer(b"HTTP/1.1 204 No Content\r\n")

    async def run() -> bytes:
        connection = HttpConnections(handler, [FORWARDED], HttpLimits(max_header=MAX_HEADER), refuse=refuse)()
        transport = Transport()
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
            for _ in range(10):  # turns for what came beyond a piece
                await asyncio.sleep(0)
        return transport.written

    written = asyncio.run(run())
    return heads, [int(answer[:3]) for answer in written.split(b"HTTP/1.1 ")[1:]]


def request(size: int) -> bytes:
    """Return a request of so many bytes."""
    start, end = b"GET / HTTP/1.1\r\nX: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"x-forwarded-for", b"X-FORWARDED-FOR", b"x-Forwarded-fOR"])
def test_the_case_of_a_name_does_not_matter_and_lines_keep_their_order(name: bytes) -> None:
    lines = [b"a", b"b, c", b"", b"d"]
    block = b"".join(n + b": " + line + b" \r\n" for n, line in zip([name, FORWARDED, name, name], lines, strict=True))
    heads, statuses = heads_of(b"GET / HTTP/1.1\r\nX-Forwarded-Fox: e\r\n" + block + b"\r\n")
    assert statuses == [204]
    assert [head.headers for head in heads] == [{FORWARDED: lines}]


def test_names_that_a_client_makes_up_are_not_remembered_without_end() -> None:
    spellings = Spellings([FORWARDED, b"host"])
    for number in range(10_000):
        assert spellings[b"x-%d" % number] is None
        assert spellings[b"X-Forwarded-For"] == FORWARDED
        assert len(spellings) <= MAX_SPELLINGS
    assert spellings[b"x" * 60_000] is None
    assert max(map(len, spellings)) < 100


def test_a_wanted_name_may_be_long() -> None:
    name = b"x-" + b"a" * 500
    assert Spellings([name])[name.title()] == name


@pytest.mark.parametrize(("size", "status"), [(MAX_HEADER, 204), (MAX_HEADER + 1, 431)])
@pytest.mark.parametrize("before", [0, 1, 2, 30])
def test_the_limit_is_that_of_each_header_block_not_of_what_came_with_it(before: int, size: int, status: int) -> None:
    """Also where it begins behind others in a piece, and ends in the next."""
    data = request(100) * before + request(size)
    for cut in (0, 1, 50, 99, size - 1):
        at = len(data) - cut
        _, statuses = heads_of(data[:at], data[at:])
        assert statuses == [204] * before + [status], cut


def test_pieces_of_any_size_bring_the_same_answers() -> None:
    generator = random.Random(7)
    for _ in range(tries(60)):
        choices = 40, 90, MAX_HEADER - 1, MAX_HEADER, MAX_HEADER, MAX_HEADER + 1
        sizes = [generator.choice(choices) for _ in range(generator.randrange(1, 12))]
        data, pieces = b"".join(map(request, sizes)), []
        expected = [204 if size <= MAX_HEADER else 431 for size in sizes]
        if 431 in expected:
            del expected[expected.index(431) + 1 :]  # it ends the connection
        at = 0
        while at < len(data):
            length = generator.choice((1, 3, 70, 150, 250, 900))
            pieces.append(data[at : at + length])
            at += length
        assert heads_of(*pieces)[1] == expected, (sizes, pieces)


def test_a_size_is_never_less_than_the_header_block() -> None:
    """By it what waits to be logged is cut."""
    heads, _ = heads_of(request(150)[:100], request(150)[100:] + request(60) + request(70)[:-1], b"\n")
    assert [head.size >= least for head, least in zip(heads, (150, 60, 70), strict=True)] == [True] * 3
    assert heads[-1].size == 70


@pytest.mark.parametrize("between", [b"", b"\r\n"], ids=["", "blank line"])
@pytest.mark.parametrize("size", [100, MAX_HEADER])
def test_the_end_of_a_block_that_comes_in_two_pieces_is_seen(size: int, between: bytes) -> None:
    """What followed in the piece was counted with the block before: 431 for requests within the limit."""
    data = request(size) + between + request(MAX_HEADER) + request(MAX_HEADER + 1)
    for at in range(size - 5, size + 5):
        for second in (3, 50, len(data)):
            assert heads_of(data[:at], data[at:][:second], data[at:][second:])[1] == [204, 204, 431], (at, second)


def test_a_body_behind_the_longest_header_block_is_not_counted_with_it() -> None:
    length = b"Content-Length: 300\r\n"
    data = request(MAX_HEADER - len(length)).replace(b"\r\n", b"\r\n" + length, 1) + b"a" * 300
    for at in range(MAX_HEADER - 5, MAX_HEADER + 5):
        assert heads_of(data[:at], data[at:])[1] == [204], at


def test_many_short_lines_count_as_held_with_all_that_they_take() -> None:
    """64,000 bytes of them took 300,000, and counted as 64,000: peers could hold five times the budget."""
    connections = HttpConnections(lambda _: Answer(b""), [FORWARDED, b"te"], HttpLimits(), turns=ManualTurns())
    pieces = [b"GET / HTTP/1.1\r\n", *[b"te: %d\r\n" % number * 400 for number in range(10, 25)]]
    tracemalloc.start()
    try:
        connection = connections()
        connection.connection_made(Transport())
        before = tracemalloc.get_traced_memory()[0]
        for piece in pieces:
            connection.data_received(piece)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert 5 * sum(map(len, pieces)) < taken <= connections.held.total
    connection.connection_lost(None)
    assert connections.held.total == 0


@pytest.mark.parametrize(
    ("data", "target"),
    [
        (b"GET /v1/forward/\x00 HTTP/1.1\r\n\r\n", b""),
        (request(100) + b"GET /v1/forward\r\x01", b""),
        (b"GET /v1/forward/shop HTTP/1.1\r\na\x00b: c\r\n\r\n", b"/v1/forward/shop"),
        (b"GET /v1/forward/" + b"a" * MAX_HEADER, (b"/v1/forward/" + b"a" * MAX_HEADER)[: MAX_HEADER - 4]),
        (b"GET /v1/forward HTTP/1.1\r\nX: " + b"a" * MAX_HEADER, b"/v1/forward"),
    ],
    ids=["broken target", "broken line", "broken header", "long target", "long header"],
)
def test_the_target_of_what_cannot_be_read_is_the_same_however_it_was_cut(data: bytes, target: bytes) -> None:
    """By it the form of the denial is chosen. It was whatever part of a broken target had come before a cut."""
    for cut in range(len(data)):
        targets: list[bytes] = []

        def refuse(_: str | None, target: bytes, targets: list[bytes] = targets) -> Answer:
            targets.append(target)
            return Answer(b"HTTP/1.1 403 Forbidden\r\n")

        _, statuses = heads_of(data[:cut], data[cut:], refuse=refuse)
        assert targets == [target], cut
        assert statuses[-1] == 403
