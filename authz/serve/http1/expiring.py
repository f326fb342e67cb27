"""Answers that a proxy may keep: how long each holds, said in the way of nginx.

`X-Accel-Expires: @T` lets nginx keep an answer for as long as its clock shows at most the second T. So T is the last
whole second that ends before the answer does: after `http.cache` seconds, or when a time window opens or closes or a
layer lapses, whichever is first. An answer is kept for less than `http.cache`, and never beyond the edge of a window.
What cannot be decided is not kept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from authz.serve.http1.front import HttpFront
from authz.serve.http1.messages import Answer

if TYPE_CHECKING:
    from authz.engine.decision.outcome import Decided, Outcome
    from authz.serve.http1.messages import HeadParts
    from authz.serve.observe.recorder import Recorder


class ExpiringFront(HttpFront):
    """The HTTP front, with an end for each answer. cache: seconds that an answer may be kept."""

    cache = 0.0

    def handle(self, head: HeadParts) -> Answer:
        """Return the answer to one request."""
        if not isinstance(self._recorder, _Noted):
            self._recorder = _Noted(self._recorder)
        self._recorder.take()  # what was recorded of a request that was refused before: this one may be for a page
        answered = super().handle(head)
        noted = self._recorder.take()
        if noted is None:
            return answered
        outcome, now = noted
        last = math.floor(min(now + self.cache, outcome.until)) - 1
        if outcome.cannot_decide or last < math.floor(now):
            return answered
        return Answer(answered.head + b"X-Accel-Expires: @%d\r\n" % last, answered.body)


class _Noted:
    """A recorder that remembers what it recorded last."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.last: tuple[Outcome, float] | None = None

    def record(self, decided: Decided, peer: str | None, now: float, source: object = None) -> None:
        """Record a decision."""
        self.last = decided[0], now
        self._recorder.record(decided, peer, now, source)

    def take(self) -> tuple[Outcome, float] | None:
        """Return what was recorded since the last time."""
        last, self.last = self.last, None
        return last
