"""Geo databases: every real file, agreement with maxminddb, record shapes, and damage of each kind."""

from __future__ import annotations

import functools
import gzip
import io
import ipaddress
import itertools
import json
import lzma
import random
import tarfile
from typing import TYPE_CHECKING, Any, Final

import maxminddb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.covering import Covering, ranges_of
from support.mmdb import MARKER, encode, pointer, raw_mmdb, write_mmdb
from support.shared import shared

from authz.addresses import BITS, range_to_networks
from authz.errors import InputError
from authz.publisher.feeds.decompress import read_unpacked
from authz.publisher.feeds.geo import places as geo
from authz.publisher.feeds.geo import ranges
from authz.publisher.feeds.geo.mmdb import Mmdb
from authz.publisher.feeds.geo.places import GeoResult, GeoWanted, code_problem, read_geo
from authz.publisher.feeds.geo.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.publisher.index.prefixes import Prefixes

OXFORD: Final = {
    "continent": {"code": "EU", "names": {"en": "Europe"}},
    "country": {"iso_code": "GB", "names": {"en": "United Kingdom"}},
    "registered_country": {"iso_code": "US"},
    "subdivisions": [{"iso_code": "ENG", "names": {"en": "England"}}, {"iso_code": "OXF"}],
}
KABUL: Final = {"continent": {"code": "AS"}, "country": {"iso_code": "AF"}}

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
    "maxmind-test/MaxMind-DB-test-broken-pointers-24.mmdb": "points at a record outside",
    "maxmind-bad/bad-unicode-in-map-key.mmdb": "points at a record outside",
    "maxmind-bad/cyclic-data-structure.mmdb": "metadata: the data is damaged",
    "maxmind-bad/invalid-data-record-offset.mmdb": "metadata: the data is damaged",
    "maxmind-bad/libmaxminddb-metadata-marker-only.mmdb": "metadata: the data is damaged",
    "maxmind-bad/libmaxminddb-offset-integer-overflow.mmdb": "metadata: the data is damaged",
    "maxmind-bad/unexpected-bytes.mmdb": "metadata: the data is damaged",
    # README.md: maxminddb reads these two without complaint, in pure Python; its C extension refuses the first. In both
    # the walk does not come to each node once, and what it would find is not what was written.
    "maxmind-test/MaxMind-DB-test-broken-search-tree-24.mmdb": "some node is met twice",
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


def texts(prefixes: Prefixes, version: int) -> set[str]:
    address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    return {
        str(network)
        for first, last in ranges_of(version, prefixes)
        for network in ipaddress.summarize_address_range(address(first), address(last))
    }


def both(networks: dict[int, Prefixes]) -> set[str]:
    return texts(networks[4], 4) | texts(networks[6], 6)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write the content of a file, and return its path."""

    def write(content: bytes | str, name: str = "country.mmdb") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def countries(path: Path, *codes: str) -> GeoResult:
    return read_geo([path], GeoWanted(frozenset(codes)))


def refusal(path: Path | Sequence[Path], wanted: GeoWanted | None = None) -> InputError:
    with pytest.raises(InputError) as caught:
        read_geo(path if isinstance(path, list) else [path], wanted or GeoWanted())  # type: ignore[list-item]
    return caught.value


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


def country_of(record: Any) -> set[str]:
    code = (record or {}).get("country_code") or (record or {}).get("country", {}).get("iso_code")
    return {code} if code else set()


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


# Shapes of records.


@pytest.mark.parametrize("record_size", [24, 28, 32])
@pytest.mark.parametrize("ip_version", [4, 6])
def test_countries_regions_and_continents_are_found_by_their_codes(
    written: Callable[..., Path], record_size: int, ip_version: int
) -> None:
    records = {"192.0.2.0/24": OXFORD, "192.0.2.128/25": KABUL, "198.51.100.7/32": OXFORD}
    if ip_version == 6:
        records |= {"2001:db8::/32": OXFORD, "2001:db8::1/128": KABUL}
    path = written(write_mmdb(records, record_size=record_size, ip_version=ip_version))
    wanted = GeoWanted(frozenset({"GB", "AF"}), frozenset({"GB-ENG", "GB-OXF"}), frozenset({"EU", "AS"}))
    result = read_geo([path], wanted)
    assert texts(result.countries["GB"][4], 4) == {"192.0.2.0/25", "198.51.100.7/32"}
    assert both(result.countries["GB"]) == both(result.regions["GB-ENG"]) == both(result.regions["GB-OXF"])
    assert both(result.countries["GB"]) == both(result.continents["EU"])
    assert both(result.countries["AF"]) == both(result.continents["AS"])
    assert both(result.countries["AF"]) == {"192.0.2.128/25"} | ({"2001:db8::1/128"} if ip_version == 6 else set())
    (database,) = result.databases
    assert (database.path, database.format) == (path, "mmdb Test-Country")
    assert database.countries == {"GB", "AF"}
    assert database.continents == {"EU", "AS"}
    assert database.regions == {"GB-ENG", "GB-OXF"}


def test_only_what_is_wanted_is_given(written: Callable[..., Path]) -> None:
    path = written(write_mmdb({"192.0.2.0/25": OXFORD, "192.0.2.128/25": KABUL}))
    result = read_geo([path], GeoWanted(continents=frozenset({"AS"})))
    assert (result.countries, result.regions, set(result.continents)) == ({}, {}, {"AS"})
    assert result.databases[0].entries == {4: 2, 6: 0}


def test_a_record_with_a_plain_country_code_is_read(written: Callable[..., Path]) -> None:
    path = written(write_mmdb({"192.0.2.0/24": {"country_code": "us"}, "192.0.3.0/24": {"country_code": "-"}}))
    assert both(countries(path, "US").countries["US"]) == {"192.0.2.0/24"}


def test_a_code_of_two_letters_is_a_country_or_a_continent_as_it_was_asked(written: Callable[..., Path]) -> None:
    path = written(write_mmdb({"192.0.2.0/25": KABUL, "192.0.2.128/25": {"continent": {"code": "AF"}}}))
    result = read_geo([path], GeoWanted(countries=frozenset({"AF"}), continents=frozenset({"AF"})))
    assert both(result.countries["AF"]) == {"192.0.2.0/25"}
    assert both(result.continents["AF"]) == {"192.0.2.128/25"}


def test_ways_back_to_ipv4_are_not_walked_again(written: Callable[..., Path]) -> None:
    records = {"192.0.2.0/24": OXFORD, "2001:db8::/32": KABUL}
    content = write_mmdb(records, aliases=["::ffff:0:0/96", "2002::/16", "2001::/32"])
    path = written(content)
    with maxminddb.open_database(path) as reader:
        assert country_of(reader.get("2002:c000:201::")) == {"GB"}
    result = countries(path, "GB", "AF")
    assert both(result.countries["GB"]) == {"192.0.2.0/24"}
    assert both(result.countries["AF"]) == {"2001:db8::/32"}


def test_a_tree_without_ipv4_gives_all_of_ipv4_the_record_above_it(written: Callable[..., Path]) -> None:
    path = written(write_mmdb({"::/64": OXFORD, "2001:db8::/32": KABUL}))
    with maxminddb.open_database(path) as reader:
        assert country_of(reader.get("192.0.2.1")) == {"GB"}
    assert both(countries(path, "GB").countries["GB"]) == {"0.0.0.0/0", "::/64"}


def test_records_that_are_no_maps_or_know_no_country_have_none(written: Callable[..., Path]) -> None:
    records = {
        "192.0.2.0/32": "GB",
        "192.0.2.1/32": {"country": "GB"},
        "192.0.2.2/32": {"country": {"names": {"en": "x"}}, "subdivisions": [{"iso_code": "ENG"}]},
        "192.0.2.3/32": {"country_code": ""},
        "192.0.2.4/32": ["GB"],
        "192.0.2.5/32": {"country": {"iso_code": "GB"}, "subdivisions": {"iso_code": "ENG"}, "continent": {}},
        "192.0.2.6/32": {"country": {"iso_code": "GB"}, "subdivisions": [{"iso_code": "England"}, {}, "ENG"]},
        "192.0.2.7/32": {"location": True, "continent": {"code": "Europe"}, "number": 7, "long": "x" * 300},
    }
    (database,) = countries(written(write_mmdb(records))).databases
    assert database.countries == {"GB"}
    assert not database.regions | database.continents
    assert database.entries == {4: 2, 6: 0}


@pytest.mark.parametrize("code", ["USA", "U", "Ü", "U S", 7, ["US"], b"\x42\xff\xfe"])
def test_a_country_that_cannot_be_read_refuses_the_database(written: Callable[..., Path], code: object) -> None:
    path = written(write_mmdb({"192.0.2.0/24": OXFORD, "198.51.100.0/24": {"country_code": code}}))
    assert "found the country" in refusal(path).message


# What is missing is an error, never an empty country.


def test_countries_that_no_database_has_are_named_all_at_once(written: Callable[..., Path]) -> None:
    one = written(write_mmdb({"192.0.2.0/24": OXFORD}), "one.mmdb")
    other = written("2001:db8::,2001:db8::ff,DE\n", "other.csv")
    error = refusal([one, other], GeoWanted(frozenset({"GB", "DE", "XX", "KP"}), continents=frozenset({"OC"})))
    assert error.message == f"{one}, {other}: found no networks of KP, XX; found no networks of OC"


def test_a_database_of_countries_only_is_refused_for_regions_and_continents(written: Callable[..., Path]) -> None:
    path = written("192.0.2.0,192.0.2.255,GB\n", "country.csv")
    error = refusal(path, GeoWanted(regions=frozenset({"GB-ENG"})))
    assert error.message == f"{path}: found no regions at all, expected GB-ENG"
    assert error.hint == "a City database of MaxMind has subdivisions"
    error = refusal(path, GeoWanted(continents=frozenset({"EU"})))
    assert error.message == f"{path}: found no continents at all, expected EU"


def test_codes_that_are_none_are_refused_before_anything_is_read() -> None:
    for wanted in (
        GeoWanted(countries=frozenset({"us"})),
        GeoWanted(countries=frozenset({"USA"})),
        GeoWanted(regions=frozenset({"CA"})),
        GeoWanted(regions=frozenset({"US-Calif"})),
        GeoWanted(continents=frozenset({"XX"})),
    ):
        assert "expected" in refusal([], wanted).message
    assert code_problem("country", "USA") == "found 'USA', expected two capital letters such as KP (ISO 3166-1)"
    assert code_problem("region", "GB-ENG") == code_problem("continent", "AF") == code_problem("country", "AF") == ""


def test_without_a_database_nothing_is_found() -> None:
    assert (
        refusal([], GeoWanted(frozenset({"KP"}))).message == "no geo database: found no countries at all, expected KP"
    )


# Files: packed, damaged, of another kind.


def test_gzip_and_xz_are_known_by_content_and_checked(written: Callable[..., Path]) -> None:
    content = write_mmdb({"192.0.2.0/24": OXFORD})
    for packed in (content, gzip.compress(content), lzma.compress(content), lzma.compress(content) + bytes(8)):
        assert both(countries(written(packed, "x.bin"), "GB").countries["GB"]) == {"192.0.2.0/24"}
    for packed in (gzip.compress(content), lzma.compress(content)):
        for cut in (12, 20, len(packed) // 2, len(packed) - 1):
            assert "damaged or cut short" in refusal(written(packed[:cut])).message
        broken = bytearray(packed)
        broken[len(packed) // 2] ^= 0xFF
        assert "damaged or cut short" in refusal(written(bytes(broken))).message
    assert "damaged" in refusal(written(lzma.compress(content) + b"more")).message
    assert "damaged" in refusal(written(lzma.compress(b"1") * 101)).message


def test_a_file_that_unpacks_to_too_much_is_refused(written: Callable[..., Path]) -> None:
    for packed in (bytes(1001), gzip.compress(bytes(100_000)), lzma.compress(bytes(100_000))):
        with pytest.raises(InputError, match="found more than 1000 bytes"):
            read_unpacked(written(packed), 1000)
        assert len(read_unpacked(written(packed), 100_000)) > 1000


def test_too_much_text_is_refused(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geo, "MAX_TEXT", 10)
    assert "expected at most 10" in refusal(written("192.0.2.0,192.0.2.255,GB\n", "x.csv")).message


def test_files_that_are_not_there_or_empty_are_refused(written: Callable[..., Path], tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.mmdb").message
    assert "Is a directory" in refusal(tmp_path).message
    assert "null byte" in refusal(tmp_path / "a\0b").message
    assert "empty" in refusal(written(b"")).message
    assert "found no metadata" in refusal(written(b"not a database")).message


# Damaged trees and records.

GB: Final = encode({"country": {"iso_code": "GB"}})


def damage(written: Callable[..., Path], content: bytes) -> str:
    return refusal(written(content), GeoWanted(frozenset({"GB"}))).message


def test_a_loop_on_one_side_is_refused(written: Callable[..., Path]) -> None:
    assert "some node is met twice" in damage(written, raw_mmdb([(0, 1)], GB))
    assert "some node is met twice" in damage(written, raw_mmdb([(0, 1)], GB, ip_version=4))


def test_a_path_that_is_longer_than_an_address_is_refused(written: Callable[..., Path]) -> None:
    chain = [(number + 1, 200) for number in range(200)]
    assert "a path of more than 32 bits" in damage(written, raw_mmdb(chain, GB))
    assert "a path of more than 32 bits" in damage(written, raw_mmdb(chain[:40], GB, ip_version=4))
    right = [(201, number + 1) for number in range(201)]
    assert "a path of more than 128 bits" in damage(written, raw_mmdb(right, GB))


def test_nodes_that_are_shared_do_not_multiply(written: Callable[..., Path]) -> None:
    # Two ways to each of 30 nodes: a walk of all paths would meet two to the power of 30.
    shared_nodes = [(number + 1, number + 1) for number in range(29)] + [(30 + 16, 30 + 16)]
    assert "some node is met twice" in damage(written, raw_mmdb(shared_nodes, GB, ip_version=4))


def test_nodes_that_nothing_leads_to_are_refused(written: Callable[..., Path]) -> None:
    assert "1 of 2 nodes" in damage(written, raw_mmdb([(2 + 16, 2), (2, 2)], GB, ip_version=4))


@pytest.mark.parametrize("link", [2, 16, 17 + len(GB), 0xFFFFFF])
def test_links_that_lead_to_no_record_are_refused(written: Callable[..., Path], link: int) -> None:
    assert "a record outside" in damage(written, raw_mmdb([(link, 1)], GB, ip_version=4))


@pytest.mark.parametrize(
    "metadata",
    [
        {"binary_format_major_version": 3},
        {"ip_version": 5},
        {"record_size": 20},
        {"record_size": "24"},
        {"node_count": 0},
        {"node_count": 2**32},
        {"node_count": {}},
    ],
)
def test_metadata_that_cannot_be_is_refused(written: Callable[..., Path], metadata: dict[str, Any]) -> None:
    assert "found " in damage(written, raw_mmdb([(17, 1)], GB, ip_version=4, metadata=metadata))


def test_pointers_that_go_in_circles_end(written: Callable[..., Path]) -> None:
    record = encode({"country": pointer(0), "continent": pointer(0)})
    assert "found no country" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))
    to_itself = raw_mmdb([(17, 1)], pointer(0), ip_version=4)
    assert "found no country" in damage(written, to_itself)
    keys = raw_mmdb([(17, 1)], b"\xe1" + pointer(1) + encode("GB"), ip_version=4)
    assert "a key that is no text" in damage(written, keys)


def test_maps_inside_maps_do_not_fill_the_stack(written: Callable[..., Path]) -> None:
    deep = b"\xe1\x41x" * 100_000 + encode("end")
    assert "found no country" in damage(written, raw_mmdb([(17, 1)], deep, ip_version=4))


def test_arrays_of_pointers_to_arrays_do_not_multiply(written: Callable[..., Path]) -> None:
    # Written out, the last would have a thousand to the power of ten items.
    data = bytearray(encode("x"))
    place = 0
    for _ in range(10):
        item, place = pointer(place), len(data)
        data += encode([item] * 1000)
    place = len(data)
    data += encode({"country": {"iso_code": "GB"}, "subdivisions": pointer(0), "names": pointer(place - 5007)})
    path = written(raw_mmdb([(17 + place, 1)], bytes(data), ip_version=4))
    assert both(countries(path, "GB").countries["GB"]) == {"0.0.0.0/1"}


def test_records_that_lie_over_one_another_end_in_an_error(written: Callable[..., Path]) -> None:
    # Each of 256 records has all the later ones in it: 5 million steps, were there no budget.
    depth = 20_000
    inner = [(2 * number + 1, 2 * number + 2) for number in range(127)]
    leaves = [(255 + 16 + 6 * number, 255 + 16 + 6 * number + 3) for number in range(128)]
    data = b"\xe1\x41x" * depth + encode("end")
    assert "records lie over one another" in damage(written, raw_mmdb(inner + leaves, data, ip_version=4))


@pytest.mark.parametrize("record", [b"\xe1", b"\xe1\x42x", b"\xe1\x41x\xff\xff\xff\xff", b"\xff\xff\xff\xff", b"\x00"])
def test_values_that_reach_past_the_end_are_refused(written: Callable[..., Path], record: bytes) -> None:
    assert "the data is damaged" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))


@pytest.mark.parametrize("kind", [b"\x00\x05", b"\x00\x06", b"\x00\xff"])
def test_values_of_unknown_kinds_are_refused(written: Callable[..., Path], kind: bytes) -> None:
    record = b"\xe2\x41x" + kind + encode("country_code") + encode("GB")
    assert "unknown kind" in damage(written, raw_mmdb([(17, 1)], record, ip_version=4))


def test_pointers_of_all_lengths_are_followed(written: Callable[..., Path]) -> None:
    for form, base in ((b"\x20", 0), (b"\x28", 2048), (b"\x30", 526336), (b"\x38", 0)):
        width = (form[0] >> 3 & 3) + 1
        record = b"\xe1" + encode("country_code") + form + (300 if width == 4 else 44).to_bytes(width, "big")
        target = 300 if width == 4 else base + 44
        data = record.ljust(target, b"\0") + encode("GB")
        path = written(raw_mmdb([(17, 1)], data, ip_version=4))
        with maxminddb.open_database(path) as reader:
            assert reader.get("0.0.0.1") == {"country_code": "GB"}
        assert both(countries(path, "GB").countries["GB"]) == {"0.0.0.0/1"}


@functools.cache
def small_database() -> bytes:
    return write_mmdb({"192.0.2.0/24": OXFORD, "2001:db8::/32": KABUL}, aliases=["2002::/16"])


def test_a_database_cut_short_anywhere_is_refused(written: Callable[..., Path]) -> None:
    content = small_database()
    for length in [*range(0, len(content), 7), *range(len(content) - 300, len(content))]:
        assert damage(written, content[:length])


@given(st.integers(0, len(small_database()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, at: int, by: int
) -> None:
    content = bytearray(small_database())
    content[at] ^= by
    path = tmp_path_factory.getbasetemp() / "changed.mmdb"
    path.write_bytes(content)
    try:
        result = read_geo([path], GeoWanted(frozenset({"GB", "AF"})))
    except InputError:
        return
    assert all(both(networks) for networks in result.countries.values())


@given(st.binary(max_size=300), st.sampled_from([b"", MARKER]))
def test_bytes_of_no_meaning_are_refused(tmp_path_factory: pytest.TempPathFactory, start: bytes, marker: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.bin"
    path.write_bytes(start + marker + start)
    assert str(path) in refusal(path).message


# Ranges.

IPV4: Final = st.integers(0, 2**32 - 1)
IPV6: Final = st.one_of(
    st.integers(0, 2**128 - 1), st.integers(2**64 - 99, 2**64 + 99), st.integers(2**128 - 99, 2**128 - 1)
)


@given(st.sampled_from([4, 6]), st.data())
def test_many_ranges_become_the_networks_that_one_after_the_other_becomes(version: int, data: st.DataObject) -> None:
    address = IPV4 if version == 4 else IPV6
    pairs = [tuple(sorted(pair)) for pair in data.draw(st.lists(st.tuples(address, address), max_size=8))]
    pairs += [(0, (1 << BITS[version]) - 1), (0, 0)]
    made, origins = Ranges.of(version, [low for low, _ in pairs], [high for _, high in pairs]).networks()
    found = sorted(zip(origins.tolist(), ranges_of(version, made), strict=True))
    expected = [
        (number, (network.value, network.last))
        for number, (low, high) in enumerate(pairs)
        for network in range_to_networks(version, low, high)
    ]
    assert found == expected


def test_ranges_that_become_too_many_networks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MAX_NETWORKS", 100)
    with pytest.raises(InputError, match="more than 100 networks"):
        Ranges.of(6, [1], [2**128 - 2]).networks()
    assert len(Ranges.of(4, [1], [2**32 - 2]).networks()[0]) == 62


def test_no_ranges_are_no_networks() -> None:
    made, origins = Ranges.of(6, [], []).networks()
    assert (len(made), len(origins), made.high.dtype) == (0, 0, np.uint64)


def test_lines_of_ranges_are_read_in_every_spelling(written: Callable[..., Path]) -> None:
    path = written(
        "\ufeff# a comment\r\nstart_ip,end_ip,country\r\n\r\n"
        '"192.0.2.1","192.0.2.6","GB","United Kingdom"\r\n'
        "198.51.100.0 , 198.51.100.0,gb , x,y,z \r\n"
        "::ffff:203.0.113.0,::ffff:203.0.113.255,GB\r\n"
        "2001:db8::,2001:db8::1,GB\r\n"
        "203.0.113.0,203.0.113.255,-\r\n"
        '203.0.113.0,203.0.113.255,""',
        "ranges.csv",
    )
    result = countries(path, "GB")
    assert both(result.countries["GB"]) == {
        *("192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32", "198.51.100.0/32", "203.0.113.0/24"),
        "2001:db8::/127",
    }
    assert result.databases[0].entries == {4: 3, 6: 1}


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2.9,192.0.2.1,GB",
        "192.0.2.1,2001:db8::,GB",
        "192.0.2.1,192.0.2.9",
        "192.0.2.1,192.0.2.300,GB",
        "192.0.2.010,192.0.2.11,GB",
        "192.0.2.1,192.0.2.9,GBR",
        "start,end,country",
        "192.0.2.1",
        "\x00",
        "192.0.2.1,192.0.2.9," + "G" * 10_000,
    ],
)
def test_a_line_that_is_no_range_refuses_the_table(written: Callable[..., Path], line: str) -> None:
    path = written(f"192.0.2.0,192.0.2.0,GB\n{line}\n", "ranges.csv")
    assert refusal(path).message.startswith(f"{path}:2: found ")


def test_tables_without_a_range_are_refused(written: Callable[..., Path]) -> None:
    for content in ("start,end,country\n", "# nothing\n", " \n"):
        assert "found no line with a range" in refusal(written(content, "ranges.csv")).message


# JSON and archives.


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"countryCode": "GB"}',
        '{"countryCode": 7, "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "-", "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "GBR", "prefixes": {"ipv4": ["192.0.2.0/24"]}}',
        '{"countryCode": "GB", "prefixes": {"ipv4": "192.0.2.0/24"}}',
        '{"countryCode": "GB", "prefixes": {"ipv4": ["192.0.2.1/24"]}}',
        '{"countryCode": "GB", "prefixes": {"ipv6": [null]}}',
        "[" * 100_000,
    ],
)
def test_json_that_is_not_ipverses_is_refused(written: Callable[..., Path], content: str) -> None:
    path = written(content, "aggregated.json")
    assert str(path) in refusal(path).message


def test_json_of_a_country_without_networks_is_an_empty_country_and_so_an_error(written: Callable[..., Path]) -> None:
    path = written('{"countryCode": "GB", "prefixes": {}}', "aggregated.json")
    assert "found no networks of GB" in refusal(path, GeoWanted(frozenset({"GB"}))).message


def archive(files: dict[str, str], **fields: Any) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


def test_archives_are_read_by_the_names_of_their_files(written: Callable[..., Path]) -> None:
    files = {
        "LICENSE": "free",
        "ipv4/gb.cidr": "# comment\n192.0.2.0/24\n\n198.51.100.7",
        "ipv6/gb.cidr": "2001:db8::/32\n",
        "ipv4/../../etc/de.cidr": "203.0.113.0/24\n",
        "ipv4/readme.cidr": "no country",
    }
    for packed in (archive(files), gzip.compress(archive(files))):
        result = countries(written(packed, "blocks.tar"), "GB", "DE")
        assert both(result.countries["GB"]) == {"192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"}
        assert result.databases[0].entries == {4: 3, 6: 1}


def test_archives_that_are_damaged_or_of_something_else_are_refused(written: Callable[..., Path]) -> None:
    good = archive({"ipv4/gb.cidr": "192.0.2.0/24\n" * 100})
    assert "damaged archive" in refusal(written(good[:700], "x.tar")).message
    assert (
        "expected a plain one"
        in refusal(written(archive({"gb.cidr": ""}, type=tarfile.GNUTYPE_SPARSE), "x.tar")).message
    )
    error = refusal(written(archive({"GeoLite2-Country.mmdb": "x"}), "x.tar"))
    assert "found no file such as" in error.message
    assert "unpacked" in error.hint
    path = written(archive({"ipv4/gb.cidr": "192.0.2.0/24\n192.0.2.1/24\n"}), "x.tar")
    assert refusal(path).message.startswith(f"{path}: ipv4/gb.cidr:2: found '192.0.2.1/24'")
    assert (
        "networks of GB"
        in refusal(
            written(archive({"gb.cidr": "\n", "de.cidr": "::/1"}), "x.tar"), GeoWanted(frozenset({"GB"}))
        ).message
    )
