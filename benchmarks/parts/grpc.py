"""gRPC checks a second on one core, and their latency: a real `authz serve`, both engines, both kinds of sockets.

h2load and `paced` look at HTTP and gRPC status only, and every answer has 200 and 0. So before the load a grpcio client
asks for one answer for each client, which an independent decoder reads, and after each round all answers together must
have exactly as many bytes. h2load sends one request again and again; `paced`, which speaks unix sockets too, asks about
one client after the other.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc

from authz.serve.grpc.check import CHECK_METHOD
from benchmarks.load.paced import flat_out, missing_paced, paced
from benchmarks.load.tools import CONNECTIONS, STREAMS, Load, framed, h2load, missing
from benchmarks.parts.common import fronts
from benchmarks.processes import Sidecar
from benchmarks.report.document import Check, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from authz.addresses import Address
    from benchmarks.load.paced import Paced
    from benchmarks.parts.common.fronts import Clients
    from benchmarks.scale import Scale

NATIVE, GRPCIO, LOGGED, UNIX = "authz native", "authz grpcio", "authz native, logged", "authz native, unix socket"
H2LOAD, PACED = "h2load, one client", "paced, many clients"
RATES: Final = (2_000, 10_000)  # requests a second
_FIRST: Final = 500  # requests of the warm-up, by whose rate the number of the others is chosen
_WARM_UP: Final = 0.2  # seconds, of paced
_FRAME: Final = 5  # bytes before each message
_DENIED: Final = 7  # the code


class Asked(NamedTuple):
    """Requests about different clients, and what they are called in the report. code: of all answers; 0 allows."""

    what: str
    clients: list[Address]
    messages: list[bytes]
    code: int


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure both engines in turn: throughput and CPU time, over both kinds of sockets, and latency."""
    part = Part("grpc")
    part.skipped = missing("h2load") or fronts.missing_decoder()
    if part.skipped:
        return part
    with fronts.stage(scale) as stage:
        start = partial(Sidecar, stage.folder, snapshot="table.snapshot", http="off")
        sidecars = {
            NATIVE: stage.stack.enter_context(start("native")),
            GRPCIO: stage.stack.enter_context(start("grpcio", engine="grpcio")),
            LOGGED: stage.stack.enter_context(start("logged", log="log")),
            UNIX: stage.stack.enter_context(start("unix", grpc="unix:grpc.sock")),
        }
        _measure_one_client(part, scale, stage.clients, stage.folder, sidecars, note)
        reason = missing_paced()
        if reason:
            part.notes.append(f"no unix sockets, no latency and one client only: {reason}")
        else:
            _measure_many_clients(part, scale, stage.clients, sidecars, note)
        fronts.conclude(
            part,
            ((NATIVE, GRPCIO), (NATIVE, LOGGED), (UNIX, NATIVE)),
            f"{CONNECTIONS} connections with {STREAMS} streams each for throughput; a policy of "
            f"{len(stage.table.networks):,} networks ({stage.table.source}); many clients are {scale.clients:,} in "
            "turn; 'logged' writes every denied request to a file",
        )
    return part


def _asked(size: str, clients: Clients, count: int, code: int = 0) -> Asked:
    """Return requests of a size, for the first clients that are allowed, or with another code denied."""
    from benchmarks.load.messages import SIZES, check_request  # noqa: PLC0415  # see missing_decoder

    addresses = (clients.denied if code else clients.allowed)[:count]
    messages = [check_request(client, SIZES[size]) for client in addresses]
    return Asked(f"{size}, {'denied' if code else 'allowed'}", addresses, messages, code)


def _measure_one_client(
    part: Part,
    scale: Scale,
    clients: Clients,
    folder: Path,
    sidecars: Mapping[str, Sidecar],
    note: Callable[[str], None],
) -> None:
    """Let h2load send one request again and again."""
    from benchmarks.load.messages import LARGE, USUAL  # noqa: PLC0415  # see missing_decoder

    for size, code, contenders in (
        (USUAL, 0, (NATIVE, GRPCIO)),
        (LARGE, 0, (NATIVE, GRPCIO)),
        (USUAL, _DENIED, (NATIVE, GRPCIO, LOGGED)),
    ):
        asked = _asked(size, clients, 1, code)
        note(f"{asked.what}, h2load")
        frame = folder / "frame"
        frame.write_bytes(framed(asked.messages[0]))
        right = _right(part, asked, {name: sidecars[name] for name in contenders})
        targets = {
            name: _by_h2load(sidecars[name], frame, lengths[0], scale.load_seconds / 2)
            for name, lengths in right.items()
        }
        if targets:
            fronts.measure(part, targets, scale.load_rounds, request=asked.what, load=H2LOAD)


def _measure_many_clients(
    part: Part, scale: Scale, clients: Clients, sidecars: Mapping[str, Sidecar], note: Callable[[str], None]
) -> None:
    """Let `paced` ask about all clients in turn, over TCP and unix sockets, as fast as can be and at fixed rates."""
    from benchmarks.load.messages import USUAL  # noqa: PLC0415  # see missing_decoder

    asked = _asked(USUAL, clients, len(clients.allowed))
    right = _right(part, asked, {name: sidecars[name] for name in (NATIVE, UNIX, GRPCIO)})
    if not right:
        return
    note(f"{asked.what}, paced")
    targets = {
        name: _by_paced(sidecars[name], asked, lengths, scale.load_seconds / 2) for name, lengths in right.items()
    }
    fronts.measure(part, targets, scale.load_rounds, request=asked.what, load=PACED)
    seconds = scale.open_seconds / 2
    for rate in RATES:
        note(f"{rate:,} requests a second")
        works = {
            name: partial(_at_rate, sidecars[name], rate, seconds, asked, lengths)
            for name, lengths in right.items()
            if rate == RATES[0] or name == NATIVE
        }
        fronts.measure_latency(part, works, scale.load_rounds, rate, request=asked.what)
    part.notes.append(f"{GRPCIO} is not asked {RATES[1]:,} times a second: that is about all that it can do")


def _right(part: Part, asked: Asked, sidecars: Mapping[str, Sidecar]) -> dict[str, list[int]]:
    """Ask once about each client by a grpcio client, and compare.

    Returns the lengths of the answers, of those sidecars that answered rightly.
    """
    from benchmarks.load.messages import read_answer  # noqa: PLC0415  # see missing_decoder

    lengths_of: dict[str, list[int]] = {}
    for name, sidecar in sidecars.items():
        check = Check(f"{asked.what}, {name}", len(asked.messages))
        where = sidecar.url("grpc").removeprefix("grpc://").removeprefix("grpc+")
        with grpc.insecure_channel(where) as channel:
            ask = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
            answers = [ask(message, timeout=10.0) for message in asked.messages]
        for client, payload in zip(asked.clients, answers, strict=True):
            answer = read_answer(payload)
            if answer != (asked.code, client.text):
                check.differences.append(f"found {answer}, expected {(asked.code, client.text)}")
        part.checks.append(check)
        if not check.differences:
            lengths_of[name] = [len(payload) for payload in answers]
    return lengths_of


def _by_h2load(sidecar: Sidecar, frame: Path, length: int, seconds: float) -> fronts.Target:
    """Return a target whose rounds take about this long, by the rate of a first few requests."""
    send = partial(h2load, f"http://127.0.0.1:{sidecar.ports['grpc']}{CHECK_METHOD}", frame)
    first = send(_FIRST)
    count = max(int(first.requests / first.seconds * seconds), _FIRST)
    return fronts.Target(sidecar.pid, partial(_all_of, send, count, length))


def _all_of(send: Callable[[int], Load], count: int, length: int) -> Load:
    load = send(count)
    expected = count * (_FRAME + length)
    if load.good != count or load.data != expected:
        raise RuntimeError(f"found {load.good} good answers of {load.data} bytes, expected {count} of {expected}")
    return load


def _by_paced(sidecar: Sidecar, asked: Asked, lengths: Sequence[int], seconds: float) -> fronts.Target:
    send = partial(flat_out, sidecar.url("grpc"), payload=asked.messages, connections=CONNECTIONS, streams=STREAMS)
    send(_WARM_UP)
    return fronts.Target(sidecar.pid, lambda: fronts.load_of(_whole(fronts.checked(partial(send, seconds)), lengths)))


def _at_rate(sidecar: Sidecar, rate: int, seconds: float, asked: Asked, lengths: Sequence[int]) -> Paced:
    run = paced(sidecar.url("grpc"), rate, seconds, payload=asked.messages, connections=CONNECTIONS)
    return _whole(run, lengths)


def _whole(found: Paced, lengths: Sequence[int]) -> Paced:
    """Return what was found. Raises RuntimeError where the answers are not as long as those to the same requests."""
    rounds, rest = divmod(found.sent, len(lengths))
    expected = rounds * sum(lengths) + sum(lengths[:rest])
    if found.length != expected:
        raise RuntimeError(f"found answers of {found.length} bytes, expected {expected}")
    return found
