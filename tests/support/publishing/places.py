"""Geo databases for tests: written, read, refused, and shown as text."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.publishing.covering import ranges_of
from support.publishing.mmdb import encode

from authz.errors import InputError
from authz.publisher.feeds.geo.places import GeoResult, GeoWanted, read_geo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from authz.publisher.index.prefixes import Prefixes

OXFORD: Final = {
    "continent": {"code": "EU", "names": {"en": "Europe"}},
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "registered_country": {"iso_code": "US"},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}, {"iso_code": "OXF"}],
}


KABUL: Final = {"continent": {"code": "AS"}, "country": {"iso_code": "AF"}}


def texts(prefixes: Prefixes, version: int) -> set[str]:
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return {
        str(network)
        for first, last in ranges_of(version, prefixes)
        for network in ipaddress.summarize_address_range(address(first), address(last))
    }


def both(networks: dict[int, Prefixes]) -> set[str]:
    return texts(networks[4], 4) | texts(networks[6], 6)


def countries(path: Path, *codes: str) -> GeoResult:
    return read_geo([path], GeoWanted(frozenset(codes)))


def refusal(path: Path | Sequence[Path], wanted: GeoWanted | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read_geo(path if isinstance(path, list) else [path], wanted or GeoWanted())  # type: ignore[list-item]
    return caught.value


def country_of(record: Any) -> set[str]:
    code = (record or {}).get("country_code") or (record or {}).get("country", {}).get("iso_code")
    return {code} if code else set()


GB: Final = encode({"country": {"iso_code": "GB"}})
