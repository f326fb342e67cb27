"""Entries that name countries, regions, AS numbers and hosts."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from support.publishing.mmdb import write_mmdb
from support.publishing.policy_text import A_HOST, NO_PATTERN, OFFLINE, covered, entry

from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.subjects import SubjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.publisher.policy.read import Policy

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]

A_COUNTRY = "two capital letters such as KP (ISO 3166-1)"
A_REGION = "a country and a subdivision such as US-CA (ISO 3166-2)"
AN_ASN = "an AS number from 1 to 4294967295"


# Mistakes: entries


def test_a_country_or_asn_without_a_database_is_told(wrong: Wrong) -> None:
    assert wrong(entry("countries: [KP, NO]")) == [
        (
            "3: entries[0].countries: found KP, NO, and geo.country is missing, expected a database "
            "(such as geo: {country: geo/country.mmdb})"
        )
    ]
    assert wrong(entry("asns: [64496]") + "geo:\n  country: c.csv\n") == [
        "3: entries[0].asns: found 64496, and geo.asn is missing, expected a database (such as geo: {asn: geo/asn.csv})"
    ]


def test_a_database_that_is_not_there_is_told(wrong: Wrong) -> None:
    text = entry("countries: [KP], asns: [64496]") + "geo:\n  country: c.csv\n  asn: a.csv\n"
    assert wrong(text) == [
        "5: geo.country: c.csv: cannot be read: No such file or directory",
        "6: geo.asn: a.csv: cannot be read: No such file or directory",
    ]


def test_countries_and_asns_are_the_networks_of_the_databases(read: Read, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("192.0.2.0,192.0.2.255,NO\n198.51.100.0,198.51.100.255,KP\n")
    (tmp_path / "a.csv").write_text(
        '203.0.113.0,203.0.113.127,64496,"Example, Inc."\n203.0.113.128,203.0.113.255,7,"B"\n'
    )
    policy = read(entry("countries: [NO], asns: [64496]") + "geo: {country: c.csv, asn: a.csv}")
    assert covered(policy) == ["192.0.2.0/24", "203.0.113.0/25"]
    assert policy.entries[0].subjects == ("country NO", "asn 64496")


def test_a_host_that_does_not_resolve_is_told(wrong: Wrong) -> None:
    line = "3: entries[0].hosts: 'vpn.example.com' does not resolve: offline (--allow-unresolved takes it)"
    assert wrong(entry("hosts: [VPN.example.com]"), options=OFFLINE) == [line]


def test_a_host_that_does_not_resolve_may_be_allowed(read: Read) -> None:
    policy = read(entry("hosts: [vpn.example.com]"), options=OFFLINE._replace(allow_unresolved=True))
    assert covered(policy) == []
    assert policy.warnings == ("'vpn.example.com' does not resolve: offline",)


def test_a_host_is_the_addresses_of_its_last_answer(read: Read, tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text(
        '{"vpn.example.com": {"addresses": ["192.0.2.1", "2001:db8::1"], "at": 1796083200}}'
    )
    options = SubjectOptions(hosts=HostOptions(offline=True, cache=tmp_path / "hosts.json"))
    assert covered(read(entry("hosts: [vpn.example.com]"), options=options)) == ["192.0.2.1/32", "2001:db8::1/128"]


# What entries name besides networks


RANGES = "192.0.2.0,192.0.2.255,NO\n198.51.100.0,198.51.100.255,KP\n"


CITIES = {
    "192.0.2.0/25": {"continent": {"code": "NA"}, "country": {"iso_code": "US"}, "subdivisions": [{"iso_code": "CA"}]},
    "192.0.2.128/25": {"continent": {"code": "NA"}, "country": {"iso_code": "US"}},
    "2001:db8::/32": {"continent": {"code": "AF"}, "country": {"iso_code": "AF"}},
}


def test_one_database_may_stand_alone_and_several_are_read_as_one(read: Read, tmp_path: Path) -> None:
    (tmp_path / "v4.csv").write_text(RANGES)
    (tmp_path / "v6.csv").write_text("2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,NO\n")
    for written, expected in (
        ("v4.csv", ["192.0.2.0/24"]),
        ("[v4.csv]", ["192.0.2.0/24"]),
        ("[v4.csv, v6.csv]", ["192.0.2.0/24", "2001:db8::/32"]),
    ):
        assert covered(read(entry("countries: [NO]") + f"geo: {{country: {written}}}")) == expected


def test_regions_and_continents_are_the_networks_of_a_city_database(read: Read, tmp_path: Path) -> None:
    (tmp_path / "city.mmdb").write_bytes(write_mmdb(CITIES))
    for subject, expected in (
        ("regions: [US-CA]", ["192.0.2.0/25"]),
        ("countries: [US]", ["192.0.2.0/25", "192.0.2.128/25"]),
        ("countries: [AF]", ["2001:db8::/32"]),
        ("continents: [AF]", ["2001:db8::/32"]),
        ("continents: [NA, AF], except: [192.0.2.0/25]", ["192.0.2.0/25", "192.0.2.128/25", "2001:db8::/32"]),
    ):
        assert covered(read(entry(subject) + "geo: {country: city.mmdb}")) == expected


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("countries: KP", "countries: found 'KP', expected a list"),
        ("countries: [PRK]", f"countries[0]: found 'PRK', expected {A_COUNTRY}"),
        ("countries: ['']", f"countries[0]: found nothing, expected {A_COUNTRY}"),
        ("countries: [K\u00d6]", f"countries[0]: found 'K\\xd6', expected {A_COUNTRY}"),
        ("regions: [US]", f"regions[0]: found 'US', expected {A_REGION}"),
        ("regions: [us-ca]", f"regions[0]: found 'us-ca', expected {A_REGION} (did you mean 'US-CA'?)"),
        ("regions: [US-CALI]", f"regions[0]: found 'US-CALI', expected {A_REGION}"),
        ("continents: [XX]", "continents[0]: found 'XX', expected AF, AN, AS, EU, NA, OC or SA"),
        ("continents: [eu]", "continents[0]: found 'eu', expected AF, AN, AS, EU, NA, OC or SA (did you mean 'EU'?)"),
        ("asns: [4294967296]", f"asns[0]: found '4294967296', expected {AN_ASN}"),
        ("asns: [-1]", f"asns[0]: found '-1', expected {AN_ASN}"),
        ("asns: [064496]", f"asns[0]: found '064496', expected {AN_ASN}"),
        ("asns: [\u0661]", f"asns[0]: found '\\u0661', expected {AN_ASN}"),
        (
            "hosts: [vpn.example.com:443]",
            f"hosts[0]: found 'vpn.example.com:443', expected {A_HOST} (did you mean 'vpn.example.com'?)",
        ),
        (
            "hosts: ['*.example.com']",
            f"hosts[0]: found '*.example.com', expected {A_HOST} ({NO_PATTERN})",
        ),
    ],
    ids=ascii,
)
def test_what_is_no_code_number_or_name_is_told(wrong: Wrong, rest: str, expected: str) -> None:
    assert wrong(entry(rest)) == [f"3: entries[0].{expected}"]


def test_what_no_database_has_is_told_all_at_once(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(RANGES)
    (tmp_path / "a.csv").write_text("192.0.2.0,192.0.2.255,64496,A\n")
    subjects = "countries: [NO, SE, DK], regions: [US-CA], continents: [AF], asns: [64496, 64497, 64498]"
    assert wrong(entry(subjects) + "geo:\n  country: c.csv\n  asn: a.csv\n") == [
        (
            "5: geo.country: c.csv: found no networks of DK, SE; found no regions at all, expected US-CA; "
            "found no continents at all, expected AF (a City database of MaxMind has subdivisions; "
            "a Country database of MaxMind has continents; others have countries only)"
        ),
        "6: geo.asn: a.csv: found no networks of AS64497, AS64498 (an AS that announces nothing has none)",
    ]


@pytest.mark.parametrize("content", [b"", b"nothing,to,see\n", b"\0" * 400, write_mmdb(CITIES)[:-40]])
def test_a_damaged_database_is_a_mistake_and_no_empty_country(wrong: Wrong, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "country.mmdb").write_bytes(content)
    (line,) = wrong(entry("countries: [NO]") + "geo: {country: country.mmdb}")
    assert line.startswith("4: geo.country: country.mmdb")


def test_a_database_is_not_looked_at_where_nobody_asks(read: Read) -> None:
    assert covered(read(entry("networks: [192.0.2.1]") + "geo: {country: none.mmdb, asn: none.csv}")) == [
        "192.0.2.1/32"
    ]


def test_the_geo_section_has_two_keys(wrong: Wrong) -> None:
    assert wrong("version: 1\ngeo:\n  region: a.mmdb\n  country: {a: b}\n  asn: ''\n") == [
        "3: geo.region: unknown key (known here: country, asn)",
        "4: geo.country: found a mapping, expected a list",
    ]


# Hosts


def test_every_host_that_does_not_resolve_is_told_at_its_entry(wrong: Wrong) -> None:
    text = "version: 1\nentries:\n- {list: deny, hosts: [a.example]}\n- {list: allow, hosts: [b.example, a.example]}\n"
    assert wrong(text, options=OFFLINE) == [
        "3: entries[0].hosts: 'a.example' does not resolve: offline (--allow-unresolved takes it)",
        "4: entries[1].hosts: 'a.example' does not resolve: offline (--allow-unresolved takes it)",
        "4: entries[1].hosts: 'b.example' does not resolve: offline (--allow-unresolved takes it)",
    ]


def test_an_old_answer_is_taken_with_a_warning_that_says_its_age(read: Read, tmp_path: Path) -> None:
    answered = int(time.time()) - 3600
    (tmp_path / "hosts.json").write_text(f'{{"vpn.example.com": {{"addresses": ["192.0.2.1"], "at": {answered}}}}}')
    policy = read(
        entry("hosts: [vpn.example.com]"), options=SubjectOptions(HostOptions(tmp_path / "hosts.json", offline=True))
    )
    (warning,) = policy.warnings
    match = re.fullmatch(r"'vpn\.example\.com': offline; took the answer of (36\d\d) seconds ago", warning)
    assert match


def test_a_damaged_cache_of_hosts_is_a_mistake(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text("[]")
    (line,) = wrong(
        entry("hosts: [a.example]"), options=SubjectOptions(HostOptions(tmp_path / "hosts.json", offline=True))
    )
    assert re.fullmatch(r"3: entries: hosts\.json: found no cache of host names: .* \(remove the file\)", line)
