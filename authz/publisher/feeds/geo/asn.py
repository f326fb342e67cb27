"""AS databases: the networks of the autonomous systems that a policy names.

Files are known by their content, packed or not: a routing table (see `geo.asn_routes`), CSV ranges
`start,end,asn,"name"`, or a MaxMind-format database with `autonomous_system_number`. Several are read as one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.errors import InputError
from authz.publisher.feeds.decompress import MAX_TEXT, read_unpacked
from authz.publisher.feeds.formats.lines import content_lines
from authz.publisher.feeds.geo.asn_numbers import EXPECTED, HIGHEST, parse_origin
from authz.publisher.feeds.geo.asn_routes import owned_ranges, read_routes
from authz.publisher.feeds.geo.mmdb import Mmdb, distinct_records, is_mmdb
from authz.publisher.feeds.geo.place_table import merged
from authz.publisher.feeds.geo.ranges import BOM, Ranges, grouped, read_range_table
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from authz.publisher.feeds.geo.place_table import Networks
    from authz.publisher.index.prefixes import Array

NAMED = 20  # missing numbers that an error names


class AsnDatabase(NamedTuple):
    """One file that was read.

    Attributes:
        format: `routes`, `csv`, or `mmdb` and what it calls itself.
        entries: By version, the networks or ranges that have an origin.
        asns: How many different numbers it has.
    """

    path: Path
    format: str
    entries: dict[int, int]
    asns: int


class AsnResult(NamedTuple):
    """What databases gave: by number, the networks of each version (4, 6).

    Attributes:
        missing: Wanted numbers that have none.
    """

    networks: dict[int, Networks]
    missing: frozenset[int]
    databases: tuple[AsnDatabase, ...]


class _Table(NamedTuple):
    database: AsnDatabase
    found: list[tuple[int, int, Prefixes]]  # number, version, networks


def read_asns(paths: Sequence[Path], wanted: frozenset[int] | None, *, allow_missing: bool = False) -> AsnResult:
    """Read AS databases. Networks are neither merged nor sorted.

    Args:
        paths: The databases.
        wanted: AS numbers; None: all.
        allow_missing: For lists of numbers (see `read_asn_list`), some of which announce nothing at any time.

    Raises:
        InputError: A number is out of range or, unless `allow_missing`, in none of the databases; all of them are
            missing; a file cannot be read, is damaged, or has no AS numbers.
    """
    wrong = sorted(number for number in wanted or () if not 1 <= number <= HIGHEST)
    if wrong:
        raise InputError(f"asns: found {wrong[0]}, expected {EXPECTED}")
    tables = [_read(path, wanted) for path in paths]
    parts: dict[int, list[Networks]] = {}
    for table in tables:
        for number, version, networks in table.found:
            parts.setdefault(number, []).append({version: networks})
    missing = (wanted or frozenset()) - parts.keys()
    if (missing and (not allow_missing or missing == wanted)) or (wanted is None and not parts):
        raise InputError(
            f"{', '.join(str(path) for path in paths) or 'no AS database'}: found no networks of {_names(missing)}",
            hint="" if missing == wanted else "an AS that announces nothing has none",
        )
    networks_by_number = {number: merged(of) for number, of in sorted(parts.items())}
    return AsnResult(networks_by_number, missing, tuple(table.database for table in tables))


def _names(numbers: frozenset[int]) -> str:
    if not numbers:
        return "any AS"
    names = ", ".join(f"AS{number}" for number in sorted(numbers)[:NAMED])
    return names if len(numbers) <= NAMED else f"{names} and {len(numbers) - NAMED} more"


def _read(path: Path, wanted: frozenset[int] | None) -> _Table:
    data = read_unpacked(path)
    if is_mmdb(data) or ".mmdb" in path.suffixes:
        table = _read_mmdb(path, data, wanted)
    elif len(data) > MAX_TEXT:
        raise InputError(f"{path}: found {len(data)} bytes of text, expected at most {MAX_TEXT}")
    elif "\t" in next(content_lines(data), (0, ""))[1]:
        table = _read_routes(path, data, wanted)
    else:
        table = _read_csv(path, data, wanted)
    if not table.database.asns:
        raise InputError(f"{path}: found no AS number in it ({table.database.format}), expected an AS database")
    return table


def _read_routes(path: Path, data: bytes, wanted: frozenset[int] | None) -> _Table:
    routes = read_routes(data.removeprefix(BOM), str(path))
    entries = {version: sum(1 for route in rows if route[2]) for version, rows in routes.items()}
    asns = frozenset[int]().union(*{route[2] for rows in routes.values() for route in rows})
    networks = []
    for version, rows in routes.items():
        numbers, firsts, lasts = [], [], []
        for first, last, owners in owned_ranges(version, rows):
            for owner in owners if wanted is None else owners & wanted:
                numbers.append(owner)
                firsts.append(first)
                lasts.append(last)
        networks += _split(version, Ranges.of(version, firsts, lasts), np.array(numbers, np.int64))
    return _Table(AsnDatabase(path, "routes", entries, len(asns)), networks)


def _read_csv(path: Path, data: bytes, wanted: frozenset[int] | None) -> _Table:
    table = read_range_table(data, str(path))
    labels = zip(table.labels, table.lines, strict=True)
    asns = np.array([parse_origin(label, f"{path}:{line}") for label, line in labels], np.int64)
    entries, networks = {}, []
    for version, ranges in table.ranges.items():
        numbers = asns[table.numbers[version]]
        entries[version] = int(np.count_nonzero(numbers))
        chosen = numbers > 0 if wanted is None else np.isin(numbers, list(wanted))
        networks += _split(version, ranges.select(chosen), numbers[chosen])
    return _Table(AsnDatabase(path, "csv", entries, _count(asns)), networks)


def _read_mmdb(path: Path, data: bytes, wanted: frozenset[int] | None) -> _Table:
    database = Mmdb(data, str(path))
    leaves = database.leaves()
    places, records = distinct_records(leaves)
    asns = np.array([_asn_of(database, place) for place in places], np.int64)
    entries, networks = {}, []
    for version, (prefixes, _) in leaves.items():
        numbers = asns[records[version]]
        entries[version] = int(np.count_nonzero(numbers))
        chosen = numbers > 0 if wanted is None else np.isin(numbers, list(wanted))
        parts = grouped(Prefixes(*(column[chosen] for column in prefixes)), numbers[chosen])
        networks += [(number, version, part) for number, part in parts.items()]
    return _Table(AsnDatabase(path, f"mmdb {database.kind}", entries, _count(asns)), networks)


def _asn_of(database: Mmdb, place: int) -> int:
    fields = database.records.fields(place, ("autonomous_system_number",))
    return database.records.number(fields.get("autonomous_system_number")) or 0


def _split(version: int, ranges: Ranges, numbers: Array) -> list[tuple[int, int, Prefixes]]:
    """Return the networks of ranges, by the number of each range."""
    networks, origins = ranges.networks()
    return [(number, version, part) for number, part in grouped(networks, numbers[origins]).items()]


def _count(asns: Array) -> int:
    return len(np.unique(asns[asns > 0]))
