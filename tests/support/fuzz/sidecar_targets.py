"""What strangers send to a sidecar: files, frames, header blocks, requests, check messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from hpack import Decoder

from authz.addresses import parse_address, parse_network
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.permissions import May, first_violation
from authz.errors import ConnectionFault, SnapshotRefused
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.record import Ban
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http2.fields import FieldReader
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.read import check_snapshot
from support.proxies.envoy_api import check_request, read_answer
from support.publishing.publisher import Publisher
from support.sidecar.fronts import TRUSTING, Fronts
from support.sidecar.http2 import DATA, END, HEADERS, WHOLE, Frame, ManualTurns, Peer, frame, message
from support.sidecar.http2_methods import BLOCK, NOTHING, WAYS, Methods, held, ways, works
from support.snapshot.forge import Forge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Run = Callable[[bytes], object]


# A snapshot: its file, or its manifest or a section as if a trusted key had signed it.


_BANS: Final = (
    Ban(
        ban_id(1), parse_network("192.0.2.7"), "deny", frozenset({"shop"}), reason="guessing", author="ops", expires=99
    ),
    Ban(ban_id(2), parse_network("192.0.2.7"), "gray", action="warn", added=9),
    Ban(ban_id(3), parse_network("2001:db8::1"), "deny"),
    Ban(ban_id(4), parse_network("198.51.100.0/24"), "deny", reason="a network"),
)
_LOOKED_UP: Final = [parse_address(text) for text in ("192.0.2.7", "198.51.100.9", "203.0.113.9", "2001:db8::1", "::")]


def _forges(folder: Path) -> tuple[Publisher, Forge, Forge]:
    """Return who signs, a policy's file, and a file of bans with rows, a network and tombstones."""
    publisher = Publisher(folder)
    signers = {name: publisher.signer(name) for name in ("a", "b")}
    policy = publisher.publish(serial=6).read_bytes()
    bans = build_bans_layer(_BANS, layer="bans", serial=7, created=0, signers=[signers["a"]], tombstones=[5, 6])
    return publisher, Forge(policy, signers), Forge(bans, signers)


def _parts(policy: Forge, bans: Forge) -> list[tuple[Forge, str]]:
    return [(good, name) for good in (policy, bans) for name in good.sections]


def snapshot(folder: Path) -> Run:
    """The first byte says which part of a good file the rest stands for; what is accepted is used like any other."""
    publisher, policy, bans = _forges(folder)
    key, parts = publisher.key(), _parts(policy, bans)

    def run(data: bytes) -> None:
        part, rest = data[:1], data[1:]
        if part == b"f":
            file = rest
        elif part in {b"m", b"M"}:
            file = (policy if part == b"m" else bans).with_payload(rest)
        else:
            good, name = parts[(part or b"\0")[0] % len(parts)]
            file = good.with_sections(lambda sections: sections.update({name: rest}))
        try:
            opened = OpenedSnapshot(check_snapshot(memoryview(file), [key], now=0))
            first_violation((opened,), May(), opened.protected, 0)
        except SnapshotRefused:
            return
        singles = opened.singles
        problems = [*opened.index.problems(len(opened.entries)), *(singles.problems() if singles else ())]
        assert all(isinstance(problem, str) for problem in problems)
        if not problems:
            for address in _LOOKED_UP:
                assert all(covering.entry.id is not None for covering in opened.covering(address))

    return run


def snapshot_seeds(folder: Path) -> Iterable[bytes]:
    """Whole files, their manifests, each section."""
    _, policy, bans = _forges(folder)
    for good, letter in ((policy, b"m"), (bans, b"M")):
        yield b"f" + good.data
        yield letter + good.payload
    for number, (good, name) in enumerate(_parts(policy, bans)):
        yield bytes([number]) + good.sections[name]


# HTTP/2.


class _Loose(Peer):
    """A peer that does not mind what comes back."""

    def _take(self, item: Frame) -> None:
        assert len(item.payload) <= 16384


def http2(_: Path) -> Run:
    """What comes after the preface of a connection, in two pieces: the first byte says where it is cut."""

    def run(data: bytes) -> None:
        methods = Methods()
        peer, other = _Loose(methods.connections), Peer(methods.connections)
        cut = (data[:1] or b"\0")[0] * 4
        for piece in (data[1:cut], data[max(cut, 1) :]):
            peer.connection.data_received(piece)
            methods_turns(methods)
        assert works(other)
        for _ in range(3):
            if not peer.wire.closing:
                peer.connection.sweep(0.0)
        peer.read()
        rest = held(peer.connection) | dict.fromkeys(("watchers", "windows", "blocked", "starved", "waiting"), 0)
        assert peer.wire.closing or rest == NOTHING
        peer.lost()
        assert methods.watchers == []
        assert methods.connections.held.total == 0

    return run


def methods_turns(methods: Methods) -> None:
    """Let connections with more to do have all their turns."""
    assert isinstance(methods.turns, ManualTurns)
    methods.turns.run()


def http2_seeds(_: Path) -> Iterable[bytes]:
    """Calls of every kind, and some frames of each type."""
    for way in WAYS:
        yield b"\x05" + ways(message(b"x" * 20), 1)[way]
    yield b"\x09" + frame(HEADERS, WHOLE, 1, BLOCK) + frame(DATA, END, 1, message(b"300"))
    for kind in range(10):
        yield b"\0" + frame(kind, 0, kind & 1, bytes(8 - 4 * (kind in {2, 3, 8})))


class _Everything(frozenset[bytes]):
    def __contains__(self, _: object) -> bool:
        return True


def hpack(_: Path) -> Run:
    """Header blocks, each behind its length as a byte: what we read of them is what the hpack library reads."""

    def run(data: bytes) -> None:
        reader, twin = FieldReader(()), Decoder()
        reader._wanted = _Everything()
        while data:
            block, data = data[1 : 1 + data[0]], data[1 + data[0] :]
            try:
                fields = reader.read(block)
            except ConnectionFault:
                return
            if fields.too_large:
                return
            assert fields.items == [(bytes(name), bytes(value)) for name, value in twin.decode(block, raw=True)]

    return run


def hpack_seeds(_: Path) -> Iterable[bytes]:
    """Blocks of RFC 7541, appendix C."""
    for text in (
        "400a637573746f6d2d6b65790d637573746f6d2d686561646572", "040c2f73616d706c652f70617468", "82",
        "828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865", "20", "3fe11f20",
        "828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ):  # fmt: skip
        block = bytes.fromhex(text)
        yield bytes([len(block)]) + block
        yield (bytes([len(block)]) + block) * 2


# HTTP/1.1.


class _HttpWire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4711) if name == "peername" else default

    def write(self, data: Any) -> None:
        assert not self.closed
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    abort = close


def http(folder: Path) -> Run:
    """All that a peer sends, whole and in two pieces: the answers are the same, and each is a whole one of ours."""
    front = Fronts(Publisher(folder)).http
    turns = ManualTurns()

    def answers(most: int, *pieces: bytes) -> bytes:
        limits = HttpLimits(max_header=most)
        connections = HttpConnections(front.handle, front.wanted, limits, refuse=front.refuse, turns=turns)
        connection, wire = connections(), _HttpWire()
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
            turns.run()
        connection.check_time(1e9)
        connection.connection_lost(None)
        for answer in bytes(wire.written).split(b"HTTP/1.1 ")[1:]:
            assert answer[:3].isdigit()
            assert b"\r\n\r\n" in answer
        assert connections.held.total == 0
        assert not connections.open
        return bytes(wire.written)

    def run(data: bytes) -> None:
        number = crc32(data)
        cut, most = number % (len(data) + 1), 32 << (number >> 8) % 12
        whole, parts = answers(most, data), answers(most, data[:cut], data[cut:])
        assert whole == parts, (cut, most, whole, parts)

    return run


def http_seeds(_: Path) -> Iterable[bytes]:
    """Requests of every route, and some that smuggle."""
    yield b"GET /v1/auth/shop HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n" * 2
    yield b"GET /v1/nginx/shop HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n" * 3
    yield b"POST /envoy/shop/p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    yield b"GET /v1/forward/shop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    yield b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    yield b"GET /readyz HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\nx: y\n z\r\n\r\n"


# Envoy's CheckRequest.

_STRICT = """\
version: 1
applications: {"*": {default: deny}, shop: {precedence: allow_first}}
entries: [{list: allow, networks: [192.0.2.7], applications: [shop]}]
"""


def check(folder: Path) -> Run:
    """A message of any bytes gets a whole answer, which an independent decoder reads."""
    fronts = Fronts(Publisher(folder), TRUSTING + "application: {unknown: deny}\n", _STRICT)

    def run(data: bytes) -> None:
        answer = read_answer(fronts.check(data))
        assert answer.metadata["decision"] == ("allow" if answer.code == 0 else "deny")
        assert answer.kind == {0: "ok", 7: "denied", 14: "error"}[answer.code]
        if answer.code == 0:
            assert (answer.metadata["client"], answer.metadata["application"]) == ("192.0.2.7", "shop")

    return run


def check_seeds(_: Path) -> Iterable[bytes]:
    """Requests with all that we read."""
    yield check_request("192.0.2.7", context={"application": "shop"})
    yield check_request(
        "10.0.0.1", {"x-forwarded-for": "203.0.113.9", "x-authz-list": "a"}, host="shop.example.com",
        metadata={"waf": {"attack": True, "deep": {"a": [1, {"b": None}]}}},
    )  # fmt: skip
    yield check_request("::1", raw=[("x-forwarded-for", b"203.0.113.9"), ("x-forwarded-for", b"\xff")])
