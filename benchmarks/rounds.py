"""Rounds: what is compared runs in turn, again and again, so that a noisy second meets all of it alike.

    round 0 (warm-up, dropped)   a b c
    round 1                      b c a     each round begins with another one,
    round 2                      c a b     so that none always runs after the same neighbour

Each round gives one value a contender; the report has the median and the quartiles of them, and the same of the ratios
within each round. In-process work is measured in CPU time of this thread, not by the clock on the wall: what other
programs take from us is left out, but for what they push out of the caches.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from statistics import quantiles
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

K = TypeVar("K")
V = TypeVar("V")


class Spread(NamedTuple):
    """The middle of some values. low, high: their quartiles; half of the values lie between them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the median and quartiles of one value or more (in between two values: linear). Raises ValueError."""
    if not values:
        raise ValueError("no values, expected one or more")
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, median, high = quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return value / other for each round. Raises ValueError where they are not of the same rounds."""
    return [value / other for value, other in zip(values, others, strict=True)]


def interleaved(contenders: Mapping[K, Callable[[], V]], rounds: int, warm_up: int = 1) -> dict[K, list[V]]:
    """Call every contender once a round and return their results by round; the warm-up's are dropped."""
    order = list(contenders)
    results: dict[K, list[V]] = {name: [] for name in order}
    for number in range(warm_up + rounds):
        first = number % len(order)
        for name in order[first:] + order[:first]:
            result = contenders[name]()
            if number >= warm_up:
                results[name].append(result)
    return results


@contextmanager
def without_gc() -> Iterator[None]:
    """Collect garbage now, and not again before the end: a collection would fall on whoever happens to run."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cpu_ns(work: Callable[[], object], count: int = 1) -> float:
    """Do `work`, and return the CPU time of this thread that it took, in nanoseconds for each of `count` things."""
    begin = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - begin) / count
