"""A reload under traffic: requests at a fixed rate, a rename in the midst of them, and what they tell of both.

    requests at a fixed rate ----------------- rename ------ first new answer ----- 0.1 s --------
                             <---- before ---->|<------------- during ------------->|

The time to the first new answer counts from the rename. Latencies are those of all requests that were due "during" the
reload, and of those due in a time as long before it, but for the first moments. Only those that were answered count.
"""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.load.paced import paced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RATE: Final = 2_000  # requests a second
BEFORE: Final = 0.4  # seconds of requests before the rename
AFTER: Final = 0.1  # seconds after the first new answer that count as "during"
_WARM_UP: Final = 0.1  # seconds of those before that are not looked at
_MILLISECOND: Final = 1e6  # nanoseconds


class Line(NamedTuple):
    """A request. due: ns since 1970; latency: ns; status: -1 for no answer; crc: of the answer."""

    due: int
    latency: int
    status: int
    length: int
    crc: int

    @property
    def done(self) -> int:
        """When the answer came, in ns since 1970."""
        return self.due + self.latency


class Latencies(NamedTuple):
    """In milliseconds."""

    p50: float
    p99: float
    worst: float


class Reload(NamedTuple):
    """first: milliseconds from the rename to the first new answer; last: to the last old one, 0.0 without any."""

    first: float
    last: float
    before: Latencies
    during: Latencies


def traffic(
    url: str,
    seconds: float,
    rename: Callable[[], object],
    *,
    payload: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
) -> tuple[list[Line], int]:
    """Send for that long and call `rename` meanwhile; return all requests, and when it was called, in ns since 1970."""
    called: list[int] = []

    def call() -> None:
        called.append(time.time_ns())
        rename()

    with tempfile.NamedTemporaryFile() as file:  # not in a folder that a server watches
        timer = threading.Timer(BEFORE, call)
        timer.start()
        paced(url, RATE, seconds, payload=payload, headers=headers, series=Path(file.name))
        timer.join()
        return read_series(Path(file.name)), called[0]


def read_series(path: Path) -> list[Line]:
    """Return the requests of a file that `paced` wrote."""
    return [Line(*map(int, line.split())) for line in path.read_text(encoding="ascii").splitlines()]


def judged(
    lines: Sequence[Line], renamed: int, is_new: Callable[[Line], bool], others: Sequence[Line] = ()
) -> Reload | None:
    """Return what was seen of a reload.

    others: further requests, whose latencies do not count.
    None: there were no requests before the rename, or none that were answered by what it brought.
    """
    answered = [line for line in lines if line.status >= 0]
    done = [(line.done, is_new(line)) for line in (*answered, *others) if line.status >= 0]
    new = [at for at, is_new_one in done if is_new_one]
    begin = lines[0].due + int(_WARM_UP * 1e9)
    if not new or begin >= renamed:
        return None
    first = min(new) - renamed
    last = max([renamed, *(at for at, is_new_one in done if not is_new_one)]) - renamed
    length = first + int(AFTER * 1e9)
    before = _latencies(answered, max(renamed - length, begin), renamed)
    during = _latencies(answered, renamed, renamed + length)
    return Reload(first / _MILLISECOND, last / _MILLISECOND, before, during)


def _latencies(lines: Sequence[Line], begin: int, end: int) -> Latencies:
    """Return the latencies of the requests that were due in that time, in ns since 1970."""
    waits = sorted(line.latency / _MILLISECOND for line in lines if begin <= line.due < end)
    return Latencies(waits[len(waits) // 2], waits[int(len(waits) * 0.99)], waits[-1])
