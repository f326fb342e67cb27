"""Finding what a feed says twice: repeated networks, and networks inside others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from authz.publisher.index.prefixes import Array, Prefixes

_ONE = np.uint64(1)


class Merged(NamedTuple):
    """The places of the networks to keep, sorted by address, then widest first; of equal ones the first place.

    Attributes:
        nested: How many of those lie inside others of them.
    """

    places: Array
    nested: int


def merge(prefixes: Prefixes) -> Merged:
    """Find repeats and nested networks."""
    places = np.lexsort((prefixes.length, prefixes.low, prefixes.high))  # stable: equal networks stay in order
    high, low, length = (column[places] for column in prefixes)
    new = np.ones(len(places), np.bool_)
    new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1]) | (length[1:] != length[:-1])
    places = places[new]
    return Merged(places, _nested(type(prefixes)(*(column[places] for column in prefixes))))


def _nested(prefixes: Prefixes) -> int:
    """Return how many lie inside others. They are sorted and unique.

    Networks nest or are apart, so one is inside another exactly if one before it ends where it ends, or later. Ends of
    128 bits are compared by their rank.
    """
    end_high, end_low = prefixes.ends()
    last_high, last_low = end_high - (end_low == 0).astype(np.uint64), end_low - _ONE
    order = np.lexsort((last_low, last_high))
    high, low = last_high[order], last_low[order]
    rank = np.zeros(len(order), np.int64)
    rank[order[1:]] = np.cumsum((high[1:] != high[:-1]) | (low[1:] != low[:-1]))
    return int(np.count_nonzero(np.maximum.accumulate(rank)[:-1] >= rank[1:]))
