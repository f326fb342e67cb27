"""The load generators h2load (nghttp2-client) and wrk, each on its own core, and what they say they got."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.processes import cores, on_core

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECTIONS: Final = 4  # of h2load, with STREAMS requests under way on each: 64 together, like a busy Envoy
STREAMS: Final = 16
HTTP_CONNECTIONS: Final = 32  # of wrk, each with one request under way
_PATIENCE: Final = 120.0  # seconds
_IN_TURN: Final = """\
local requests, at = {}, 0
init = function(arguments)
  for client in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, {["X-Forwarded-For"] = client})
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
"""


class Load(NamedTuple):
    """What a load generator got. good: answers with status 2xx; data: bytes of all bodies (wrk: of all answers)."""

    requests: int
    good: int
    seconds: float
    data: int


def missing(tool: str) -> str | None:
    """Return why a tool cannot be used; None where it can."""
    package = {"h2load": "nghttp2-client"}.get(tool, tool)
    return None if shutil.which(tool) else f"it needs {tool} (Debian package {package})"


def framed(message: bytes) -> bytes:
    """Return a message as gRPC puts it on the wire: not compressed, its length, itself."""
    return struct.pack(">BI", 0, len(message)) + message


def h2load(url: str, body: Path, requests: int) -> Load:
    """Send the gRPC frame in `body` that many times. Raises RuntimeError where h2load did not finish all of them."""
    how = ("--threads=1", f"--clients={CONNECTIONS}", f"--max-concurrent-streams={STREAMS}")
    headers = ("--header=content-type: application/grpc", "--header=te: trailers")
    text = _run("h2load", *how, *headers, f"--requests={requests}", f"--data={body}", url)
    done = _found(r"requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    good = _found(r"status codes: (\d+) 2xx", text)
    seconds = re.search(r"finished in ([\d.]+)(us|ms|s),", text)
    data = _found(r"headers \(.*\), .* \((\d+)\) data", text)
    if seconds is None or done[0] != requests or any(done[2:]):
        raise RuntimeError(f"h2load did not finish {requests} requests:\n{text}")
    unit = {"us": 1e-6, "ms": 1e-3, "s": 1.0}[seconds[2]]
    return Load(requests, good[0], float(seconds[1]) * unit, data[0])


def wrk(url: str, seconds: float, clients: Iterable[str]) -> Load:
    """Ask for `url` over kept connections for a time of whole seconds, one at least, with X-Forwarded-For.

    clients: its values, in turn. Raises RuntimeError where a connection failed.
    """
    with tempfile.TemporaryDirectory() as name:
        script, values = Path(name, "in_turn.lua"), Path(name, "values")
        script.write_text(_IN_TURN, encoding="ascii")
        values.write_text("\n".join(clients) + "\n", encoding="ascii")
        length = f"-d{max(round(seconds), 1)}s"
        text = _run("wrk", "-t1", f"-c{HTTP_CONNECTIONS}", length, "-s", str(script), url, "--", str(values))
    taken = re.search(r"(\d+) requests in ([\d.]+)s, ", text)
    if taken is None or "Socket errors" in text:
        raise RuntimeError(f"wrk failed:\n{text}")
    if not int(taken[1]):
        raise RuntimeError("wrk got no answer at all: the machine is too busy to measure on, or the server hangs")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    requests = int(taken[1])
    return Load(requests, requests - (int(bad[1]) if bad else 0), float(taken[2]), 0)


def _run(*command: str) -> str:
    with on_core(cores().load):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _found(pattern: str, text: str) -> list[int]:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"found no '{pattern}' in:\n{text}")
    return [int(group) for group in match.groups()]
