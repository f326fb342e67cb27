"""How long decisions take and how late the event loop is, from samples: twenty a second, so a check costs nothing more.

A check is measured from the moment that it was begun until its decision was recorded: reading the request, looking up,
deciding. The answer is sent after that. How long a request waited before its check was begun shows in the lag: how much
later than it should the loop came to a timer, as it would to a request.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from authz.serve.observe.metrics import Family, Sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.serve.observe.recorder import Recorder

PAUSE: Final = 0.05  # seconds between two samples
# Upper bounds in seconds. A check takes microseconds; a loop that is late by more than some milliseconds is overloaded.
CHECK_BOUNDS: Final = (5e-06, 1e-05, 2e-05, 5e-05, 1e-04, 2e-04, 5e-04, 1e-03, 5e-03, 2e-02, 0.1)
LAG_BOUNDS: Final = (5e-04, 1e-03, 2e-03, 5e-03, 1e-02, 2e-02, 5e-02, 0.1, 0.25, 1.0)


class Histogram:
    """Counts of observations by upper bound, in the way of Prometheus. Not thread-safe."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)  # the last: above all bounds
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one. A value below zero, of a clock that was set back, counts as zero."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def samples(self, name: str, labels: dict[str, str]) -> list[Sample]:
        """Return it as the samples of a metric."""
        uppers = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        totals = list(accumulate(self.counts))
        buckets = [
            Sample(f"{name}_bucket", {**labels, "le": upper}, total)
            for upper, total in zip(uppers, totals, strict=True)
        ]
        return [*buckets, Sample(f"{name}_sum", labels, self.sum), Sample(f"{name}_count", labels, totals[-1])]


class Latency:
    """Takes the samples. `add` each recorder, then run `sample` in the event loop.

    Args:
        clock: Seconds that only grow, as of the event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recorders: dict[str, Recorder] = {}
        self._checks: dict[str, Histogram] = {}
        self._lag = Histogram(LAG_BOUNDS)

    def add(self, front: str, recorder: Recorder) -> None:
        """Measure the checks of a front, too."""
        self._recorders[front] = recorder
        self._checks[front] = Histogram(CHECK_BOUNDS)

    async def sample(self) -> None:
        """Take samples until cancelled."""
        while True:
            due = self._clock() + PAUSE
            await asyncio.sleep(PAUSE)
            self._lag.observe(self._clock() - due)
            self.arm()

    def arm(self) -> None:
        """Have the next check of each front measured."""
        for front, recorder in self._recorders.items():
            recorder.time_next(self._checks[front].observe)

    def families(self) -> list[Family]:
        """Return what was measured."""
        checks = [
            sample
            for front, histogram in self._checks.items()
            for sample in histogram.samples("authz_check_duration_seconds", {"front": front})
        ]
        lag = self._lag.samples("authz_loop_lag_seconds", {})
        return [
            Family("authz_check_duration_seconds", "histogram", "From the begin of a check to its decision", checks),
            Family("authz_loop_lag_seconds", "histogram", "How late the event loop comes to what waits", lag),
        ]
