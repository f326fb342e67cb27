"""Geo databases: the networks of the countries, regions and continents that a policy names.

Files are known by their content, packed or not: a MaxMind-format database, CSV ranges, ipverse's JSON, an archive of
`.cidr` files. Several are read as one: IPv4 and IPv6 may come in different files.

A code that none of them has is an error: a policy that denies KP must not become a snapshot that lets KP in because a
file was damaged, or is of something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import InputError, shorten
from authz.publisher.feeds.decompress import MAX_TEXT, read_unpacked
from authz.publisher.feeds.geo.mmdb import is_mmdb
from authz.publisher.feeds.geo.place_mmdb import read_geo_mmdb
from authz.publisher.feeds.geo.place_table import EXPECTED, is_code, merged
from authz.publisher.feeds.geo.place_text import read_geo_csv, read_geo_json, read_geo_tar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.publisher.feeds.geo.place_table import Code, GeoTable, Kind, Networks

_TAR_MAGIC: Final = slice(257, 262)
_PLURALS: Final[dict[Kind, str]] = {"country": "countries", "region": "regions", "continent": "continents"}
_HINTS: Final[dict[Kind, str]] = {
    "country": "",
    "region": "a City database of MaxMind has subdivisions",
    "continent": "a Country database of MaxMind has continents; others have countries only",
}


class GeoWanted(NamedTuple):
    """What to look for: `KP` (ISO 3166-1), `US-CA` (ISO 3166-2), `AF` (of AF AN AS EU NA OC SA), in capitals."""

    countries: frozenset[str] = frozenset()
    regions: frozenset[str] = frozenset()
    continents: frozenset[str] = frozenset()


class GeoDatabase(NamedTuple):
    """One file that was read.

    Attributes:
        format: `csv`, `json`, `tar` or `mmdb` and what it calls itself.
        entries: By version, the networks or ranges that it gives a country, region or continent.
        countries, regions, continents: All codes that it has.
    """

    path: Path
    format: str
    entries: dict[int, int]
    countries: frozenset[str]
    regions: frozenset[str]
    continents: frozenset[str]


class GeoResult(NamedTuple):
    """What databases gave: by code, the networks of each version (4, 6); of one version there may be none."""

    countries: dict[str, Networks]
    regions: dict[str, Networks]
    continents: dict[str, Networks]
    databases: tuple[GeoDatabase, ...]


def code_problem(kind: Kind, text: str) -> str:
    """Return why this is no code of the kind (`country`, `region`, `continent`), or "" where it is one."""
    return "" if is_code(kind, text) else f"found '{shorten(text)}', expected {EXPECTED[kind]}"


def read_geo(paths: Sequence[Path], wanted: GeoWanted) -> GeoResult:
    """Read geo databases. Networks are as the databases have them, neither merged nor sorted.

    Args:
        paths: The databases.
        wanted: What to look for.

    Raises:
        InputError: A wanted code is not a code, or has no networks in any of the databases (the error names all of
            them); a file cannot be read, is damaged, has an unknown format, or has neither countries nor continents.
    """
    codes = _codes(wanted)
    tables = [(path, _read(path, codes)) for path in paths]
    by_code = {code: merged(table.found[code] for _, table in tables if code in table.found) for code in codes}
    _check_found(by_code, tables)
    countries, regions, continents = (
        {text: networks for (of, text), networks in by_code.items() if of == kind} for kind in _PLURALS
    )
    return GeoResult(countries, regions, continents, tuple(_database(path, table) for path, table in tables))


def _codes(wanted: GeoWanted) -> frozenset[Code]:
    codes: set[Code] = set()
    for kind, texts in zip(_PLURALS, wanted, strict=True):
        for text in texts:
            if problem := code_problem(kind, text):
                raise InputError(f"{_PLURALS[kind]}: {problem}")
            codes.add((kind, text))
    return frozenset(codes)


def _read(path: Path, wanted: frozenset[Code]) -> GeoTable:
    data = read_unpacked(path)
    table = _reader(path, data)(data, str(path), wanted)
    if not table.known:
        raise InputError(
            f"{path}: found no country in it ({table.format}), expected a geo database",
            hint="records are read that have country.iso_code, country_code or continent.code",
        )
    return table


def _reader(path: Path, data: bytes) -> Callable[[bytes, str, frozenset[Code]], GeoTable]:
    if data[_TAR_MAGIC] == b"ustar":
        return read_geo_tar
    if is_mmdb(data) or ".mmdb" in path.suffixes:
        return read_geo_mmdb
    if len(data) > MAX_TEXT:
        raise InputError(f"{path}: found {len(data)} bytes of text, expected at most {MAX_TEXT}")
    return read_geo_json if data.lstrip()[:1] in {b"{", b"["} else read_geo_csv


def _check_found(by_code: dict[Code, Networks], tables: list[tuple[Path, GeoTable]]) -> None:
    problems, hints = [], []
    for kind, plural in _PLURALS.items():
        missing = [code[1] for code, networks in by_code.items() if code[0] == kind and not _some(networks)]
        if not missing:
            continue
        names = ", ".join(sorted(missing))
        if any(code[0] == kind for _, table in tables for code in table.known):
            problems.append(f"found no networks of {names}")
        else:
            problems.append(f"found no {plural} at all, expected {names}")
            hints.append(_HINTS[kind])
    if problems:
        where = ", ".join(str(path) for path, _ in tables) or "no geo database"
        raise InputError(f"{where}: {'; '.join(problems)}", hint="; ".join(filter(None, hints)))


def _some(networks: Networks) -> bool:
    return any(len(part) > 0 for part in networks.values())


def _database(path: Path, table: GeoTable) -> GeoDatabase:
    known = ({text for of, text in table.known if of == kind} for kind in _PLURALS)
    return GeoDatabase(path, table.format, table.entries, *map(frozenset, known))
