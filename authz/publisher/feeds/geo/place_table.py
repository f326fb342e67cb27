"""What a reader of geo databases gives, whatever the format: networks by country, region and continent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from authz.errors import InputError, shorten
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable

    Networks = dict[int, Prefixes]  # by version (4, 6)

Kind = Literal["country", "region", "continent"]
Code = tuple[Kind, str]  # ("country", "US"), ("region", "US-CA"), ("continent", "AF"), which is not the country AF

SHAPES: Final[dict[Kind, re.Pattern[str]]] = {
    "country": re.compile(r"[A-Z]{2}"),
    "region": re.compile(r"[A-Z]{2}-[A-Z0-9]{1,3}"),
    "continent": re.compile(r"AF|AN|AS|EU|NA|OC|SA"),
}
# What people write for a country and ISO 3166-1 has not, or has no longer.
NOT_COUNTRIES: Final = {
    "UK": "GB", "EN": "GB", "EL": "GR", "SU": "RU", "FX": "FR", "TP": "TL", "ZR": "CD", "BU": "MM", "DD": "DE",
    "YU": "RS", "USA": "US", "GER": "DE", "UAE": "AE", "PRC": "CN", "DPRK": "KP",
}  # fmt: skip
EXPECTED: Final[dict[Kind, str]] = {
    "country": "two capital letters such as KP (ISO 3166-1)",
    "region": "a country and a subdivision such as US-CA (ISO 3166-2)",
    "continent": "AF, AN, AS, EU, NA, OC or SA",
}
NO_COUNTRY: Final = frozenset({"", "-"})  # what databases write where they know none


class GeoTable(NamedTuple):
    """What one database says.

    Attributes:
        format: Such as "csv" or "mmdb GeoLite2-Country".
        entries: By version, the networks or ranges that it gives a country, region or continent.
        known: Every code that it has.
        found: The networks of those that were wanted.
    """

    format: str
    entries: dict[int, int]
    known: frozenset[Code]
    found: dict[Code, Networks]


def is_code(kind: Kind, text: str) -> bool:
    """Return whether this is a code of the kind: in capitals, of the right shape."""
    return SHAPES[kind].fullmatch(text) is not None


def hint_of_code(kind: Kind, text: str) -> str:
    """Return which code was probably meant by a text that is none, as a hint; "" if nobody can guess."""
    meant = NOT_COUNTRIES.get(text.upper(), text.upper())
    return f"did you mean '{meant}'?" if is_code(kind, meant) else ""


def country_code(text: str, place: str) -> Code | None:
    """Return the country that a database names, in whatever case; None if it says that it knows none.

    place: file and line, for the error. Raises InputError for other text: a database of whole countries, of which one
    is not readable, is not used.
    """
    folded = text.upper()
    if is_code("country", folded):
        return "country", folded
    if folded in NO_COUNTRY:
        return None
    raise InputError(f"{place}: found the country '{shorten(text)}', expected {EXPECTED['country']}")


def merged(many: Iterable[Networks]) -> Networks:
    """Return the networks of all, with both versions, one of which may be empty."""
    kept = list(many)
    return {version: Prefixes.concatenate([table[version] for table in kept if version in table]) for version in (4, 6)}
