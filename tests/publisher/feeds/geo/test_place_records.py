"""What records of geo databases say, and what is missing of them."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import maxminddb
import pytest
from support.publishing.mmdb import write_mmdb
from support.publishing.places import KABUL, OXFORD, both, countries, country_of, refusal, texts

from authz.errors import InputError
from authz.publisher.feeds.decompress import read_unpacked
from authz.publisher.feeds.geo import places as geo
from authz.publisher.feeds.geo.places import GeoWanted, code_problem, read_geo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
