"""The check of the gRPC front in this process: the bytes of a CheckRequest in, the bytes of a CheckResponse out.

Neither transport nor decision log are in it. Decoding alone is measured beside it, for that is the part we cannot save.
"""

from __future__ import annotations

import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import Address, parse_networks
from authz.engine.decision.decider import Decider
from authz.engine.decision.generation import MAX_RECENT
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.serve.config.config import ApplicationConfig, ClientAddressConfig, Config, SnapshotConfig
from authz.serve.grpc.check import GrpcCheck
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import Recorder
from authz.snapshot.read import read_snapshot
from authz.wire.envoy.v3.check_pb2 import CheckRequest
from benchmarks.data.networks import SlowTable, Table, address, hits, load_table, misses, shared
from benchmarks.data.policies import Publisher, deny_table, separate_address, separate_entries
from benchmarks.report.document import Check, Part
from benchmarks.rounds import cpu_ns, interleaved, without_gc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.publisher.policy.read import Policy
    from benchmarks.scale import Scale

OURS: Final = "authz"
DECODING: Final = "decoding alone"
ONE: Final = "time of one check"
_TRUSTED: Final = tuple(parse_networks("127.0.0.0/8"))
# What Envoy 1.40 really sent, and the client in it.
_CAPTURES: Final = {
    "a_defaults__xff1": "203.0.113.7",
    "z_browser__full": "192.0.2.2",
    "w_weird__xff_50k": "203.0.113.7",
}
_MANY: Final = 3  # so many times the clients that are remembered, in turn: each has been forgotten when he comes again
_LARGEST_SHARE: Final = 20  # of the largest requests, one in so many clients: they take 54 kB each


class Messages(NamedTuple):
    """CheckRequests, and for each the client and whether he is to be denied (None: not looked at)."""

    payloads: list[bytes]
    clients: list[str]
    denied: list[bool | None]


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure the check for requests of all sizes, for clients that are new, and for captured requests."""
    part = Part("check")
    try:
        from benchmarks.load.messages import SIZES, USUAL  # noqa: PLC0415  # envoy-data-plane is for development only
    except ImportError as error:
        part.skipped = f"it needs envoy-data-plane ({error})"
        return part
    with tempfile.TemporaryDirectory() as folder:
        publisher = Publisher(Path(folder))
        table = load_table(scale.policy)
        check, _ = _grpc_check(publisher, deny_table(table))
        for name, size in SIZES.items():
            note(f"requests of {name}")
            count = scale.clients if size < 10_000 else max(scale.clients // _LARGEST_SHARE, 2)
            _measure(part, scale, f"{name}, IPv4", check, _messages(table, 4, count, size))
        note("clients that do not come back")
        many = _messages(table, 4, max(scale.clients, _MANY * MAX_RECENT), SIZES[USUAL])
        _measure(part, scale, f"{USUAL}, IPv4, not seen lately", check, many)
        note("IPv6 and captured requests")
        _measure(part, scale, f"{USUAL}, IPv6", check, _messages(table, 6, scale.clients, SIZES[USUAL]))
        for name, captured in _captured(scale.clients):
            _measure(part, scale, name, check, captured)
        note("new match sets")
        _measure_new(part, scale, f"{USUAL}, IPv4, new", publisher, SIZES[USUAL])
    part.compare(ONE, OURS, DECODING)
    part.notes.append(
        f"a policy of {len(table.networks):,} networks ({table.source}); half of the clients are denied; CPU time of "
        "the thread for one request, no transport, no decision log; 'not seen lately': more clients in turn than are "
        "remembered, the others find their decision remembered; 'new': the first request of a match set since the "
        "snapshot was loaded, all others find their outcome remembered"
    )
    if not _captured(1):
        part.notes.append("the captured requests are not beside the project: built ones only")
    return part


def _grpc_check(publisher: Publisher, policy: Policy) -> tuple[GrpcCheck, Callable[[], object]]:
    """Return a check that decides by a policy, and what makes it forget the outcomes that it met."""
    publisher.publish("check.snapshot", policy)
    snapshot = read_snapshot(publisher.folder / "check.snapshot", [publisher.key], now=time.time())
    config = Config(
        snapshot=SnapshotConfig(path="", trusted_keys=(), max_age=math.inf),
        client_address=ClientAddressConfig(trusted_proxies=(_TRUSTED,)),
        application=ApplicationConfig(unknown="default"),  # captured requests name none, or others than the policy
    )
    decider, ruleset = Decider(config.decision_settings()), Ruleset([OpenedSnapshot(snapshot)])
    decider.load(ruleset)
    recorder = Recorder("grpc", Metrics(), [])
    return GrpcCheck(config, decider, recorder), partial(decider.load, ruleset)


def _messages(table: Table, version: int, count: int, size: int) -> Messages:
    """Return requests of `count` clients, every other one on the table."""
    half = (count + 1) // 2
    listed, others = hits(table, version, half), misses(table, SlowTable(table), version, half)
    values = [value for pair in zip(listed, others, strict=True) for value in pair]
    return _requests([address(version, value) for value in values], [True, False] * half, size)


def _requests(clients: Sequence[Address], denied: Sequence[bool | None], size: int) -> Messages:
    from benchmarks.load.messages import check_request  # noqa: PLC0415  # see run

    payloads = [check_request(client, size) for client in clients]
    return Messages(payloads, [client.text for client in clients], list(denied))


def _captured(count: int) -> list[tuple[str, Messages]]:
    """Return the captured requests that are there, each `count` times."""
    messages_of = []
    for name, client in _CAPTURES.items():
        path = shared(f"captures/{name}.pb")
        if path is not None:
            payload = path.read_bytes()
            messages = Messages([payload] * count, [client] * count, [None] * count)
            messages_of.append((f"captured {name}, {len(payload):,} B", messages))
    return messages_of


def _measure(part: Part, scale: Scale, name: str, check: GrpcCheck, messages: Messages) -> None:
    part.checks.append(_right(name, check, messages))
    if part.checks[-1].differences:
        return
    count = len(messages.payloads)
    works = {
        OURS: partial(cpu_ns, partial(_all, check, messages.payloads), count),
        DECODING: partial(cpu_ns, partial(_all, CheckRequest.FromString, messages.payloads), count),
    }
    with without_gc():
        results = interleaved(works, scale.rounds)
    part.add(ONE, "ns", results, request=name)


def _measure_new(part: Part, scale: Scale, name: str, publisher: Publisher, size: int) -> None:
    """Measure clients that all meet an entry of their own for the first time."""
    count = scale.clients
    check, forget = _grpc_check(publisher, separate_entries(count))
    clients = [address(4, separate_address(number)) for number in range(count)]
    messages = _requests(clients, [True] * count, size)
    part.checks.append(_right(name, check, messages))
    if part.checks[-1].differences:
        return

    def work() -> float:
        forget()
        return cpu_ns(partial(_all, check, messages.payloads), count)

    with without_gc():
        results = interleaved({OURS: work}, scale.rounds)
    part.add(ONE, "ns", results, request=name)


def _all(function: Callable[[bytes], object], payloads: list[bytes]) -> None:
    for payload in payloads:
        function(payload)


def _right(name: str, check: GrpcCheck, messages: Messages) -> Check:
    """Compare answers, as an independent decoder reads them, with what they must be."""
    from benchmarks.load.messages import read_answer  # noqa: PLC0415  # see run

    result = Check(name, min(len(messages.payloads), 200))
    for payload, client, denied in list(zip(*messages, strict=True))[: result.count]:
        answer = read_answer(check(payload))
        if answer.client != client or answer.code not in ({0, 7} if denied is None else {7 if denied else 0}):
            result.differences.append(f"client {client}, denied {denied}: found {answer}")
    return result
