"""Where a client is: its country and its autonomous system (AS), by the same databases that policies use.

Only what triggers ask for is kept: the networks of the countries and systems that `where` names; and the system of
every address where a trigger counts `by: asn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import Network, NetworkSet
from authz.control.detect.counting.address_table import AddressTable
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
        systems: Of every address; None if nobody counts by it.

    """

    def __init__(
        self,
        countries: Mapping[str, NetworkSet] | None = None,
        asns: Mapping[int, NetworkSet] | None = None,
        systems: AddressTable | None = None,
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
        """Return the number of a client's system; 0 if none is known."""
        return 0 if self._systems is None else self._systems.find(client)


def read_places(databases: Databases, triggers: Sequence[Trigger]) -> Places:
    """Read what triggers ask for. Raises InputError if a file cannot be read, or has no such country or system."""
    codes = frozenset(code for trigger in triggers for code in trigger.where.country)
    numbers = frozenset(number for trigger in triggers for number in trigger.where.asn)
    countries = read_geo(databases.country, GeoWanted(codes)).countries if codes else {}
    asns = read_asns(databases.asn, numbers).networks if numbers else {}
    every = any(trigger.count.by == "asn" for trigger in triggers)
    return Places(
        {code: _set_of(networks) for code, networks in countries.items()},
        {number: _set_of(networks) for number, networks in asns.items()},
        AddressTable(read_asns(databases.asn, None).networks) if every else None,
    )


def _set_of(networks: Networks) -> NetworkSet:
    return NetworkSet(
        Network(version, high >> 32 if version == 4 else high << 64 | low, length)
        for version, part in networks.items()
        for high, low, length in zip(part.high.tolist(), part.low.tolist(), part.length.tolist(), strict=True)
    )
