"""gRPC checks a second on one core: a real `authz serve` with each engine, load by h2load.

h2load looks at HTTP status codes only, and every gRPC answer has 200. So before the load a grpcio client asks for one
answer, which an independent decoder reads, and after each round all answers together must have exactly as many bytes.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from authz.serve.grpc_check import CHECK_METHOD
from benchmarks.data import SlowTable, Table, address, hits, load_table, misses
from benchmarks.fronts import BY_CPU_TIME, BY_WALL_TIME, Target, measure, say_where
from benchmarks.load import CONNECTIONS, STREAMS, Load, framed, h2load, missing
from benchmarks.policies import Publisher, deny_table
from benchmarks.report import Check, Part
from benchmarks.servers import Sidecar

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from benchmarks.scale import Scale

NATIVE, GRPCIO, LOGGED = "authz native", "authz grpcio", "authz native, logged"
_FIRST: Final = 500  # requests of the warm-up, by whose rate the number of the others is chosen
_FRAME: Final = 5  # bytes before each message


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Measure both engines in turn, for two sizes of requests and for denied clients with a decision log."""
    part = Part("grpc")
    part.skipped = missing("h2load") or _missing_package()
    if part.skipped:
        return part
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = load_table(scale.policy)
        Publisher(folder).publish("table.snapshot", deny_table(table))
        start = partial(Sidecar, folder, snapshot="table.snapshot", http="off")
        with start("native") as native, start("grpcio", engine="grpcio") as aio, start("logged", log="log") as logged:
            _measure_all(part, scale, table, folder, {NATIVE: native, GRPCIO: aio, LOGGED: logged}, note)
    for measured in (BY_CPU_TIME, BY_WALL_TIME):
        part.compare(measured, NATIVE, GRPCIO)
        part.compare(measured, NATIVE, LOGGED)
    say_where(part)
    part.notes.append(
        f"{CONNECTIONS} connections with {STREAMS} streams each, one request again and again; a policy of "
        f"{len(table.networks):,} networks ({table.source}); 'logged' writes every denied request to a file"
    )
    return part


def _missing_package() -> str | None:
    try:
        import envoy_data_plane  # noqa: F401, PLC0415
        import pygrpc_native  # noqa: F401, PLC0415
    except ImportError as error:
        return f"it needs {error.name}"
    return None


def _measure_all(
    part: Part, scale: Scale, table: Table, folder: Path, sidecars: dict[str, Sidecar], note: Callable[[str], None]
) -> None:
    from benchmarks.messages import LARGE, SIZES, USUAL, check_request  # noqa: PLC0415  # see _missing_package

    allowed = address(4, misses(table, SlowTable(table), 4, 1)[0])
    denied = address(4, hits(table, 4, 1)[0])
    for size, client, code, contenders in (
        (USUAL, allowed, 0, (NATIVE, GRPCIO)),
        (LARGE, allowed, 0, (NATIVE, GRPCIO)),
        (USUAL, denied, 7, (NATIVE, GRPCIO, LOGGED)),
    ):
        what = f"{size}, {'allowed' if code == 0 else 'denied'}"
        note(what)
        message = check_request(client, SIZES[size])
        (folder / "frame").write_bytes(framed(message))
        targets = {}
        for name in contenders:
            check, answer_size = _right(f"{what}, {name}", sidecars[name], message, client, code)
            part.checks.append(check)
            if not check.differences:
                targets[name] = _target(sidecars[name], folder / "frame", answer_size, scale.load_seconds)
        if targets:
            measure(part, targets, scale.load_rounds, request=what)


def _right(what: str, sidecar: Sidecar, message: bytes, client: Address, code: int) -> tuple[Check, int]:
    """Ask once by a grpcio client, and compare. Returns also the size of the answer in bytes."""
    from benchmarks.messages import read_answer  # noqa: PLC0415  # see _missing_package

    with grpc.insecure_channel(f"127.0.0.1:{sidecar.ports['grpc']}") as channel:
        ask = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
        payload = ask(message, timeout=10.0)
    answer = read_answer(payload)
    check = Check(what, 1)
    if answer != (code, client.text):
        check.differences.append(f"found {answer}, expected {(code, client.text)}")
    return check, len(payload)


def _target(sidecar: Sidecar, frame: Path, answer_size: int, seconds: float) -> Target:
    """Return a target whose rounds take about this long, by the rate of a first few requests."""
    send = partial(h2load, f"http://127.0.0.1:{sidecar.ports['grpc']}{CHECK_METHOD}", frame)
    first = send(_FIRST)
    count = max(int(first.requests / first.seconds * seconds), _FIRST)
    return Target(sidecar, partial(_checked, send, count, answer_size))


def _checked(send: Callable[[int], Load], count: int, answer_size: int) -> Load:
    load = send(count)
    expected = count * (_FRAME + answer_size)
    if load.good != count or load.data != expected:
        raise RuntimeError(f"found {load.good} good answers of {load.data} bytes, expected {count} of {expected}")
    return load
