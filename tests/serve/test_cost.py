"""What a check costs, counted instead of timed: calls, instructions of the interpreter, memory.

A budget that is exceeded means that every request of everybody has become dearer. Where that is worth it, say why in
the commit and raise the budget; docs/internals/performance.md has what the figures mean in time.
"""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import tracemalloc
from typing import TYPE_CHECKING, cast

import pytest
from hpack import Encoder
from support.proxies.envoy_api import check_request
from support.publishing.publisher import Publisher
from support.publishing.worlds import deny, load
from support.sidecar.fronts import Fronts
from support.suite.cost import Cost, cost_of, within

from authz.addresses import parse_network
from authz.engine.entries.marks import marks_of
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.request import Request
from authz.publisher.bans.record import Ban
from authz.serve.config.config import DecisionLogConfig, TracesConfig
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http2 import connection as http2_connection
from authz.serve.http2 import frames as h2
from authz.serve.http2.grpc_methods import Method, Service
from authz.serve.http2.listener import Http2Listener
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.log.lines import LogLines
from authz.serve.observe.recorder import Decision, make_recorder
from authz.serve.observe.senders.traces import TraceSender
from authz.snapshot.ban_ids import ban_id
from authz.wire.envoy.v3.check_pb2 import CheckRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.engine.entries.opened_snapshot import OpenedSnapshot

ALLOWED, DENIED, IPV6 = "192.0.2.7", "203.0.113.9", "2001:db8:7::1"
HEADERS = {":authority": "shop.example.com", ":method": "GET", ":path": "/cart?id=7", "user-agent": "curl/8",
           "x-request-id": "1"}  # fmt: skip


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Fronts:
    return Fronts(Publisher(tmp_path_factory.mktemp("cost")))


def request(client: str, **more: str) -> bytes:
    return check_request("127.0.0.1", HEADERS | {"x-forwarded-for": client} | more, context={"application": "shop"})


# The check of the gRPC front, bytes to bytes.

CHECK = {
    "allowed": (request(ALLOWED), Cost(16, 258)),
    "denied": (request(DENIED), Cost(15, 247)),
    "IPv6": (request(IPV6), Cost(16, 258)),
    "a browser": (request(ALLOWED, **{f"h-{number}": "v" * 100 for number in range(20)}), Cost(16, 258)),
    "54 kB of X-Forwarded-For": (request("198.51.100.200, " * 3600 + ALLOWED), Cost(37, 528)),
}


@pytest.mark.parametrize("kind", CHECK)
def test_a_check_keeps_to_its_budget(fronts: Fronts, kind: str) -> None:
    payload, budget = CHECK[kind]
    within(cost_of(lambda: fronts.check(payload)), budget)


def test_a_check_of_a_client_not_seen_lately_keeps_to_its_budget(fronts: Fronts) -> None:
    payload = request(ALLOWED)

    def work() -> None:
        assert fronts.decider._generation is not None
        fronts.decider._generation.recent = {}
        fronts.check(payload)

    within(cost_of(work), Cost(38, 579))


NETWORKS, SINGLES = [deny("net", "100.64.0.0/10")], [Ban(ban_id(1), parse_network("100.64.0.1"), "deny")]
LAYERS = {
    "networks": (NETWORKS, [], True, Cost(38, 606)),
    "single addresses": ([], SINGLES, True, Cost(38, 606)),
    "networks without marks": (NETWORKS, [], False, Cost(40, 631)),  # where they are too wide, or the layers many
    "single addresses without marks": ([], SINGLES, False, Cost(41, 633)),
    "empty": ([], [], False, Cost(38, 579)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_second_layer_costs_little_for_a_client_not_seen_lately_and_nothing_for_others(
    fronts: Fronts, kind: str
) -> None:
    """A look at its marks, 27 instructions; without them two to four calls, some 50 instructions."""
    subjects, bans, marked, budget = LAYERS[kind]
    ruleset = fronts.decider.ruleset
    assert ruleset is not None
    payload = request(ALLOWED)
    alone = cost_of(lambda: fronts.check(payload))
    bans_layer = load([Application("*")], subjects, layer="bans", bans=bans)
    bans_layer.marks = marks_of([bans_layer]) if marked else None
    try:
        fronts.decider.load(Ruleset([ruleset.policy, bans_layer]))
        assert cost_of(lambda: fronts.check(payload)) == alone

        def work() -> None:
            assert fronts.decider._generation is not None
            fronts.decider._generation.recent = {}
            fronts.check(payload)

        within(cost_of(work), budget)
    finally:
        fronts.decider.load(ruleset)


def marked_layer(name: str) -> OpenedSnapshot:
    """Return a layer of a head and three parts, with its marks."""
    head, *parts = (
        load([Application("*")], [], layer=name, bans=[Ban(ban_id(n), parse_network(f"100.64.{n}.1"), "deny")])
        for n in range(4)
    )
    head.parts, head.marks = tuple(parts), marks_of([head, *parts])
    return head


@pytest.mark.parametrize(
    ("client", "layers", "calls", "instructions"),
    [(ALLOWED, ["bans"], 0, 27), (IPV6, ["bans"], 0, 30), (ALLOWED, ["bans", "others"], 1, 71)],
    ids=["IPv4", "IPv6", "two layers"],
)
def test_a_layer_of_head_and_parts_costs_one_look_at_its_marks(
    fronts: Fronts, client: str, layers: list[str], calls: int, instructions: int
) -> None:
    """However many files it has: some 30 instructions more than without the layer, and no call."""
    ruleset = fronts.decider.ruleset
    assert ruleset is not None
    payload = request(client)

    def forgotten() -> None:
        assert fronts.decider._generation is not None
        fronts.decider._generation.recent = {}
        fronts.check(payload)

    alone = cost_of(forgotten)
    try:
        fronts.decider.load(Ruleset([ruleset.policy, *map(marked_layer, layers)]))
        cost = cost_of(forgotten)
        within(Cost(cost.calls - alone.calls, cost.instructions - alone.instructions), Cost(calls, instructions))
    finally:
        fronts.decider.load(ruleset)


@pytest.mark.parametrize("client", ["11.0.2.1", "12.0.0.1", "2001:db8:7::1"])
def test_a_check_costs_the_same_with_ten_networks_and_with_ten_thousand(tmp_path: Path, client: str) -> None:
    costs = []
    for count in (10, 10_000):
        networks = [f"11.{n >> 8}.{n & 255}.0/24" for n in range(0, 2 * count, 2)]
        networks += [f"2001:db8:{n:x}::/64" for n in range(1, count + 1)]
        policy = f"version: 1\nentries: [{{id: many, list: deny, reason: x, networks: [{', '.join(networks)}]}}]\n"
        folder = tmp_path / str(count)
        folder.mkdir()
        fronts = Fronts(Publisher(folder), policy=policy.replace("2001:db8:", '"2001:db8:').replace("::/64", '::/64"'))
        payload = check_request("127.0.0.1", {"x-forwarded-for": client})
        costs.append(cost_of(lambda fronts=fronts, payload=payload: fronts.check(payload)))  # type: ignore[misc]
    few, many = costs
    assert many.calls <= few.calls + 2  # an IPv6 address whose first half is in the table is bisected twice


def test_a_check_leaves_nothing_behind(fronts: Fronts) -> None:
    payloads = [request(client) for client in (ALLOWED, DENIED, IPV6)]

    def work() -> None:
        for _ in range(1000):
            for payload in payloads:
                fronts.check(payload)

    work()
    gc.collect()
    gc.disable()
    try:
        before = sys.getallocatedblocks()
        work()
        assert abs(sys.getallocatedblocks() - before) < 50  # 3,000 checks
    finally:
        gc.enable()


@pytest.mark.parametrize(("size", "budget"), [(0, 5_000), (2_000, 9_000), (54_000, 120_000)])
def test_a_check_needs_little_memory_for_a_moment(fronts: Fronts, size: int, budget: int) -> None:
    """What is not counted is what protobuf itself allocates."""
    payload = request(", ".join(["198.51.100.200"] * (size // 16) + [ALLOWED]))
    fronts.check(payload)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        fronts.check(payload)
        assert tracemalloc.get_traced_memory()[1] - before < budget
    finally:
        tracemalloc.stop()


# The connections, from what is read to what is written.


class Transport:
    """Counts what is written. The loop is a real one, so that its clock is."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        """Take them; nothing waits here."""

    def get_extra_info(self, _: str) -> tuple[str, int]:
        return "127.0.0.1", 4242


@pytest.fixture
def loop() -> Iterator[None]:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(None)
        asyncio.set_event_loop(None)
        loop.close()


class Grpc:
    """A connection of the engine `native` and a peer that calls on it: `calls(n)` makes n calls in one read."""

    def __init__(self, fronts: Fronts, payload: bytes) -> None:
        self.transport = Transport()
        service = Service({CHECK_METHOD.encode(): Method(answer=fronts.check)}, 1 << 17)
        self.connection = Http2Listener(service)()
        self.connection.connection_made(cast("asyncio.Transport", self.transport))
        self.connection.data_received(h2.PREFACE + h2.settings({}) + h2.window_update(0, 1 << 30))
        encoder = Encoder()
        encoder.header_table_size = 0
        self._headers = [
            (":method", "POST"), (":path", CHECK_METHOD), (":scheme", "http"), (":authority", "authz"),
            ("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "200m"),
        ]  # fmt: skip
        self._encoder = encoder
        self._body = struct.pack(">BI", 0, len(payload)) + payload
        self._stream = -1

    def calls(self, count: int) -> None:
        self.connection.data_received(self.bytes_of(count))

    def bytes_of(self, count: int) -> bytes:
        parts = []
        for _ in range(count):
            self._stream += 2
            block = self._encoder.encode(self._headers)
            parts.append(h2.frame(h2.HEADERS, h2.END_HEADERS, self._stream, block))
            parts.append(h2.frame(h2.DATA, h2.END_STREAM, self._stream, self._body))
        return b"".join(parts)


@pytest.mark.usefixtures("loop")
def test_a_call_costs_little_more_than_its_check(fronts: Fronts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_connection, "TURN", 60.0)  # counting takes longer than a turn
    payload = request(ALLOWED)
    grpc = Grpc(fronts, payload)
    reads = iter([grpc.bytes_of(100) for _ in range(4)])
    cost = cost_of(lambda: grpc.connection.data_received(next(reads)))
    check = cost_of(lambda: fronts.check(payload))
    within(Cost(cost.calls // 100 - check.calls, cost.instructions // 100 - check.instructions), Cost(8, 278))
    assert b"".join(grpc.transport.writes).count(b"x-authz-client-address") == 400


@pytest.mark.usefixtures("loop")
def test_all_answers_to_what_came_in_one_read_leave_in_one_write(
    fronts: Fronts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http2_connection, "TURN", 60.0)
    grpc = Grpc(fronts, request(ALLOWED))
    grpc.calls(2)
    grpc.transport.writes.clear()
    grpc.calls(100)
    assert len(grpc.transport.writes) == 1


NGINX = {"Host": "a.example", "X-Request-Id": "0" * 32, "X-Original-Method": "GET", "X-Original-URI": "/cart?id=7"}


@pytest.mark.usefixtures("loop")
@pytest.mark.parametrize(
    ("target", "headers", "status", "most"),
    [
        ("/v1/auth/shop", HEADERS | {"host": "a"}, b"200", Cost(36, 533)),
        ("/v1/nginx/shop", NGINX, b"204", Cost(37, 542)),
    ],
)
def test_an_http_request_keeps_to_its_budget(
    fronts: Fronts, target: str, headers: dict[str, str], status: bytes, most: Cost
) -> None:
    """The second as the printed nginx configuration asks: most of its headers are for a decision log."""
    connection = HttpConnections(fronts.http.handle, fronts.http.wanted, HttpLimits())()
    transport = Transport()
    connection.connection_made(cast("asyncio.Transport", transport))
    lines = [f"{name}: {value}" for name, value in headers.items() if not name.startswith(":")]
    head = [f"GET {target} HTTP/1.1", *lines, f"X-Forwarded-For: {ALLOWED}", "", ""]
    asked = "\r\n".join(head).encode()
    within(cost_of(lambda: connection.data_received(asked)), most)
    assert (len(transport.writes), transport.writes[-1][9:12]) == (4, status)


# The decision log: little for who decides, the rest for the thread.


def test_a_logged_decision_keeps_to_its_budget(fronts: Fronts) -> None:
    """Beside the same decision that is not logged. A request that comes again has a part of its line."""
    log = DecisionLog(DecisionLogConfig(path="unused", allowed=1.0, queue=100))
    decided = [fronts.decider.decide(Request("127.0.0.1", [ALLOWED], "shop"), 1.0) for _ in range(2)][1]
    attributes = CheckRequest.FromString(request(ALLOWED)).attributes
    source = attributes, attributes.request.http, attributes.request.http.headers, 350
    logging, silent = (make_recorder("grpc", fronts.config.application, fronts.metrics, sinks) for sinks in ([log], []))
    logged = cost_of(lambda: logging.record(decided, "127.0.0.1", 1.0, source))
    counted = cost_of(lambda: silent.record(decided, "127.0.0.1", 1.0, source))
    within(Cost(logged.calls - counted.calls, logged.instructions - counted.instructions), Cost(6, 133))
    lines, taken = LogLines(), log._waiting[0]
    within(cost_of(lambda: lines.lines([taken])), Cost(10, 131))
    within(cost_of(lambda: lines.lines([Decision._make(taken)._replace(rendered=None)])), Cost(19, 241))


def test_counting_a_decision_keeps_to_its_budget(fronts: Fronts) -> None:
    recorder = make_recorder("grpc", fronts.config.application, fronts.metrics, [])
    decided = fronts.decider.decide(Request("192.0.2.7"), 1.0)
    within(cost_of(lambda: recorder.record(decided, "127.0.0.1", 1.0, None)), Cost(2, 37))


@pytest.mark.parametrize(("flags", "budget"), [("", Cost(13, 200)), ("00", Cost(13, 210)), ("01", Cost(19, 268))])
def test_a_traced_check_keeps_to_its_budget(fronts: Fronts, flags: str, budget: Cost) -> None:
    """Beside the same check without `traces`. flags: of its `traceparent`; 01 is sampled."""
    spans = TraceSender(TracesConfig(url="http://127.0.0.1:1/v1/traces", share=1.0))
    traceparent = flags and f"00-{'a' * 32}-{'b' * 16}-{flags}"
    attributes = CheckRequest.FromString(request(ALLOWED, traceparent=traceparent)).attributes
    source = attributes, attributes.request.http, attributes.request.http.headers, 350
    decided, settings = fronts.decider.decide(Request("192.0.2.7"), 1.0), fronts.config.application
    made = [make_recorder("grpc", settings, fronts.metrics, sinks, traced=bool(sinks)) for sinks in ([spans], [])]
    traced = cost_of(lambda: made[0].record(decided, "", 1.0, source))
    counted = cost_of(lambda: made[1].record(decided, "", 1.0, source))
    within(Cost(traced.calls - counted.calls, traced.instructions - counted.instructions), budget)
    assert bool(spans._waiting) == (flags == "01")
