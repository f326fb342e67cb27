"""What an operator gets wrong in the entries of policy.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.policy_text import A_NETWORK, A_SOURCE, backwards, entry, host_bits, too_wide

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Wrong = Callable[..., list[str]]

A_TOKEN = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
NOBODY = "names nobody (expected one or more of networks, hosts, countries, regions, continents, asns, sources)"
A_TIME = "a time such as 2026-12-01T00:00:00Z"


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("id: 'a b', networks: [192.0.2.1]", f"id: found 'a b', expected {A_TOKEN}"),
        ("id: '', networks: [192.0.2.1]", f"id: found nothing, expected {A_TOKEN}"),
        (f"id: {'a' * 65}, networks: [192.0.2.1]", f"id: found '{'a' * 65}', expected {A_TOKEN}"),
        ("networks: 192.0.2.1", "networks: found '192.0.2.1', expected a list"),
        ("networks: [shop.example.com]",
         f"networks[0]: found 'shop.example.com', expected {A_NETWORK} (a host name stands under `hosts`)"),
        ("networks: [192.0.2.1, 192.0.2.300]", f"networks[1]: found '192.0.2.300', expected {A_NETWORK}"),
        ("networks: ['']", f"networks[0]: found '', expected {A_NETWORK}"),
        ("networks: [192.0.2.010]",
         ("networks[0]: found '192.0.2.010', expected no leading zeros, such as 192.0.2.10: some programs read them "
         "as octal")),
        ("networks: [192.0.2.0/33]", "networks[0]: found '192.0.2.0/33', expected a prefix length from 0 to 32"),
        ("networks: ['2001:db8::/129']", "networks[0]: found '2001:db8::/129', expected a prefix length from 0 to 128"),
        ("networks: [[192.0.2.1]]", f"networks[0]: found a list, expected {A_NETWORK}"),
        ("networks: &n [*n]", f"networks[0]: found a list, expected {A_NETWORK}"),
        ("networks: [192.0.2.1-2001:db8::1]",
         "networks[0]: found '192.0.2.1-2001:db8::1', expected a range of one version, not IPv4 and IPv6"),
        ("networks: [192.0.2.9-192.0.2.1]", f"networks[0]: {backwards('192.0.2.9-192.0.2.1', '192.0.2.1-192.0.2.9')}"),
        ("networks: [192.0.2.7/24]", f"networks[0]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}"),
        ("networks: [192.0.2.1], except: [192.0.2.7/24]", f"except[0]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}"),
        ("networks: [192.0.2.1], except: [nobody]", f"except[0]: found 'nobody', expected {A_NETWORK}"),
        ("networks: [0.0.0.0/0]", f"networks[0]: {too_wide('0.0.0.0/0')}"),
        ("networks: [10.0.0.0/11]", f"networks[0]: {too_wide('10.0.0.0/11')}"),
        ("networks: ['2001:db8::/31']", f"networks[0]: {too_wide('2001:db8::/31', 6)}"),
        ("networks: ['::/0']", f"networks[0]: {too_wide('::/0', 6)}"),
        ("networks: [10.0.0.0-11.255.255.255]", f"networks[0]: {too_wide('10.0.0.0/7')}"),
        ("sources: tor", "sources: found 'tor', expected a list"),
        ("sources: [Tor]", f"sources[0]: found 'Tor', expected {A_SOURCE}"),
        ("sources: [tor exit]", f"sources[0]: found 'tor exit', expected {A_SOURCE}"),
        ("networks: [192.0.2.1], applications: shop", "applications: found 'shop', expected a list"),
        ("networks: [192.0.2.1], applications: [shop]",
         "applications: found 'shop', expected a name under applications (known: none)"),
        ("networks: [192.0.2.1], applications: ['*']",
         f"applications[0]: found '*', expected {A_TOKEN} (leave the key out for all applications)"),
        ("networks: [192.0.2.1], applications: []",
         "applications: found an empty list, expected names (leave the key out for all applications)"),
        ("networks: [192.0.2.1], action: allow", "action: found 'allow', expected one of block, warn"),
        ("networks: [192.0.2.1], starts: 2026-12-01",
         f"starts: found '2026-12-01', expected {A_TIME} (did you mean '2026-12-01T00:00:00Z'?)"),
        ("networks: [192.0.2.1], starts: 2026-12-01T00:00:00",
         f"starts: found '2026-12-01T00:00:00', expected {A_TIME} (did you mean '2026-12-01T00:00:00Z'?)"),
        ("networks: [192.0.2.1], starts: tomorrow", f"starts: found 'tomorrow', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: \u0662026-12-01T00:00:00Z",
         f"starts: found '\\u0662026-12-01T00:00:00Z', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: 2026-12-0\u0661T00:00:00Z",
         f"starts: found '2026-12-0\\u0661T00:00:00Z', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: 1796083200", f"starts: found '1796083200', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: 2026-02-30T00:00:00Z",
         f"starts: found '2026-02-30T00:00:00Z', expected {A_TIME} (day is out of range for month)"),
        ("networks: [192.0.2.1], starts: 2026-12-01T24:00:00Z",
         f"starts: found '2026-12-01T24:00:00Z', expected {A_TIME} (hour must be in 0..23)"),
        ("networks: [192.0.2.1], expires: never", f"expires: found 'never', expected {A_TIME}"),
        ("networks: [192.0.2.1], expires: ", f"expires: found nothing, expected {A_TIME}"),
        ("networks: [192.0.2.1], expires: 9999-12-31T23:59:59-01:00",
         f"expires: found '9999-12-31T23:59:59-01:00', expected {A_TIME}"),
        ("networks: [192.0.2.1], expires: 0001-01-01T00:00:00+01:00",
         f"expires: found '0001-01-01T00:00:00+01:00', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: 2026-12-01T00:00:00Z, expires: 2026-12-01T00:04:59Z",
         "expires: found a window of 299 seconds, expected at least 300"),
        ("networks: [192.0.2.1], starts: 2026-12-01T00:00:00Z, expires: 2026-12-01T00:00:00Z",
         "expires: found a window of 0 seconds, expected at least 300"),
        ("networks: [192.0.2.1], starts: 2026-12-01T01:00:00Z, expires: 2026-12-01T00:00:00Z",
         ("expires: found an end before the start, which is 2026-12-01T01:00:00Z, expected it after "
         "(are the two swapped?)")),
        ("networks: [192.0.2.1], reason: [a]", "reason: found a list, expected text"),
        ("networks: [192.0.2.1], reason: ", "reason: found nothing, expected text"),
        ("networks: [192.0.2.1], netwroks: []", "netwroks: unknown key (did you mean 'networks'?)"),
        ("networks: [192.0.2.1], networks: [192.0.2.2]", "networks: found twice, expected once"),
        ("networks: [192.0.2.1], countries: [no]",
         "countries[0]: found 'no', expected two capital letters such as KP (ISO 3166-1) (did you mean 'NO'?)"),
        ("networks: [192.0.2.1], asns: [AS64496]",
         "asns[0]: found 'AS64496', expected an AS number from 1 to 4294967295 (did you mean 64496?)"),
        ("networks: [192.0.2.1], asns: [0]", "asns[0]: found '0', expected an AS number from 1 to 4294967295"),
        ("networks: [192.0.2.1], asns: [12:30]", "asns[0]: found '12:30', expected an AS number from 1 to 4294967295"),
    ],
    ids=lambda text: ascii(text[:60]),
)  # fmt: skip
def test_a_mistake_in_an_entry_is_told(wrong: Wrong, rest: str, expected: str) -> None:
    assert wrong(entry(rest)) == [f"3: entries[0].{expected}"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- {networks: [192.0.2.1]}", "3: entries[0].list: missing"),
        ("- {list: black, networks: [192.0.2.1]}",
         "3: entries[0].list: found 'black', expected one of allow, deny, gray"),
        ("- {list: deny}", f"3: entries[0]: {NOBODY}"),
        ("- {list: deny, networks: []}",
         f"3: entries[0]: {NOBODY}"),
        ("- {list: deny, except: [192.0.2.1]}",
         f"3: entries[0]: {NOBODY}"),
        ("- {list: deny, sources: [tor]}", "3: entries[0].sources: found 'tor', which no feed gives (given: none)"),
        ("- {id: a, list: deny, networks: [192.0.2.1]}\n- {id: a, list: deny, networks: [192.0.2.2]}",
         "4: entries[1].id: found 'a' twice, expected each id once (the first is in line 3)"),
        ("- {list: deny, networks: [192.0.2.0/24]}\n- {list: deny, networks: [192.0.2.0-192.0.2.255], reason: x}",
         "4: entries[1]: found the same entry twice, expected each entry once (the first is in line 3)"),
    ],
)  # fmt: skip
def test_a_mistake_of_entries_is_told(wrong: Wrong, text: str, expected: str) -> None:
    assert wrong(f"version: 1\nentries:\n{text}\n") == [expected]


def test_a_mistake_in_a_list_stands_at_its_place_in_the_file_whatever_stands_before_it(wrong: Wrong) -> None:
    text = """\
version: 1
entries:
- list: deny
  networks:
  - nobody
  - 192.0.2.7/24
  - 10.0.0.0/8
  - 192.0.2.7/24
  except:
  - nobody
  - 192.0.2.9/24
"""
    assert wrong(text) == [
        f"5: entries[0].networks[0]: found 'nobody', expected {A_NETWORK}",
        f"6: entries[0].networks[1]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}",
        f"7: entries[0].networks[2]: {too_wide('10.0.0.0/8')}",
        f"8: entries[0].networks[3]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}",
        f"10: entries[0].except[0]: found 'nobody', expected {A_NETWORK}",
        f"11: entries[0].except[1]: {host_bits('192.0.2.9/24', '192.0.2.0/24')}",
    ]


def test_the_names_that_would_have_been_right_are_told(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    text = """\
version: 1
applications: {"*": {}, shop: {}, admin: {}}
entries: [{list: deny, sources: [tro, vpn], applications: [shpo, shop]}]
feeds: [{source: vpn, path: a.txt}, {source: tor, path: a.txt}]
"""
    assert wrong(text) == [
        "3: entries[0].applications: found 'shpo', expected a name under applications (known: shop, admin)",
        "3: entries[0].sources: found 'tro', which no feed gives (given: tor, vpn)",
    ]
