"""The open-loop load generator in Go, of the folder paced/: requests at a fixed rate, and what they waited.

Request number i is due at begin + i / rate, whatever became of those before it, and its latency counts from when it
was due. So a server that stalls does not slow down the questions, and all that would have come meanwhile shows the
stall: no coordinated omission (Gil Tene). `flat_out` is the opposite, a closed loop for throughput, where h2load and
wrk cannot go: over unix sockets.

    grpc://127.0.0.1:PORT         grpc+unix:PATH          Envoy's Check; another method: /METHOD, for unix :/METHOD
    http://127.0.0.1:PORT/path    http+unix:PATH:/path    GET; with a payload POST

It is built once, into a folder that git does not know.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.processes import cores, on_core

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCE: Final = Path(__file__).with_suffix("")
_BINARY: Final = Path(__file__).parents[1] / "results" / "bin" / "paced"
_TIMEOUT: Final = 10.0  # seconds, for an answer
_BUILD: Final = 600.0  # seconds; the first time, two modules are fetched


class Paced(NamedTuple):
    """A run. Latencies in microseconds, of all requests: one without an answer counts with its time-out, 10 s.

    sent: requests. answered: in time, whatever the answer. good: by a 2xx, for gRPC by grpc-status 0 too (which is
    that of the call, not of the CheckResponse in it). length: bytes of all answers, for gRPC of their messages.
    seconds: from the begin to the last answer. waited: requests sent late because every connection was busy. opened:
    connections. behind: how late requests were sent, p99 in us: for want of a connection, or of processor time.
    """

    sent: int
    answered: int
    good: int
    length: int
    seconds: float
    p50: float
    p90: float
    p99: float
    p999: float
    worst: float
    waited: int
    opened: int
    behind: float


def missing_paced() -> str | None:
    """Return why the generator cannot be used; None where it can. Builds it where its source is newer."""
    return _build()


def paced(
    url: str,
    rate: float,
    seconds: float,
    *,
    payload: bytes | Sequence[bytes] | None = None,
    headers: Sequence[tuple[str, str]] = (),
    in_turn: Sequence[tuple[str, str]] = (),
    connections: int = 4,
    most: int = 512,
    series: Path | None = None,
    timeout: float = _TIMEOUT,
    urgent: bool = False,
) -> Paced:
    """Send `rate` requests a second for that long, and return what became of them.

    payload: the gRPC message without its prefix; several are sent in turn. headers: of every request. in_turn: headers
    of which a request has one, in turn (HTTP only). connections: opened before the begin; over HTTP more are opened, up
    to `most`, where a request would have to wait. series: a file that gets a line for each request, in the order of due
    times: due in ns since 1970, latency in ns, status (grpc-status; -1: no answer), length and CRC-32 of the answer
    (for gRPC of the message). timeout: seconds, from when a request was due. urgent: before all else on its core, where
    we may (chrt(1)): else what works there beside it is seen as latency.

    Raises RuntimeError where the run could not begin.
    """
    options = [f"-rate={rate}", f"-connections={connections}", f"-most={most}", f"-timeout={timeout}s"]
    return _run(url, seconds, options, payload, headers, in_turn, series, urgent=urgent)


def flat_out(
    url: str,
    seconds: float,
    *,
    payload: bytes | Sequence[bytes] | None = None,
    headers: Sequence[tuple[str, str]] = (),
    in_turn: Sequence[tuple[str, str]] = (),
    connections: int = 4,
    streams: int = 16,
    series: Path | None = None,
) -> Paced:
    """Send as fast as answers come: `streams` gRPC requests under way on each connection, over HTTP one.

    Latencies are those of a server that is never idle. Else as `paced`.
    """
    options = [f"-connections={connections}", f"-streams={streams}"]
    return _run(url, seconds, options, payload, headers, in_turn, series)


def _run(
    url: str,
    seconds: float,
    options: Sequence[str],
    payload: bytes | Sequence[bytes] | None,
    headers: Sequence[tuple[str, str]],
    in_turn: Sequence[tuple[str, str]],
    series: Path | None,
    *,
    urgent: bool = False,
) -> Paced:
    reason = missing_paced()
    if reason is not None:
        raise RuntimeError(reason)
    first = ["chrt", "--fifo", "1"] if urgent and may_be_urgent() else []
    command = [*first, str(_BINARY), f"-url={url}", f"-seconds={seconds}", *options]
    command += [f"-header={name}: {value}" for name, value in headers]
    command += [f"-series={series}"] if series else []
    payloads = [payload] if isinstance(payload, bytes) else payload or []
    with tempfile.TemporaryDirectory() as folder, on_core(cores().load):
        if payloads:
            file = Path(folder, "payloads")
            file.write_bytes(b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads))
            command.append(f"-payloads={file}")
        if in_turn:
            file = Path(folder, "headers")
            file.write_text("".join(f"{name}: {value}\n" for name, value in in_turn), encoding="latin-1")
            command.append(f"-in-turn={file}")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60.0)
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()}")
    return Paced(**json.loads(done.stdout))


@functools.cache
def may_be_urgent() -> bool:
    """Return whether we may run a program before all others."""
    try:
        return subprocess.run(["chrt", "--fifo", "1", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@functools.cache
def _build() -> str | None:
    newest = max(path.stat().st_mtime for path in _SOURCE.iterdir())
    if _BINARY.exists() and _BINARY.stat().st_mtime >= newest:
        return None
    go = shutil.which("go")
    if go is None:
        return "it needs Go, for benchmarks/load/paced"
    _BINARY.parent.mkdir(parents=True, exist_ok=True)
    beside = _BINARY.with_name(f"paced.{os.getpid()}")  # renamed into place: another run may be using it
    try:
        done = subprocess.run(
            [go, "build", "-trimpath", "-o", str(beside), "."],
            cwd=_SOURCE, capture_output=True, text=True, check=False, timeout=_BUILD,
        )  # fmt: skip
        if done.returncode:
            return f"benchmarks/load/paced could not be built: {done.stderr.strip().splitlines()[-1]}"
        beside.replace(_BINARY)
    finally:
        beside.unlink(missing_ok=True)
    return None
