"""A number for every address, such as its autonomous system: sorted begins of ranges, which are bisected.

    10.0.0.0/8 -> 1, 10.1.0.0/16 -> 2        begins   10.0.0.0  10.1.0.0  10.2.0.0  11.0.0.0
                                             numbers         1         2         1         0

Of networks over an address the longest says its number. Of IPv6 the upper 64 bits are looked at.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from authz.addresses import Address
    from authz.publisher.feeds.geo.place_table import Networks

_END: Final = 1 << 64
_Range = tuple[int, int, int]  # first address, the one behind the last (each the upper 64 of 128 bits), number


class AddressTable:
    """The numbers of networks: by number, above 0, its networks of each version (4, 6)."""

    def __init__(self, networks: Mapping[int, Networks]) -> None:
        self._begins = {4: array("Q"), 6: array("Q")}
        self._numbers = {4: array("L"), 6: array("L")}
        for version in (4, 6):
            begins, numbers = self._begins[version], self._numbers[version]
            for begin, number in _flat(sorted(_ranges(networks, version), key=lambda span: (span[0], -span[1]))):
                if begins and begins[-1] == begin:
                    numbers[-1] = number
                elif begin < _END:
                    begins.append(begin)
                    numbers.append(number)

    def find(self, client: Address) -> int:
        """Return the number of an address; 0 if it has none."""
        high = client.value << 32 if client.version == 4 else client.value >> 64
        place = bisect_right(self._begins[client.version], high) - 1
        return 0 if place < 0 else self._numbers[client.version][place]


def _ranges(networks: Mapping[int, Networks], version: int) -> Iterator[_Range]:
    for number, by_version in networks.items():
        part = by_version.get(version)
        if part is None:
            continue
        for high, length in zip(part.high.tolist(), part.length.tolist(), strict=True):
            yield high, high + (1 << max(0, 64 - length)), number


def _flat(ranges: Iterable[_Range]) -> Iterator[tuple[int, int]]:
    """Give where each number begins. ranges: sorted, the wider ones first; they lie in each other or apart."""
    around: list[tuple[int, int]] = []  # the ranges that we are in: end and number
    for first, end, number in ranges:
        while around and around[-1][0] <= first:
            left, _ = around.pop()
            yield left, around[-1][1] if around else 0
        yield first, number
        around.append((end, number))
    while around:
        left, _ = around.pop()
        yield left, around[-1][1] if around else 0
