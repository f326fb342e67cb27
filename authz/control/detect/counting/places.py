"""Where a client is: its country and its autonomous system (AS), by the same databases that policies use.

Only what triggers ask for is kept: the networks of the countries and systems that `where` names; and the system of
every address where a trigger counts `by: asn`, as sorted numbers that are bisected.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING

from authz.addresses import Network, NetworkSet
from authz.publisher.feeds.geo.asn import read_asns
from authz.publisher.feeds.geo.places import GeoWanted, read_geo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from authz.addresses import Address
    from authz.control.detect.triggers.file import Databases, Trigger
    from authz.publisher.feeds.geo.place_table import Networks


class Places:
    """What triggers ask of an address.

    Args:
        countries: By code, the networks of each country that a trigger names.
        asns: By number, those of each system that a trigger names.
        systems: Of every address; None where nobody counts by it.

    """

    def __init__(
        self,
        countries: Mapping[str, NetworkSet] | None = None,
        asns: Mapping[int, NetworkSet] | None = None,
        systems: Systems | None = None,
    ) -> None:
        self._countries = countries or {}
        self._asns = asns or {}
        self._systems = systems

    def in_countries(self, client: Address, codes: Iterable[str]) -> bool:
        """Return whether a client is in one of the countries."""
        return any(client in self._countries[code] for code in codes)

    def in_asns(self, client: Address, numbers: Iterable[int]) -> bool:
        """Return whether a client is in one of the systems."""
        return any(client in self._asns[number] for number in numbers)

    def asn_of(self, client: Address) -> int:
        """Return the number of a client's system; 0 where none is known."""
        return 0 if self._systems is None else self._systems.find(client)


class Systems:
    """The system of every address: sorted ranges of one version after the other, and whose each is."""

    def __init__(self, networks: Mapping[int, Networks]) -> None:
        self._firsts = {4: array("Q"), 6: array("Q")}
        self._lasts = {4: array("Q"), 6: array("Q")}
        self._numbers = {4: array("L"), 6: array("L")}
        for version in (4, 6):
            rows = sorted(_ranges(networks, version))
            self._firsts[version].extend(first for first, _, _ in rows)
            self._lasts[version].extend(last for _, last, _ in rows)
            self._numbers[version].extend(number for _, _, number in rows)

    def find(self, client: Address) -> int:
        """Return the number of a client's system; 0 where none is known."""
        high = client.value << 32 if client.version == 4 else client.value >> 64
        place = bisect_right(self._firsts[client.version], high) - 1
        if place < 0 or high > self._lasts[client.version][place]:
            return 0
        return self._numbers[client.version][place]


def _ranges(networks: Mapping[int, Networks], version: int) -> Iterable[tuple[int, int, int]]:
    """Give first and last address (the upper 64 of 128 bits, left-aligned) and system of each network."""
    for number, by_version in networks.items():
        part = by_version.get(version)
        if part is None:
            continue
        for high, length in zip(part.high.tolist(), part.length.tolist(), strict=True):
            yield high, high | ((1 << max(0, 64 - length)) - 1), number


def read_places(databases: Databases, triggers: Sequence[Trigger]) -> Places:
    """Read what triggers ask for. Raises InputError where a file cannot be read, or has no such country or system."""
    codes = frozenset(code for trigger in triggers for code in trigger.where.country)
    numbers = frozenset(number for trigger in triggers for number in trigger.where.asn)
    countries = read_geo(databases.country, GeoWanted(codes)).countries if codes else {}
    asns = read_asns(databases.asn, numbers).networks if numbers else {}
    every = any(trigger.count.by == "asn" for trigger in triggers)
    return Places(
        {code: _set_of(networks) for code, networks in countries.items()},
        {number: _set_of(networks) for number, networks in asns.items()},
        Systems(read_asns(databases.asn, None).networks) if every else None,
    )


def _set_of(networks: Networks) -> NetworkSet:
    return NetworkSet(
        Network(version, high >> 32 if version == 4 else high << 64 | low, length)
        for version, part in networks.items()
        for high, low, length in zip(part.high.tolist(), part.low.tolist(), part.length.tolist(), strict=True)
    )
