"""AS databases: every real file, the longest match against a trie, lists of numbers, and damage."""

from __future__ import annotations

import functools
import gzip
import ipaddress
import json
import lzma
import random
from typing import TYPE_CHECKING, Final

import maxminddb
import pytest
import pytricia
from hypothesis import given
from hypothesis import strategies as st
from support.publishing.covering import Covering, ranges_of
from support.publishing.mmdb import write_mmdb
from support.suite.shared import shared

from authz.addresses import BITS, format_address
from authz.errors import InputError
from authz.publisher.feeds.geo import asn
from authz.publisher.feeds.geo.asn import AsnResult, read_asns
from authz.publisher.feeds.geo.asn_numbers import parse_asn, parse_origin, parse_origins, read_asn_list
from authz.publisher.feeds.geo.asn_routes import owned_ranges, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.publisher.index.prefixes import Prefixes

CSV: Final = ("asn-ipv4.csv.xz", "asn-ipv6.csv.xz")
PYASN: Final = "pyasn-ipasn6_20151101.dat.gz"
LISTS: Final = ("x4bnet-datacenter-ASN.txt", "x4bnet-vpn-ASN.txt", "spamhaus-asn_drop-2024.jsonl")


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write the content of a file, and return its path."""

    def write(content: bytes | str, name: str = "asn.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def both(networks: dict[int, Prefixes]) -> set[str]:
    return {
        f"{format_address(version, first)}/{BITS[version] - (last - first).bit_length()}"
        for version in (4, 6)
        for first, last in ranges_of(version, networks[version])
    }


def refusal(paths: Sequence[Path], *wanted: int, allow_missing: bool = False) -> InputError:
    with pytest.raises(InputError) as caught:
        read_asns(paths, frozenset(wanted), allow_missing=allow_missing)
    return caught.value


@functools.cache
def listed() -> frozenset[int]:
    return frozenset[int]().union(*(read_asn_list(shared(f"data/asn/{name}")) for name in LISTS))


@functools.cache
def listed_of(*names: str) -> AsnResult:
    return read_asns([shared(f"data/asn/{name}") for name in names], listed(), allow_missing=True)


# The real files.


def test_every_file_of_the_data_is_read_here() -> None:
    assert {path.name for path in shared("data/asn").iterdir()} == {*CSV, PYASN, *LISTS}


def test_lists_of_as_numbers_have_as_many_as_their_lines() -> None:
    counts = [len(read_asn_list(shared(f"data/asn/{name}"))) for name in LISTS]
    # x4bnet names 14 numbers twice; of Spamhaus's 202 lines the last is about the list, and says 201 records.
    assert counts == [906 - 14, 15, 202 - 1]


@pytest.mark.parametrize("name", CSV)
def test_ranges_of_every_as_become_as_many_networks_as_the_statistics_say(name: str) -> None:
    expected = json.loads(shared("data/stats.json").read_text())[f"asn/{name}"]
    path = shared(f"data/asn/{name}")
    written = [line.split(",")[2] for line in lzma.decompress(path.read_bytes()).decode().splitlines()]
    result = read_asns([path], frozenset(map(int, written)))
    (database,) = result.databases
    assert database.format == "csv"
    assert database.entries == {4: expected["rng4"], 6: expected["rng6"]}
    assert database.asns == len(result.networks) == len(set(written))
    assert sum(len(networks[v]) for networks in result.networks.values() for v in (4, 6)) == expected["nets"]
    if name == CSV[0]:
        # The one network that is listed twice is of one AS, in two ranges: 215.0.0.0-215.1.3.255 is the first.
        assert expected["nets"] - expected["uniq"] == 1


def test_a_routing_table_has_as_many_routes_as_the_statistics_say() -> None:
    expected = json.loads(shared("data/stats.json").read_text())[f"asn/{PYASN}"]
    (database,) = listed_of(PYASN).databases
    assert (database.format, database.entries) == ("routes", {4: expected["cidr4"], 6: expected["cidr6"]})
    written = gzip.decompress(shared(f"data/asn/{PYASN}").read_bytes()).decode().splitlines()
    assert database.asns == len({line.split("\t")[1] for line in written if not line.startswith(";")})


def test_numbers_of_lists_that_announce_nothing_are_named_and_the_others_found() -> None:
    result = listed_of(*CSV)
    assert (len(listed()), len(result.networks), len(result.missing)) == (1104, 914, 190)
    assert result.networks.keys() | result.missing == listed()
    assert all(sum(map(len, networks.values())) > 0 for networks in result.networks.values())


@functools.cache
def trie(version: int) -> pytricia.PyTricia:
    """The routing table of pyasn as pytricia has it: origins by the longest match."""
    tree = pytricia.PyTricia(BITS[version])
    for line in gzip.decompress(shared(f"data/asn/{PYASN}").read_bytes()).decode().splitlines():
        prefix, _, origin = line.partition("\t")
        if origin and (":" in prefix) == (version == 6):
            tree[prefix] = int(origin)
    return tree


@pytest.mark.parametrize("version", [4, 6])
def test_thousands_of_addresses_have_the_origin_of_their_longest_route(version: int) -> None:
    covering = Covering(version, listed_of(PYASN).networks)
    source = random.Random(version)
    edges = covering.edges
    asked = [source.choice(edges) + source.randint(-1, 1) for _ in range(5000)]
    asked += [source.getrandbits(32) << (BITS[version] - 32) for _ in range(5000)]
    found = 0
    for value in asked:
        origin = trie(version).get(format_address(version, value))
        expected = {origin} & listed()
        assert covering.labels(value) == expected, format_address(version, value)
        found += bool(expected)
    assert found > 3000


def test_a_maxmind_database_of_asns_agrees_with_maxminddb() -> None:
    path = shared("data/geo/maxmind-test/GeoLite2-ASN-Test.mmdb")
    with maxminddb.open_database(path) as reader:
        numbers = {record["autonomous_system_number"] for _, record in reader}
        result = read_asns([path], frozenset(numbers))
        (database,) = result.databases
        assert (database.format, database.entries, database.asns) == (
            "mmdb GeoLite2-ASN",
            {4: 182, 6: 230},
            len(numbers),
        )
        for version in (4, 6):
            address = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
            covering = Covering(version, result.networks)
            for value in covering.edges:
                record = reader.get(address(value))
                assert covering.labels(value) == {record["autonomous_system_number"]}  # type: ignore[index,call-overload]


# Routing tables.


def test_a_longer_route_of_another_as_is_taken_out(written: Callable[..., Path]) -> None:
    path = written(
        "; comment\n192.0.2.0/24\t64496\n192.0.2.128/25\t64497\n192.0.2.192/26\t64496\n2001:db8::/32\t64497\n"
    )
    result = read_asns([path], frozenset({64496, 64497}))
    assert both(result.networks[64496]) == {"192.0.2.0/25", "192.0.2.192/26"}
    assert both(result.networks[64497]) == {"192.0.2.128/26", "2001:db8::/32"}


def test_a_longer_route_that_nobody_announces_is_taken_out(written: Callable[..., Path]) -> None:
    path = written("192.0.2.0/24\t64496\n192.0.2.128/25\t0\n")
    result = read_asns([path], frozenset({64496}))
    assert both(result.networks[64496]) == {"192.0.2.0/25"}
    assert result.databases[0].entries == {4: 1, 6: 0}


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.0/24\t{64496,64497}",
        "192.0.2.0/24\t64496_64497",
        "192.0.2.0\t24\t64496_64497",
        "192.0.2.0\t24\t64496,64497",
        "192.0.2.0/24\t64496\n192.0.2.0/24\t64497",
        "192.0.2.0/24\t64496\n192.0.0.0/16\t64498\n192.0.2.0/24\t64497\n192.0.2.0/24\t0",
    ],
)
def test_a_network_of_several_origins_belongs_to_each(written: Callable[..., Path], text: str) -> None:
    result = read_asns([written(text)], frozenset({64496, 64497}))
    assert both(result.networks[64496]) == both(result.networks[64497]) == {"192.0.2.0/24"}


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2.1/24\t64496",
        "192.0.2.0/33\t64496",
        "192.0.2.0/24\t",
        "192.0.2.0/24\tAS",
        "192.0.2.0/24\t4294967296",
        "192.0.2.0/24\t{64496",
        "192.0.2.0/24 64496",
        "192.0.2.0\t24\t64496\tmore",
        "192.0.2.0/24",
        "1.10\t64496",
        "<html>",
    ],
)
def test_a_line_that_is_no_route_refuses_the_table(written: Callable[..., Path], line: str) -> None:
    path = written(f"198.51.100.0/24\t64496\n{line}\n")
    assert refusal([path], 64496).message.startswith(f"{path}:2: found ")


PREFIXES: Final = st.tuples(st.integers(0, 255), st.integers(24, 32), st.sets(st.integers(1, 4), max_size=2))


@given(st.lists(PREFIXES, max_size=20))
def test_pieces_have_the_origins_of_the_longest_route_around_them(rows: list[tuple[int, int, set[int]]]) -> None:
    routes = [(value >> (32 - length) << (32 - length), length, frozenset(owners)) for value, length, owners in rows]
    owned: dict[int, frozenset[int]] = {}
    for first, last, owners in owned_ranges(4, routes):
        for value in range(first, last + 1):
            assert value not in owned
            owned[value] = owners
    for value in range(256):
        around = [route for route in routes if route[0] <= value < route[0] + (1 << (32 - route[1]))]
        longest = max((length for _, length, _ in around), default=None)
        if longest is None:
            assert value not in owned
        else:
            assert owned[value] == frozenset[int]().union(
                *(owners for _, length, owners in around if length == longest)
            )


def test_routes_to_everything_reach_the_last_address() -> None:
    routes = read_routes(b"::/0\t1\nffff::/16\t2\n0.0.0.0/0\t3", "x")
    first, two, three = (frozenset({number}) for number in (1, 2, 3))
    assert list(owned_ranges(4, routes[4])) == [(0, 2**32 - 1, three)]
    assert list(owned_ranges(6, routes[6])) == [(0, (0xFFFF << 112) - 1, first), (0xFFFF << 112, 2**128 - 1, two)]
    assert list(owned_ranges(4, [])) == []


# Ranges.


def test_ranges_have_names_with_commas_quotes_and_spaces_behind(written: Callable[..., Path]) -> None:
    path = written(
        'start,end,asn,name\n192.0.2.0,192.0.2.255,64496,"Example, Inc."\n'
        "198.51.100.1,198.51.100.6,AS64497,Example \n203.0.113.0,203.0.113.255,0,\n2001:db8::,2001:db8::ffff,64496,x\n"
        '192.0.2.0,192.0.2.255,64498,an open " quote\n'
    )
    result = read_asns([path], frozenset({64496, 64497, 64498}))
    assert both(result.networks[64496]) == {"192.0.2.0/24", "2001:db8::/112"}
    assert both(result.networks[64497]) == {"198.51.100.1/32", "198.51.100.2/31", "198.51.100.4/31", "198.51.100.6/32"}
    assert both(result.networks[64498]) == {"192.0.2.0/24"}
    assert (result.databases[0].entries, result.databases[0].asns) == ({4: 3, 6: 1}, 3)


@pytest.mark.parametrize("number", ["64496x", "4294967296", "-1", "AS", "1.10", "64496_64497", "²"])
def test_a_range_of_no_as_number_refuses_the_table(written: Callable[..., Path], number: str) -> None:
    path = written(f"192.0.2.0,192.0.2.255,64496\n198.51.100.0,198.51.100.255,{number}\n")
    assert refusal([path], 64496).message.startswith(f"{path}:2: found ")


def test_several_files_are_read_as_one(written: Callable[..., Path]) -> None:
    paths = [
        written("192.0.2.0/24\t64496\n", "routes.dat"),
        written("2001:db8::,2001:db8::ffff,64496\n", "ranges.csv"),
        written(gzip.compress(write_mmdb({"198.51.100.0/24": {"autonomous_system_number": 64496}})), "asn.mmdb.gz"),
    ]
    result = read_asns(paths, frozenset({64496}))
    assert both(result.networks[64496]) == {"192.0.2.0/24", "198.51.100.0/24", "2001:db8::/112"}
    assert [database.format for database in result.databases] == ["routes", "csv", "mmdb Test-Country"]
    assert [database.path for database in result.databases] == paths


# What is missing is an error.


def test_numbers_that_no_database_has_are_named(written: Callable[..., Path]) -> None:
    path = written("192.0.2.0/24\t64496\n")
    assert refusal([path], 64496, 64511, 64500).message == f"{path}: found no networks of AS64500, AS64511"
    assert refusal([path], 64496, *range(1, 31)).message.endswith("AS19, AS20 and 10 more")
    result = read_asns([path], frozenset({64496, 64500}), allow_missing=True)
    assert set(result.networks) == {64496}
    assert result.missing == {64500}


def test_a_list_of_which_nothing_is_found_is_an_error_in_any_case(written: Callable[..., Path]) -> None:
    path = written("192.0.2.0/24\t64496\n")
    assert "AS64500" in refusal([path], 64500, allow_missing=True).message
    assert "no AS database" in refusal([], 64500, allow_missing=True).message
    assert read_asns([path], frozenset()).networks == {}


def test_numbers_that_are_none_are_refused(written: Callable[..., Path]) -> None:
    path = written("192.0.2.0/24\t64496\n")
    for number in (0, -1, 2**32):
        assert f"found {number}, expected an AS number" in refusal([path], number).message


def test_databases_of_something_else_are_refused(written: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    country = write_mmdb({"192.0.2.0/24": {"country_code": "GB"}})
    assert "found no AS number in it" in refusal([written(country, "x.mmdb")], 64496).message
    assert "found no metadata" in refusal([written("192.0.2.0/24\t64496\n", "x.mmdb")], 64496).message
    assert "found no line with a range" in refusal([written("# nothing\n")], 64496).message
    assert "found no AS number in it" in refusal([written("192.0.2.0/24\t0\n")], 64496).message
    assert "expected network<TAB>origin" in refusal([written("192.0.2.0\t192.0.2.255\t64496\tGB\tx\n")], 64496).message
    monkeypatch.setattr(asn, "MAX_TEXT", 10)
    assert "expected at most 10" in refusal([written("192.0.2.0/24\t64496\n")], 64496).message


# Lists of numbers.


def test_lists_have_numbers_with_comments_or_json_lines(written: Callable[..., Path]) -> None:
    lines = "# numbers\nAS64496 # one\n64497\nas64498\r\n\n; two\nAS64496\n"
    assert read_asn_list(written(lines)) == {64496, 64497, 64498}
    lines = '{"asn":64496,"cc":"US"}\n{"asn":64497}\n{"type":"metadata","records":2}\n'
    assert read_asn_list(written(lzma.compress(lines.encode()))) == {64496, 64497}


@pytest.mark.parametrize(
    "line",
    ["AS64496 example", "ASN64496", "AS", "0", "AS0", "4294967296", "1.10", "{", '{"asn":"1"}', '{"asn":true}', "{}"],
)
def test_a_line_that_is_no_number_refuses_the_list(written: Callable[..., Path], line: str) -> None:
    path = written(f"AS64496\n{line}\n")
    with pytest.raises(InputError) as caught:
        read_asn_list(path)
    assert caught.value.message.startswith(f"{path}:2: ")


def test_a_list_without_a_number_is_refused(written: Callable[..., Path]) -> None:
    for content in ("# nothing\n", '{"type":"metadata"}\n'):
        with pytest.raises(InputError, match="found no AS number"):
            read_asn_list(written(content))


def test_numbers_and_sets_of_them_are_read_strictly() -> None:
    assert [parse_asn(text) for text in ("AS1", "1", "as4294967295", "4294967296", "0", "AS-1", "", "1 ")] == [
        *(1, 1, 4294967295),
        *(None, None, None, None, None),
    ]
    assert [parse_origin(text, "x") for text in ("", "-", "0", "AS0", "AS7")] == [0, 0, 0, 0, 7]
    assert parse_origins("{1,2}", "x") == parse_origins("1_2", "x") == parse_origins("1 2", "x") == {1, 2}
    assert parse_origins("0", "x") == parse_origins("", "x") == frozenset()
    with pytest.raises(InputError, match="x: found '1__x'"):
        parse_origins("1__x", "x")
