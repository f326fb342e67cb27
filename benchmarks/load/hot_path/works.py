"""What is measured of a request: the check, a call on an HTTP/2 connection, an HTTP request, a logged decision."""

from __future__ import annotations

import math
import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from hpack import Encoder

from authz.addresses import Network, parse_networks
from authz.engine.decision.decider import Decider
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Entry
from authz.publisher.index.build import EntryNetworks
from authz.publisher.index.prefixes import Prefixes
from authz.serve.config.config import ApplicationConfig, ClientAddressConfig, Config, DecisionLogConfig, SnapshotConfig
from authz.serve.grpc.check import CHECK_METHOD, GrpcCheck
from authz.serve.http1.front import HttpFront
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http2 import frames as h2
from authz.serve.http2.grpc_methods import Method, Service
from authz.serve.http2.listener import Http2Listener
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import make_recorder
from authz.snapshot.read import read_snapshot
from benchmarks.attacks.peers import fields
from benchmarks.data.networks import address, shared
from benchmarks.data.policies import Publisher, separate_address, separate_entries
from benchmarks.load.messages import LARGE, SIZES, USUAL, check_request

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    Job = Callable[[], object]

_FEW, _MANY = 20, 6144  # clients in turn; of the many, each is forgotten when it comes again
_ALLOWED, _DENIED = 10 << 24, 9 << 24  # where the clients of a kind begin, as numbers
_ENTRIES: Final = 480  # with an address of their own


class Work(NamedTuple):
    """prepare: makes ready for so many requests, and returns what does them. requests: in a round."""

    prepare: Callable[[int], Job]
    requests: int = 240


class Transport:
    """Takes what is written."""

    def write(self, data: bytes) -> None:
        """Drop it."""

    def is_closing(self) -> bool:
        """Return False."""
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        """Take them; nothing waits here."""

    def get_extra_info(self, _: str) -> tuple[str, int]:
        """Return the address of a peer."""
        return "127.0.0.1", 4242


class Fronts:
    """Both fronts over one decider, without sockets. logged: whether decisions are logged."""

    def __init__(self, folder: Path, *, logged: bool = False) -> None:
        publisher = Publisher(folder)
        policy = separate_entries(2 * _ENTRIES)
        listed = EntryNetworks(Prefixes.split([Network(4, _DENIED, 8)]), Prefixes.split(()))
        entries = (*policy.entries, Entry("listed", "deny", reason="measured"))
        publisher.publish("s.snapshot", policy._replace(entries=entries, networks=(*policy.networks, listed)))
        config = Config(
            snapshot=SnapshotConfig(path="", trusted_keys=(), max_age=math.inf),
            client_address=ClientAddressConfig(trusted_proxies=(tuple(parse_networks("127.0.0.0/8")),)),
            application=ApplicationConfig(unknown="default"),  # captured requests name applications of their own
            decision_log=DecisionLogConfig(path="/dev/null" if logged else "off", queue=1 << 20),
        )
        self._decider = Decider(config.decision_settings())
        snapshot = read_snapshot(folder / "s.snapshot", [publisher.key], now=time.time())
        self.forget = partial(self._decider.load, Ruleset([OpenedSnapshot(snapshot)]))
        self.forget()
        self._log = DecisionLog(config.decision_log)
        self._log.open()
        sinks, metrics = [self._log] if logged else [], Metrics()
        self.check = GrpcCheck(config, self._decider, make_recorder("grpc", config.application, metrics, sinks))
        http = make_recorder("http", config.application, metrics, sinks)
        self._http = HttpFront(config, self._decider, http, metrics)

    def write_log(self) -> None:
        """Write the lines that wait, as the thread of the log does."""
        self._log._write_next(len(self._log._waiting))  # noqa: SLF001  # the thread would come when it likes

    def http2(self) -> Callable[[bytes], None]:
        """Return what takes the bytes of a new HTTP/2 connection whose peer has begun."""
        connection = Http2Listener(Service({CHECK_METHOD.encode(): Method(answer=self.check)}, 1 << 17))()
        connection.connection_made(cast("asyncio.Transport", Transport()))
        connection.data_received(h2.PREFACE + h2.settings({}) + h2.window_update(0, 1 << 30))
        return connection.data_received

    def http1(self) -> Callable[[bytes], None]:
        """Return what takes the bytes of a new HTTP/1.1 connection."""
        connection = HttpConnections(self._http.handle, self._http.wanted, HttpLimits())()
        connection.connection_made(cast("asyncio.Transport", Transport()))
        return connection.data_received


def _checks(fronts: Fronts, payloads: Iterator[bytes], count: int) -> Job:
    return partial(_all, fronts.check, [next(payloads) for _ in range(count)])


def _calls(fronts: Fronts, payloads: Iterator[bytes], a_read: int, count: int) -> Job:
    """Return what makes calls on a new connection. a_read: calls that come in one read."""
    take, encoder = fronts.http2(), Encoder()
    encoder.header_table_size = 0
    reads = []
    for number in range(0, count, a_read):
        frames = []
        for stream in range(2 * number + 1, 2 * (number + a_read) + 1, 2):
            payload = next(payloads)
            frames.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, encoder.encode(fields())))
            frames.append(h2.frame(h2.DATA, h2.END_STREAM, stream, struct.pack(">BI", 0, len(payload)) + payload))
        reads.append(b"".join(frames))
    return partial(_all, take, reads)


def _requests(fronts: Fronts, requests: Iterator[bytes], count: int) -> Job:
    return partial(_all, fronts.http1(), [next(requests) for _ in range(count)])


def _firsts(fronts: Fronts, payloads: list[bytes], count: int) -> Job:
    fronts.forget()
    return partial(_all, fronts.check, payloads[:count])


def _logged(fronts: Fronts, prepare: Callable[[int], Job], count: int) -> Job:
    job = prepare(count)

    def work() -> None:
        job()
        fronts.write_log()

    return work


def _all(function: Callable[[bytes], object], items: Iterable[bytes]) -> None:
    for item in items:
        function(item)


def _turn(items: list[bytes]) -> Iterator[bytes]:
    while True:
        yield from items


def works(folder: Path) -> dict[str, Work]:
    """Return what can be measured, by name."""
    (folder / "logged").mkdir()
    fronts, logging = Fronts(folder), Fronts(folder / "logged", logged=True)

    def of(first: int, size: int = SIZES[USUAL], number: int = _FEW) -> Iterator[bytes]:
        return _turn([check_request(address(4, first + n), size) for n in range(number)])

    def asked(first: int) -> Iterator[bytes]:
        line = "GET /v1/auth/shop HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {}\r\n\r\n"
        return _turn([line.format(address(4, first + n).text).encode() for n in range(_FEW)])

    separate = [check_request(address(4, separate_address(n)), SIZES[USUAL]) for n in range(2 * _ENTRIES)]
    by_name = {
        "check, 350 B": Work(partial(_checks, fronts, of(_ALLOWED, 350))),
        "check, allowed": Work(partial(_checks, fronts, of(_ALLOWED))),
        "check, denied": Work(partial(_checks, fronts, of(_DENIED))),
        "check, 2.5 kB": Work(partial(_checks, fronts, of(_ALLOWED, SIZES[LARGE]))),
        "check, not seen lately": Work(partial(_checks, fronts, of(_ALLOWED, number=_MANY)), 2048),
        "check, first on an entry": Work(partial(_firsts, fronts, separate), _ENTRIES),
        "check, denied and logged": Work(partial(_logged, logging, partial(_checks, logging, of(_DENIED)))),
        "call, 12 in a read": Work(partial(_calls, fronts, of(_ALLOWED), 12)),
        "call, alone in a read": Work(partial(_calls, fronts, of(_ALLOWED), 1)),
        "call, denied and logged": Work(partial(_logged, logging, partial(_calls, logging, of(_DENIED), 12))),
        "HTTP, allowed": Work(partial(_requests, fronts, asked(_ALLOWED))),
        "HTTP, denied": Work(partial(_requests, fronts, asked(_DENIED))),
        "HTTP, denied and logged": Work(partial(_logged, logging, partial(_requests, logging, asked(_DENIED)))),
    }
    path = shared("captures/w_weird__xff_50k.pb")
    if path is not None:
        by_name["check, captured, 50 kB of X-Forwarded-For"] = Work(
            partial(_checks, fronts, _turn([path.read_bytes()])), 60
        )
    return by_name
