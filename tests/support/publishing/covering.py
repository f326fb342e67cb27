"""A slow, plain look-up in what the readers of databases give: which labels cover an address?"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.publisher.index.prefixes import Prefixes


def ranges_of(version: int, prefixes: Prefixes) -> Iterator[tuple[int, int]]:
    """Yield first and last address of each network, as plain numbers of the version."""
    bits = 32 if version == 4 else 128
    for high, low, length in zip(*(column.tolist() for column in prefixes), strict=True):
        first = (high << 64 | low) >> (128 - bits)
        yield first, first | ((1 << (bits - length)) - 1)


class Covering:
    """Networks of one version with labels, that are apart or repeat each other."""

    def __init__(self, version: int, labelled: Mapping[Any, Mapping[int, Prefixes]]) -> None:
        rows = ((*row, label) for label, networks in labelled.items() for row in ranges_of(version, networks[version]))
        self._rows = sorted(rows)
        self._firsts = [first for first, _, _ in self._rows]
        assert all(one[1] < other[0] or one[:2] == other[:2] for one, other in pairwise(self._rows))

    @property
    def edges(self) -> list[int]:
        """All first and last addresses."""
        return [edge for first, last, _ in self._rows for edge in (first, last)]

    def labels(self, address: int) -> set[Any]:
        """Return the labels of the networks that the address is in."""
        covering = set()
        place = bisect_right(self._firsts, address) - 1
        while place >= 0 and self._rows[place][0] <= address <= self._rows[place][1]:
            covering.add(self._rows[place][2])
            place -= 1
        return covering
