"""Countries, regions and continents of MaxMind-format databases.

The shapes of records that are read:

    {"country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}], "continent": {"code": "NA"}}   MaxMind
    {"country_code": "US"}                                                          iptoasn, ip-location-db

The country is where the address is used (`country`), not where its block is registered (`registered_country`). Each of
the subdivisions is a region: an address in Oxford is in GB-ENG and in GB-OXF.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from authz.publisher.feeds.geo.mmdb import Mmdb, distinct_records
from authz.publisher.feeds.geo.place_table import GeoTable, country_code, is_code
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from authz.publisher.feeds.geo.place_table import Code
    from authz.publisher.index.prefixes import Array

_FIELDS = ("country", "country_code", "subdivisions", "continent")


def read_geo_mmdb(data: bytes, name: str, wanted: AbstractSet[Code]) -> GeoTable:
    """Read a database whose bytes are `data`.

    Raises InputError if it is damaged.
    """
    database = Mmdb(data, name)
    leaves = database.leaves()
    places, numbers = distinct_records(leaves)
    having: dict[Code, list[int]] = {}
    for number, place in enumerate(places):
        for code in _codes(database, place):
            having.setdefault(code, []).append(number)
    anything = _mask(itertools.chain.from_iterable(having.values()), len(places))
    by_code = {}
    for code in having.keys() & wanted:
        mask = _mask(having[code], len(places))
        by_code[code] = {v: Prefixes(*(c[mask[numbers[v]]] for c in leaves[v].prefixes)) for v in leaves}
    entries = {version: int(anything[numbers[version]].sum()) for version in leaves}
    return GeoTable(f"mmdb {database.kind}", entries, frozenset(having), by_code)


def _mask(numbers: Iterable[int], count: int) -> Array:
    mask = np.zeros(count, np.bool_)
    mask[list(numbers)] = True
    return mask


def _codes(database: Mmdb, place: int) -> Iterator[Code]:
    """Yield all codes of one record."""
    records = database.records
    fields = records.fields(place, _FIELDS)
    written = records.fields(fields.get("country"), ("iso_code",)).get("iso_code", fields.get("country_code"))
    if written is None:
        country = None
    else:  # what is there but no text is a country that cannot be read, not one that nobody knows
        text = records.text(written)
        country = country_code("(no text)" if text is None else text, database.name)
    if country is not None:
        yield country
        for item in records.items(fields.get("subdivisions")):
            text = records.text(records.fields(item, ("iso_code",)).get("iso_code"))
            region = f"{country[1]}-{text}".upper()
            if is_code("region", region):
                yield "region", region
    continent = (records.text(records.fields(fields.get("continent"), ("code",)).get("code")) or "").upper()
    if is_code("continent", continent):
        yield "continent", continent
