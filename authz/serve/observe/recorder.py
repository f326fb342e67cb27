"""What is kept of a decision: a count, a hit of its entry, and for some of them more, in sinks.

A sink is asked once what share it wants of decisions of a kind; a request that no sink wants costs nothing more.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from authz.addresses import MAX_TEXT
from authz.engine.model import ANY_APPLICATION
from authz.serve.observe.details import NO_DETAILS, CheckDetails, HeadDetails

if TYPE_CHECKING:
    from collections import defaultdict
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from authz.addresses import Address
    from authz.engine.decision.outcome import Decided, Outcome, Rendered
    from authz.serve.config.config import ApplicationConfig
    from authz.serve.observe.details import ReadsDetails
    from authz.serve.observe.metrics import Metrics

    # The fields of a Decision, in their order: a named tuple takes four times as long to make.
    Taken: TypeAlias = tuple[
        float, str, str | None, Outcome, Address | None, Rendered | None, bytes, bytes, bytes, bytes, bytes, bytes
    ]
    Share: TypeAlias = tuple[float, Callable[[Taken], None]]  # of the decisions of a kind, and who takes them


class Decision(NamedTuple):
    """A decision, as sinks may read it.

    Attributes:
        now: Seconds since 1970.
        peer: As the proxy reported it. None: a unix socket; "": it could not be read.
        outcome: As in Decided, and so are client and rendered.
        request_id: See `details`; so for host, method and path.
        named: The application as the proxy named it; b"" if the outcome says which it is.
        traceparent: Of the request; b"" if no traces are sent.
    """

    now: float
    front: str
    peer: str | None
    outcome: Outcome
    client: Address | None
    rendered: Rendered | None = None
    request_id: bytes = b""
    host: bytes = b""
    method: bytes = b""
    path: bytes = b""
    named: bytes = b""
    traceparent: bytes = b""


class Sink(Protocol):
    """Takes some of the decisions: the decision log, events."""

    def share(self, outcome: Outcome) -> float:
        """Return the share, from 0 to 1, of decisions of this kind that it takes.

        Asked once for all decisions that differ only in client, entry and time.
        """

    def write(self, taken: Taken) -> None:
        """Take one. Must not block, and never raise."""


class Recorder:
    """Counts the decisions of one front, and hands some to sinks.

    Args:
        front: Its name, for the log.
        metrics: Where it counts.
        sinks: Who is asked for the share that it takes.
        reads: Gives the details of what the front passes as `source`.
        traced: Whether the `traceparent` is one of them.

    Attributes:
        details_wanted: Whether it may ever ask for details.
    """

    def __init__(
        self,
        front: str,
        metrics: Metrics,
        sinks: Sequence[Sink],
        reads: ReadsDetails | None = None,
        *,
        traced: bool = False,
    ) -> None:
        self._front = front
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self.details_wanted = bool(sinks and reads)
        self._reads = reads
        self._traced = traced
        self._keep: Callable[[Decision], object] | None = None
        self._measured: Callable[[float], object] | None = None

    def record(self, decided: Decided, peer: str | None, now: float, source: object = None) -> None:
        """Count a decision, and hand it to whom it concerns.

        Args:
            decided: What was decided, and of whom.
            peer: As the proxy reported it.
            now: Seconds since 1970.
            source: The request in the front's form; None if it could not be read.
        """
        outcome = decided[0]
        try:
            counts, shares = outcome.memo[self]
        except KeyError:
            counts, shares = outcome.memo[self] = self._tally(outcome)
        counts[outcome.entry] += 1
        if shares:
            self._hand_on(shares, decided, peer, now, source)

    def watch(self, keep: Callable[[Decision], object] | None) -> None:
        """Hand every decision to `keep`, too, until this is called with None. While it is None, that costs nothing."""
        self._keep = keep
        self._look_at()

    def time_next(self, measured: Callable[[float], object]) -> None:
        """Give `measured` the seconds that the next decision took, from its `now` until it is recorded."""
        self._measured = measured
        self._look_at()

    def _look_at(self) -> None:
        """Put another `record` before the method of the class, for as long as somebody looks."""
        if self._keep or self._measured:
            self.__dict__["record"] = self._record_and_show
        else:
            self.__dict__.pop("record", None)

    def _record_and_show(self, decided: Decided, peer: str | None, now: float, source: object = None) -> None:
        Recorder.record(self, decided, peer, now, source)
        measured, self._measured = self._measured, None
        if measured is not None:
            measured(time.time() - now)
            self._look_at()
        if self._keep is not None:
            details, named = NO_DETAILS, b""
            if source is not None and self._reads is not None:
                details, named = self._reads.details(source), self._reads.named(source)
            peer = None if peer is None else _short(peer)
            self._keep(Decision(now, self._front, peer, decided[0], decided[1], None, *details, named))

    def _tally(self, outcome: Outcome) -> tuple[defaultdict[str | None, int], tuple[Share, ...]]:
        """Return the counts of decisions of this kind by entry, and what else there is to do with each."""
        shares = tuple((share, sink.write) for sink in self._sinks if (share := sink.share(outcome)) > 0)
        if outcome.warnings or outcome.warned:
            shares = (*shares, (1.0, _Warned(self._metrics).write))
        return self._metrics.decision_counts(self._front, outcome), shares

    def _hand_on(
        self, shares: tuple[Share, ...], decided: Decided, peer: str | None, now: float, source: object
    ) -> None:
        taken: Taken | None = None
        outcome, client, rendered = decided
        if rendered is None and peer is not None and len(peer) > MAX_TEXT:  # what is remembered has a peer's address
            peer = _short(peer)
        for share, write in shares:
            if share < 1 and random.random() >= share:  # noqa: S311  # a sample, no secret
                continue
            if taken is None:
                reads = self._reads
                if source is None or reads is None:
                    taken = now, self._front, peer, outcome, client, rendered, b"", b"", b"", b"", b"", b""
                else:
                    request_id, host, method, path = reads.details(source)
                    named = reads.named(source) if outcome.application == ANY_APPLICATION else b""
                    parent = reads.traceparent(source) if self._traced else b""
                    taken = (
                        now, self._front, peer, outcome, client, rendered, request_id, host, method, path, named, parent
                    )  # fmt: skip
            write(taken)


def _short(peer: str) -> str:
    """Return a peer as sinks may keep it: text that is not an address may be as long as a request."""
    return peer if len(peer) <= MAX_TEXT else f"{peer[:MAX_TEXT]}..."


class _Warned:
    """A sink that counts what would have been denied, or what an entry warned of."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def share(self, _: Outcome) -> float:
        """Take all."""
        return 1.0

    def write(self, taken: Taken) -> None:
        """Count it, and the entries."""
        outcome = Decision._make(taken).outcome
        if outcome.warned:
            self._metrics.count("authz_warned_total", application=outcome.application)
        for layer, entry in zip(outcome.warning_layers, outcome.warnings, strict=True):
            self._metrics.count_warning(layer, entry)


def make_recorder(
    front: str, config: ApplicationConfig, metrics: Metrics, sinks: Sequence[Sink], *, traced: bool = False
) -> Recorder:
    """Return the recorder of the front `grpc` or `http`. traced: details have the `traceparent`, too."""
    header = config.header.encode() if config.http == "header" else b""
    reads: ReadsDetails = CheckDetails(config.context_key) if front == "grpc" else HeadDetails(header)
    return Recorder(front, metrics, sinks, reads, traced=traced)
