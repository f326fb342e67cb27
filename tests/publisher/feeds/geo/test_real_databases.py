"""Geo databases: every real file, and agreement with maxminddb."""

from __future__ import annotations

import functools
import io
import ipaddress
import itertools
import json
import lzma
import random
from typing import TYPE_CHECKING, Final

import maxminddb
import pytest
from support.publishing.covering import Covering, ranges_of
from support.publishing.places import country_of, refusal
from support.suite.shared import shared

from authz.addresses import BITS
from authz.publisher.feeds.geo.mmdb import Mmdb
from authz.publisher.feeds.geo.places import GeoResult, GeoWanted, read_geo

if TYPE_CHECKING:
    from pathlib import Path

# What README.md and stats.json of the data say: entries of IPv4 and of IPv6, and codes.
DATABASES: Final = {
    "iptoasn-country.mmdb": ("mmdb country ipvAll", 315_308, 85_551, 240),
    "geo-whois-asn-country.mmdb.xz": ("mmdb country ipvAll", 494_271, 516_614, 251),
    "chnroutes-small.mmdb": ("mmdb GeoIP", 3_912, 0, 1),
    "herrbischoff-country-ip-blocks.tar.xz": ("tar", 172_627, 73_731, 241),
    "asn-country-ipv4.csv.xz": ("csv", 141_822, 0, 238),
    "asn-country-ipv6.csv.xz": ("csv", 0, 68_368, 232),
    "ipverse-ad.json": ("json", 25, 2, 1),
    "ipverse-de.json": ("json", 8_627, 3_028, 1),
    "ipverse-ru.json": ("json", 8_538, 2_166, 1),
}


# maxminddb counts 345 networks in GeoIP2-Country-Test, as we do. One of them has neither country nor continent.
COUNTRY_TESTS: Final = {
    "maxmind-test/GeoIP2-Country-Test.mmdb": ("mmdb GeoIP2-Country", 18, 326, 46),
    "maxmind-test/GeoLite2-Country-Test.mmdb": ("mmdb GeoLite2-Country", 14, 230, 46),
}


# Sound databases of something else: networks with a record, of IPv4 and of IPv6. On three of them maxminddb's iteration
# raises ValueError, for it takes networks around or beside ::/96 for IPv4.
NOT_GEO: Final = {
    "maxmind-test/GeoIP2-Anonymous-IP-Test.mmdb": (247, 352),
    "maxmind-test/GeoLite2-ASN-Test.mmdb": (182, 230),
    "maxmind-test/MaxMind-DB-no-ipv4-search-tree.mmdb": (1, 1),
    "maxmind-test/MaxMind-DB-string-value-entries.mmdb": (6, 0),
    "maxmind-test/MaxMind-DB-test-ipv4-24.mmdb": (6, 0),
    "maxmind-test/MaxMind-DB-test-ipv6-24.mmdb": (0, 5),
    "maxmind-test/MaxMind-DB-test-metadata-pointers.mmdb": (121, 187),
    "maxmind-test/MaxMind-DB-test-mixed-24.mmdb": (6, 5),
    "maxmind-test/MaxMind-DB-test-mixed-28.mmdb": (6, 5),
    "maxmind-test/MaxMind-DB-test-mixed-32.mmdb": (6, 5),
    "maxmind-bad/libmaxminddb-uint64-max-epoch.mmdb": (2, 0),  # reads, says README.md
    # README.md: fails when a record is read. The tree is sound, and of the record no country can be read.
    "maxmind-bad/libmaxminddb-deep-nesting.mmdb": (121, 0),
}


DAMAGED: Final = {
    "maxmind-test/GeoIP2-City-Test-Invalid-Node-Count.mmdb": "found 100000 nodes",
    "maxmind-test/MaxMind-DB-test-broken-pointers-24.mmdb": "points to a record outside",
    "maxmind-bad/bad-unicode-in-map-key.mmdb": "points to a record outside",
    "maxmind-bad/cyclic-data-structure.mmdb": "metadata: the data is damaged",
    "maxmind-bad/invalid-data-record-offset.mmdb": "metadata: the data is damaged",
    "maxmind-bad/libmaxminddb-metadata-marker-only.mmdb": "metadata: the data is damaged",
    "maxmind-bad/libmaxminddb-offset-integer-overflow.mmdb": "metadata: the data is damaged",
    "maxmind-bad/unexpected-bytes.mmdb": "metadata: the data is damaged",
    # README.md: maxminddb reads these two without complaint, in pure Python; its C extension refuses the first. In both
    # the walk does not come to each node once, and what it would find is not what was written.
    "maxmind-test/MaxMind-DB-test-broken-search-tree-24.mmdb": "a node has two parents",
    "maxmind-bad/libmaxminddb-corrupt-search-tree.mmdb": "1 of 100 nodes",
}


@functools.cache
def everything(*names: str) -> GeoResult:
    """Read databases of the shared data for every country that they have."""
    paths = [shared(f"data/geo/{name}") for name in names]
    known = read_geo(paths, GeoWanted())
    return read_geo(paths, GeoWanted(frozenset[str]().union(*(database.countries for database in known.databases))))


def networks_in(result: GeoResult) -> tuple[int, int]:
    counted = [sum(len(networks[version]) for networks in result.countries.values()) for version in (4, 6)]
    return counted[0], counted[1]


# The real files.


def test_every_file_of_the_data_has_its_counts_or_its_refusal_written_down_here() -> None:
    folder = shared("data/geo")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {*DATABASES, *COUNTRY_TESTS, *NOT_GEO, *DAMAGED}


@pytest.mark.parametrize("name", [*DATABASES, *COUNTRY_TESTS])
def test_each_database_has_as_many_entries_and_codes_as_the_data_says(name: str) -> None:
    kind, ipv4, ipv6, codes = {**DATABASES, **COUNTRY_TESTS}[name]
    result = everything(name)
    (database,) = result.databases
    assert (database.format, database.entries) == (kind, {4: ipv4, 6: ipv6})
    assert len(database.countries) == len(result.countries) == codes
    if kind.startswith(("mmdb c", "mmdb GeoIP", "json", "tar")) and name not in COUNTRY_TESTS:
        assert networks_in(result) == (ipv4, ipv6)


@pytest.mark.parametrize("name", [name for name in DATABASES if name.endswith((".json", ".csv.xz"))])
def test_entries_and_networks_of_text_equal_the_statistics_of_the_data(name: str) -> None:
    expected = json.loads(shared("data/stats.json").read_text())[f"geo/{name}"]
    result = everything(name)
    (database,) = result.databases
    assert database.entries == {version: expected[f"cidr{version}"] + expected[f"rng{version}"] for version in (4, 6)}
    assert sum(networks_in(result)) == expected["nets"]


def test_odd_codes_of_real_databases_are_there() -> None:
    assert "AP" in everything("iptoasn-country.mmdb").countries
    assert "XK" in everything("geo-whois-asn-country.mmdb.xz").countries
    assert {"AP", "EU", "ZZ"} <= everything("herrbischoff-country-ip-blocks.tar.xz").countries.keys()


def test_an_address_may_be_in_two_countries_of_the_archive() -> None:
    # README.md counts 12 and 8 blocks that overlap another country's: those whose neighbour in order overlaps them. A
    # wide block with several others in it has one neighbour; 22 and 8 lie inside a block of another country.
    result = everything("herrbischoff-country-ip-blocks.tar.xz")
    neighbours, inside = {}, {}
    for version in (4, 6):
        rows = sorted(row for networks in result.countries.values() for row in ranges_of(version, networks[version]))
        neighbours[version] = sum(one[1] >= other[0] for one, other in itertools.pairwise(rows))
        reached = list(itertools.accumulate((last for _, last in rows), max))
        inside[version] = sum(end >= row[0] for end, row in zip(reached, rows[1:], strict=False))
    assert (neighbours, inside) == ({4: 12, 6: 8}, {4: 22, 6: 8})


@pytest.mark.parametrize("name", NOT_GEO)
def test_sound_databases_without_countries_are_read_and_refused_as_what_they_are(name: str) -> None:
    path = shared(f"data/geo/{name}")
    leaves = Mmdb(path.read_bytes(), name).leaves()
    assert (len(leaves[4].prefixes), len(leaves[6].prefixes)) == NOT_GEO[name]
    error = refusal(path, GeoWanted(frozenset({"US"})))
    assert str(path) in error.message
    assert "found no country in it" in error.message


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_databases_of_the_data_are_refused(name: str) -> None:
    path = shared(f"data/geo/{name}")
    error = refusal(path, GeoWanted(frozenset({"US"})))
    assert str(path) in error.message
    assert DAMAGED[name] in error.message


# maxminddb as a second opinion.


def opened(path: Path) -> maxminddb.Reader:
    if path.suffix == ".xz":
        return maxminddb.open_database(io.BytesIO(lzma.decompress(path.read_bytes())), maxminddb.MODE_FD)
    return maxminddb.open_database(path)


def is_alias(version: int, value: int) -> bool:
    """Whether MaxMind's databases answer for the address as for an IPv4 one: 6to4, Teredo and mapped."""
    return version == 6 and (value >> 112 == 0x2002 or value >> 96 == 0x20010000 or value >> 32 == 0xFFFF)


def questions(version: int, covering: Covering, count: int) -> list[int]:
    """Random addresses, and the edges of networks with the addresses beside them."""
    source = random.Random(f"{version} {count}")
    bits = BITS[version]
    edges = covering.edges
    asked = [source.getrandbits(bits) for _ in range(count)]
    asked += [source.choice(edges) + source.randint(-1, 1) for _ in range(count if edges else 0)]
    if version == 6:
        asked += [0x2 << 124 | source.getrandbits(125) >> 16 << 16 for _ in range(count)]
    return [value for value in asked if 0 <= value < 1 << bits and not is_alias(version, value)]


@pytest.mark.parametrize("name", [name for name in [*DATABASES, *COUNTRY_TESTS] if ".mmdb" in name])
@pytest.mark.parametrize("version", [4, 6])
def test_thousands_of_addresses_have_the_country_that_maxminddb_finds(name: str, version: int) -> None:
    covering = Covering(version, everything(name).countries)
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    found = 0
    with opened(shared(f"data/geo/{name}")) as reader:
        if reader.metadata().ip_version < version:
            return
        for value in questions(version, covering, 2000):
            expected = country_of(reader.get(address(value)))
            assert covering.labels(value) == expected, address(value)
            found += bool(expected)
    assert found > 500


def test_ranges_and_their_networks_cover_the_same_addresses() -> None:
    result = everything("asn-country-ipv4.csv.xz")
    written = lzma.decompress(shared("data/geo/asn-country-ipv4.csv.xz").read_bytes()).decode().split()
    expected: dict[str, int] = {}
    for line in written:
        first, last, code = line.split(",")
        size = int(ipaddress.IPv4Address(last)) - int(ipaddress.IPv4Address(first)) + 1
        expected[code] = expected.get(code, 0) + size
    assert {
        code: int(sum(2 ** (32 - networks[4].length.astype(int)))) for code, networks in result.countries.items()
    } == (expected)


def test_ipv4_and_ipv6_may_come_in_two_files() -> None:
    result = everything("asn-country-ipv4.csv.xz", "asn-country-ipv6.csv.xz")
    assert networks_in(result) == (177_131, 68_839)
    assert len(result.countries["DE"][4]) > 0
    assert len(result.countries["DE"][6]) > 0
