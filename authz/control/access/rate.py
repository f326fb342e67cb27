"""Requests a second of each token: a bucket that fills at a rate and holds a burst."""

from __future__ import annotations

from authz.control.model.problems import TooMany

MAX_BUCKETS = 10_000
BURST = 2.0  # seconds' worth


class RateLimit:
    """The buckets, in memory: each control plane counts for itself."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, token: str, now: float) -> None:
        """Take one request. now: seconds of any steady clock. Raises TooMany."""
        if len(self._buckets) >= MAX_BUCKETS and token not in self._buckets:
            self._buckets.clear()
        most = self._rate * BURST
        left, since = self._buckets.get(token, (most, now))
        left = min(most, left + (now - since) * self._rate)
        if left < 1:
            self._buckets[token] = (left, now)
            raise TooMany(f"found more than {self._rate:g} requests a second", extra={"retry_after": 1})
        self._buckets[token] = (left - 1, now)
