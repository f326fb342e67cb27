"""What an operator gets right and wrong in policy.yaml."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.mmdb import write_mmdb

from authz.addresses import Network, format_address, parse_networks
from authz.engine.model import Application, DenyAnswer, Entry
from authz.errors import InputError, InvalidDocument
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.read import Policy, read_policy
from authz.publisher.policy.subjects import SubjectOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from authz.publisher.index.prefixes import Prefixes

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]

A_NETWORK = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"
A_TOKEN = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
NOBODY = "names nobody (expected one or more of networks, hosts, countries, regions, continents, asns, sources)"
A_TIME = "a time such as 2026-12-01T00:00:00Z"
A_HOST = "a host name such as shop.example.com"
A_COUNTRY = "two capital letters such as KP (ISO 3166-1)"
A_REGION = "a country and a subdivision such as US-CA (ISO 3166-2)"
AN_ASN = "an AS number from 1 to 4294967295"
A_SOURCE = "a source type such as tor: small letters, digits and '_'"


def host_bits(found: str, meant: str) -> str:
    return f"found '{found}', expected a network without host bits (did you mean '{meant}'? --lenient takes it)"


def backwards(found: str, meant: str) -> str:
    return f"found '{found}', expected a range whose end is not before its start (did you mean '{meant}'?)"


def too_wide(found: str, version: int = 4) -> str:
    limit = {4: 12, 6: 32}[version]
    return f"found {found}, expected a network of /{limit} or longer (limits.widest_ipv{version} says so)"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a policy from its text."""

    def reading(text: str, **options: Any) -> Policy:
        (tmp_path / "policy.yaml").write_text(text, encoding="utf-8")
        return read_policy(tmp_path / "policy.yaml", **options)

    return reading


@pytest.fixture
def wrong(read: Read, tmp_path: Path) -> Wrong:
    """Read a wrong policy: the lines of the error, each without the name of the file."""

    def reading(text: str, **options: Any) -> list[str]:
        with pytest.raises(InvalidDocument) as caught:
            read(text, **options)
        lines = caught.value.message.split("\n")
        assert all(line.startswith(f"{tmp_path}/policy.yaml:") for line in lines)
        return [line.removeprefix(f"{tmp_path}/policy.yaml:").replace(f"{tmp_path}/", "") for line in lines]

    return reading


def entry(rest: str) -> str:
    """Return a policy with one entry, on line 3."""
    return f"version: 1\nentries:\n- {{list: deny, {rest}}}\n"


def application(settings: str) -> str:
    """Return a policy with one application, on line 3."""
    return f"version: 1\napplications:\n  shop: {{{settings}}}\n"


def texts(prefixes: Prefixes, version: int) -> list[str]:
    """Return networks as text, sorted."""
    found = [
        (((int(high) << 64 | int(low)) >> (96 if version == 4 else 0)), int(length))
        for high, low, length in zip(*prefixes, strict=True)
    ]
    return [f"{format_address(version, value)}/{length}" for value, length in sorted(found)]


def covered(policy: Policy, number: int = 0) -> list[str]:
    return [text for version in (4, 6) for text in texts(policy.networks[number].networks[version], version)]


def excepted(policy: Policy, number: int = 0) -> list[str]:
    return [text for version in (4, 6) for text in texts(policy.networks[number].holes[version], version)]


# What is taken


def test_the_smallest_policy_has_the_general_settings_and_no_entry(read: Read) -> None:
    assert read("version: 1") == Policy((Application("*"),), (), ())
    for rest in ("applications:\n", "applications: {}\nentries: []\nfeeds: []\ngeo: {}\nlimits: {}\n"):
        assert read(f"version: 1\n{rest}") == Policy((Application("*"),), (), ())


def test_a_whole_policy_is_read(read: Read, tmp_path: Path) -> None:
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "tor.lst").write_text("198.51.100.1\n2001:db8:70::/48\n")
    policy = read("""\
version: 1
applications:
  "*": {mode: monitoring, default: deny, deny: {status: 404}}
  shop:
    mode: safe_blocking
    default: allow
    precedence: most_specific
    match: path
    dry_run: true
    denylist_in_monitoring: false
    hosts: [Shop.example.com, www.example.com]
    deny: {status: 451, body: "no\\n", content_type: text/html; charset=utf-8}
entries:
  - id: office
    list: allow
    networks: [192.0.2.0/24, "2001:db8::/32", 198.51.100.10-198.51.100.12, 203.0.113.9, "::ffff:203.0.113.10"]
    except: [192.0.2.7, "2001:db8:5::/48"]
    applications: [shop]
    starts: 2026-12-01T00:00:00Z
    expires: 2026-12-24T00:00:00+01:00
    reason: our offices
    author: ops@example.com
  - {id: watched, list: deny, sources: [tor], action: warn}
  - {id: odd, list: gray, networks: [203.0.113.0/24]}
feeds:
  - {source: tor, path: feeds/tor.lst, format: plain}
limits: {widest_ipv4: 8, widest_ipv6: 29}
""")
    assert policy.applications == (
        Application("*", "monitoring", "deny", deny=DenyAnswer(404)),
        Application("shop", "safe_blocking", "allow", "most_specific", "path", True, False,
                    ("shop.example.com", "www.example.com"), DenyAnswer(451, "no\n", "text/html; charset=utf-8")),
    )  # fmt: skip
    starts, expires = (int(datetime(2026, 12, *at, tzinfo=UTC).timestamp()) for at in ((1, 0), (23, 23)))
    assert policy.entries == (
        Entry("office", "allow", "block", frozenset({"shop"}), starts, expires, "our offices", "ops@example.com"),
        Entry("watched", "deny", "warn", subjects=("source tor",)),
        Entry("odd", "gray"),
    )
    assert covered(policy) == ["192.0.2.0/24", "198.51.100.10/31", "198.51.100.12/32", "203.0.113.9/32",
                               "203.0.113.10/32", "2001:db8::/32"]  # fmt: skip
    assert excepted(policy) == ["192.0.2.7/32", "2001:db8:5::/48"]
    assert covered(policy, 1) == ["198.51.100.1/32", "2001:db8:70::/48"]
    assert covered(policy, 2) == ["203.0.113.0/24"]
    assert [(read.source, read.path, read.feed.taken) for read in policy.feeds] == [("tor", "feeds/tor.lst", 2)]


def test_an_application_takes_from_the_general_settings_what_it_does_not_say(read: Read) -> None:
    general = (
        "mode: off, default: deny, precedence: deny_first, match: path, dry_run: true, denylist_in_monitoring: false"
    )
    policy = read(f"""\
version: 1
applications:
  quiet:
  says: {{mode: block, default: allow, precedence: allow_first, match: client, dry_run: false,
         denylist_in_monitoring: true, deny: {{body: x}}}}
  "*": {{{general}, deny: {{status: 404, body: gone}}}}
""")
    everything = Application("*", "off", "deny", "deny_first", "path", True, False, (), DenyAnswer(404, "gone"))
    assert policy.applications == (
        everything,
        everything._replace(name="quiet"),
        Application("says", deny=DenyAnswer(403, "x")),
    )


def test_the_general_settings_come_first_and_the_others_in_the_order_of_the_file(read: Read) -> None:
    policy = read('version: 1\napplications: {b: {}, a: {}, "*": {}, c: }')
    assert [one.name for one in policy.applications] == ["*", "b", "a", "c"]


def test_a_source_has_the_networks_of_all_its_feeds_and_a_feed_may_have_two_sources(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (tmp_path / "b.txt").write_text("192.0.2.2\n")
    policy = read("""\
version: 1
entries:
- {id: one, list: deny, sources: [tor], networks: [192.0.2.9]}
- {id: other, list: deny, sources: [vpn]}
- {id: both, list: deny, sources: [vpn, tor]}
feeds: [{source: tor, path: a.txt}, {source: tor, path: b.txt}, {source: vpn, path: a.txt}]
""")
    assert covered(policy, 0) == ["192.0.2.1/32", "192.0.2.2/32", "192.0.2.9/32"]
    assert covered(policy, 1) == ["192.0.2.1/32"]
    assert sorted(set(covered(policy, 2))) == ["192.0.2.1/32", "192.0.2.2/32"]


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n; nothing either", "#"])
def test_a_feed_that_is_empty_or_has_only_comments_is_valid(read: Read, tmp_path: Path, content: str) -> None:
    (tmp_path / "tor.txt").write_text(content)
    policy = read(entry("sources: [tor]") + "feeds: [{source: tor, path: tor.txt}]")
    assert covered(policy) == []
    assert (policy.feeds[0].feed.taken, policy.feeds[0].feed.skipped) == (0, ())


def test_what_a_feed_skipped_is_told_and_is_no_mistake(read: Read, tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\nnonsense\n")
    policy = read(entry("sources: [tor]") + "feeds: [{source: tor, path: tor.txt}]")
    assert covered(policy) == ["192.0.2.1/32"]
    assert policy.warnings == (f"tor.txt:2: skipped: found 'nonsense', expected {A_NETWORK}",)


def test_the_networks_of_a_feed_may_be_as_wide_as_they_are(read: Read, tmp_path: Path) -> None:
    (tmp_path / "wide.txt").write_text("8.0.0.0/7\n2400::/12\n")
    policy = read(entry("sources: [tor]") + "feeds: [{source: tor, path: wide.txt}]")
    assert covered(policy) == ["8.0.0.0/7", "2400::/12"]


def test_a_feed_may_be_named_by_its_whole_path(read: Read, tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\n")
    policy = read(entry("sources: [tor]") + f"feeds: [{{source: tor, path: {tmp_path}/tor.txt}}]")
    assert covered(policy) == ["192.0.2.1/32"]


def test_progress_is_told_for_feeds_and_entries_up_to_the_end(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    told: list[tuple[str, int, int]] = []
    text = "version: 1\nentries: [{list: deny, networks: [192.0.2.1]}, {list: allow, networks: [192.0.2.1]}]\n"
    read(text + "feeds: [{source: tor, path: a.txt}, {source: vpn, path: a.txt}]", progress=lambda *s: told.append(s))
    assert told == [("feeds", 1, 2), ("feeds", 2, 2), ("entries", 1, 2), ("entries", 2, 2)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-12-01T00:00:00Z", 1796083200),
        ("2026-12-01t00:00:00z", 1796083200),
        ("2026-12-01 00:00:00Z", 1796083200),
        ("2026-12-01T01:00:00+01:00", 1796083200),
        ("2026-11-30T23:30:00-00:30", 1796083200),
        ("2026-12-01T00:00:00.999999Z", 1796083200),
        ("'2026-12-01T00:00:00Z'", 1796083200),
        ("2028-02-29T00:00:00Z", 1835395200),
    ],
)
def test_a_time_is_taken_with_its_offset(read: Read, text: str, seconds: int) -> None:
    assert read(entry(f"networks: [192.0.2.1], starts: {text}")).entries[0].starts == seconds


def test_a_window_of_five_minutes_is_long_enough(read: Read) -> None:
    window = "starts: 2026-12-01T00:00:00Z, expires: 2026-12-01T00:05:00Z"
    made = read(entry(f"networks: [192.0.2.1], {window}")).entries[0]
    assert (made.starts, made.expires) == (1796083200, 1796083500)


def test_an_alias_is_taken(read: Read) -> None:
    policy = read("version: 1\nentries:\n- {id: a, list: deny, networks: &n [192.0.2.1]}\n"
                  "- {id: b, list: allow, networks: *n}\n")  # fmt: skip
    assert covered(policy, 0) == covered(policy, 1) == ["192.0.2.1/32"]


# --lenient


def test_lenient_takes_networks_with_host_bits_for_the_networks_meant(read: Read) -> None:
    text = entry('networks: [192.0.2.7/24, "2001:db8::1/64"], except: [192.0.2.130/25]')
    policy = read(text, lenient=True)
    assert (covered(policy), excepted(policy)) == (["192.0.2.0/24", "2001:db8::/64"], ["192.0.2.128/25"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("networks: [192.0.2.7/33]", "found '192.0.2.7/33', expected a prefix length from 0 to 32"),
        ("networks: [192.0.2.9-192.0.2.1]", backwards("192.0.2.9-192.0.2.1", "192.0.2.1-192.0.2.9")),
        ("networks: [10.0.0.2/10]", too_wide("10.0.0.0/10")),
    ],
)  # fmt: skip
def test_lenient_takes_nothing_else(wrong: Wrong, text: str, expected: str) -> None:
    assert wrong(entry(text), lenient=True) == [f"3: entries[0].networks[0]: {expected}"]


# Derived ids

WRITTEN: list[dict[str, Any]] = [
    {"list": "deny", "networks": ["192.0.2.0/24", "198.51.100.7"]},
    {"list": "allow", "networks": ["192.0.2.0/24", "198.51.100.7"]},
    {"list": "deny", "networks": ["192.0.2.0/24"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "except": ["192.0.2.1"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "applications": ["shop"]},
    {"list": "deny", "networks": ["192.0.2.0/24"], "action": "warn"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "starts": "2026-12-01T00:00:00Z"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "expires": "2026-12-01T00:00:00Z"},
    {"list": "deny", "networks": ["192.0.2.0/24"], "sources": ["tor"]},
    {"list": "deny", "sources": ["tor"]},
]


def ids_of(read: Read, entries: Iterable[dict[str, Any]]) -> list[str]:
    feeds = [{"source": "tor", "path": "tor.txt"}, {"source": "vpn", "path": "tor.txt"}]
    document = {"version": 1, "applications": {"shop": {}, "api": {}}, "entries": list(entries), "feeds": feeds}
    return [made.id for made in read(yaml.safe_dump(document)).entries]


@pytest.fixture
def feed(tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\n")


@pytest.mark.usefixtures("feed")
def test_entries_that_say_different_things_have_different_derived_ids(read: Read) -> None:
    found = ids_of(read, WRITTEN)
    assert len(set(found)) == len(WRITTEN)
    assert all(re.fullmatch("e-[0-9a-f]{12}", one) for one in found)


@pytest.mark.usefixtures("feed")
def test_a_derived_id_is_the_same_wherever_the_entry_stands(read: Read) -> None:
    found = ids_of(read, WRITTEN)
    assert ids_of(read, WRITTEN[::-1]) == found[::-1]
    assert ids_of(read, WRITTEN[3:4]) == found[3:4]
    assert ids_of(read, [{"id": "other", "list": "gray", "networks": ["203.0.113.1"]}, *WRITTEN])[1:] == found


@pytest.mark.usefixtures("feed")
def test_a_derived_id_does_not_depend_on_order_spelling_reason_and_author(read: Read) -> None:
    base = {"list": "deny", "networks": ["192.0.2.0/31", "2001:db8::/32"], "sources": ["tor", "vpn"],
            "applications": ["shop", "api"], "except": ["192.0.2.1", "2001:db8::1"]}  # fmt: skip
    (expected,) = ids_of(read, [base])
    for variant in (
        {"networks": ["2001:db8::/32", "192.0.2.0/31"]},
        {"networks": ["2001:0DB8:0::/32", "192.0.2.0-192.0.2.1", "::ffff:192.0.2.0/127"]},
        {"sources": ["vpn", "tor", "tor"]},
        {"applications": ["api", "shop"]},
        {"except": ["2001:DB8:0::1/128", "192.0.2.1/32"]},
        {"reason": "another", "author": "somebody"},
        {"action": "block"},
    ):
        assert ids_of(read, [base | variant]) == [expected]


def test_a_derived_id_is_the_same_in_every_version_of_authz(read: Read) -> None:
    # Logs and tickets name entries by their id: if this has to change, the changelog must say so.
    assert read(entry("networks: [192.0.2.0/24]")).entries[0].id == "e-89997eba20be"


# Mistakes: shape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: version: missing"]),
        ("entries: []", ["1: version: missing"]),
        ("version: 2", ["1: version: found '2', expected 1"]),
        ("version: 1.0", ["1: version: found '1.0', expected 1"]),
        ("version:", ["1: version: found nothing, expected 1"]),
        ("[1]", ["1: document: found a list, expected keys with values", "1: version: missing"]),
        ("version 1", ["1: document: found 'version 1', expected keys with values", "1: version: missing"]),
        ("version: 1\nversion: 1", ["2: version: found twice, expected once"]),
        ("version: 1\nentry: []", ["2: entry: unknown key (did you mean 'entries'?)"]),
        ("version: 1\napplications: [shop]", ["2: applications: found a list, expected keys with values"]),
        ("version: 1\nentries: {a: b}", ["2: entries: found a mapping, expected a list"]),
        ("version: 1\nentries:", ["2: entries: found '', expected a list"]),
        ("version: 1\nentries: [192.0.2.1]",
         ["2: entries[0]: found '192.0.2.1', expected keys with values", "2: entries[0].list: missing"]),
        ("version: 1\nfeeds: {tor: a}", ["2: feeds: found a mapping, expected a list"]),
        ("version: 1\nlimits: 12", ["2: limits: found '12', expected keys with values"]),
        ("version: 1\nentries:\n- {list: deny, networks: [192.0.2.1}",
         ["3: document: not YAML: did not find expected ',' or ']' at column 36"]),
        ("version: 1\nentries: *all", ["2: document: not YAML: found undefined alias at column 10"]),
        ("version: 1\n--- \nversion: 1", ["2: document: not YAML: found another document at column 1"]),
    ],
)  # fmt: skip
def test_a_document_of_the_wrong_shape_is_told(wrong: Wrong, text: str, expected: list[str]) -> None:
    assert wrong(text) == expected


def test_a_policy_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_policy(tmp_path / "none.yaml")
    assert caught.value.message == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"


def test_a_policy_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(InputError) as caught:
        read_policy(tmp_path / "policy.yaml")
    assert caught.value.message == f"{tmp_path}/policy.yaml: byte 16 is not UTF-8"


# Mistakes: applications


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("mode: on", "mode: found 'on', expected one of off, monitoring, safe_blocking, block"),
        ("mode: false", "mode: found 'false', expected one of off, monitoring, safe_blocking, block"),
        ("mode: Off", "mode: found 'Off', expected one of off, monitoring, safe_blocking, block"),
        ("mode: ", "mode: found nothing, expected one of off, monitoring, safe_blocking, block"),
        ("mode: [off]", "mode: found a list, expected one of off, monitoring, safe_blocking, block"),
        ("default: no", "default: found 'no', expected one of allow, deny"),
        ("precedence: deny", "precedence: found 'deny', expected one of allow_first, deny_first, most_specific"),
        ("match: all", "match: found 'all', expected one of client, path"),
        ("dry_run: yes", "dry_run: found 'yes', expected true or false"),
        ('dry_run: "true"', "dry_run: found 'true', expected true or false"),
        ("denylist_in_monitoring: 0", "denylist_in_monitoring: found '0', expected true or false"),
        ("dryrun: true", "dryrun: unknown key (did you mean 'dry_run'?)"),
        ("mode: off, mode: off", "mode: found twice, expected once"),
        ("hosts: shop.example.com", "hosts: found 'shop.example.com', expected a list"),
        ("hosts: [shop.example.com:443]", f"hosts[0]: found 'shop.example.com:443', expected {A_HOST}"),
        ("hosts: [https://shop.example.com]", f"hosts[0]: found 'https://shop.example.com', expected {A_HOST}"),
        ("hosts: ['*.example.com']", f"hosts[0]: found '*.example.com', expected {A_HOST}"),
        ("hosts: [a, '']", f"hosts[1]: found nothing, expected {A_HOST}"),
        ("hosts: [shop.example.com.]", f"hosts[0]: found 'shop.example.com.', expected {A_HOST}"),
        ("hosts: [b\u00fccher.example]", f"hosts[0]: found 'b\\xfccher.example', expected {A_HOST}"),
        (f"hosts: [{'a' * 64}.example]", f"hosts[0]: found '{'a' * 64}.example', expected {A_HOST}"),
        ("deny: 403", "deny: found '403', expected keys with values"),
        ("deny: {status: 200}", "deny.status: found '200', expected a status from 400 to 499"),
        ("deny: {status: 500}", "deny.status: found '500', expected a status from 400 to 499"),
        ("deny: {status: '4\u0660\u0663'}", "deny.status: found '4\\u0660\\u0663', expected a status from 400 to 499"),
        ("deny: {content_type: html}", "deny.content_type: found 'html', expected a media type such as text/plain"),
        ('deny: {content_type: "text/plain\\r\\nX: y"}',
         "deny.content_type: found 'text/plain\\x0d\\x0aX: y', expected a media type such as text/plain"),
        ("deny: {stauts: 403}", "deny.stauts: unknown key (did you mean 'status'?)"),
        (f"deny: {{body: {'x' * 65_537}}}",
         f"deny.body: found '{'x' * 80}... (65537 characters)', expected at most 65536 bytes"),
        ("deny: {body: " + "\u00e9" * 32_769 + "}",
         "deny.body: found '" + "\\xe9" * 80 + "... (32769 characters)', expected at most 65536 bytes"),
    ],
    ids=lambda text: ascii(text[:30]),
)  # fmt: skip
def test_a_mistake_in_the_settings_of_an_application_is_told(wrong: Wrong, settings: str, expected: str) -> None:
    assert wrong(application(settings)) == [f"3: applications.shop.{expected}"]


@pytest.mark.parametrize(
    "name", ["-shop", "shop one", "shop/one", "sh*p", "''", "b\u00fccher", "a" * 65, "'<<'", "'**'"]
)
def test_the_name_of_an_application_is_a_token(wrong: Wrong, name: str) -> None:
    (line,) = wrong(f"version: 1\napplications: {{{name!s}: {{}}}}")
    plain = name.strip("'")
    shown = plain.replace("\u00fc", "\\xfc")
    assert line == (f"2: applications.{plain}: found the name '{shown}', expected letters, digits, '.', '_', '-'")


def test_a_body_of_64_kilobytes_is_taken(read: Read) -> None:
    assert len(read(application(f"deny: {{body: {'x' * 65_536}}}")).applications[1].deny.body) == 65_536


def test_a_host_names_one_application(wrong: Wrong) -> None:
    text = """\
version: 1
applications:
  "*": {hosts: [example.com]}
  shop:
    hosts: [shop.example.com, SHOP.example.com]
  admin:
    hosts: [Shop.Example.Com, admin.example.com]
"""
    assert wrong(text) == [
        "3: applications.*.hosts: found hosts for '*', expected them for a named application",
        "7: applications.admin.hosts: found 'shop.example.com', which names 'shop' already",
    ]


# Mistakes: entries


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("id: 'a b', networks: [192.0.2.1]", f"id: found 'a b', expected {A_TOKEN}"),
        ("id: '', networks: [192.0.2.1]", f"id: found nothing, expected {A_TOKEN}"),
        (f"id: {'a' * 65}, networks: [192.0.2.1]", f"id: found '{'a' * 65}', expected {A_TOKEN}"),
        ("networks: 192.0.2.1", "networks: found '192.0.2.1', expected a list"),
        ("networks: [shop.example.com]", f"networks[0]: found 'shop.example.com', expected {A_NETWORK}"),
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
        ("networks: [192.0.2.1], applications: ['*']", f"applications[0]: found '*', expected {A_TOKEN}"),
        ("networks: [192.0.2.1], applications: []",
         "applications: found an empty list, expected names (leave the key out for all applications)"),
        ("networks: [192.0.2.1], action: allow", "action: found 'allow', expected one of block, warn"),
        ("networks: [192.0.2.1], starts: 2026-12-01", f"starts: found '2026-12-01', expected {A_TIME}"),
        ("networks: [192.0.2.1], starts: 2026-12-01T00:00:00",
         f"starts: found '2026-12-01T00:00:00', expected {A_TIME}"),
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
         "asns[0]: found 'AS64496', expected an AS number from 1 to 4294967295"),
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
         "4: entries[1].id: found 'a' twice, expected each entry once"),
        ("- {list: deny, networks: [192.0.2.0/24]}\n- {list: deny, networks: [192.0.2.0-192.0.2.255], reason: x}",
         "4: entries[1]: found 'e-89997eba20be' twice, expected each entry once"),
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


OFFLINE = SubjectOptions(hosts=HostOptions(offline=True))


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


# Mistakes: protected networks


def test_protected_networks_are_read_and_checked_as_networks_are(read: Read, wrong: Wrong) -> None:
    policy = read("version: 1\nprotected: [10.0.0.0/8, 192.0.2.0-192.0.2.1]")
    assert [str(network) for network in policy.protected] == ["10.0.0.0/8", "192.0.2.0/31"]
    assert wrong("version: 1\nprotected:\n- nobody\n- 192.0.2.7/24\n") == [
        f"3: protected[0]: found 'nobody', expected {A_NETWORK}",
        f"4: protected[1]: {host_bits('192.0.2.7/24', '192.0.2.0/24')}",
    ]
    assert len(read("version: 1\nprotected: [192.0.2.7/24]", lenient=True).protected) == 1


# Mistakes: feeds


def test_a_feed_that_is_not_there_is_told(wrong: Wrong) -> None:
    assert wrong("version: 1\nfeeds:\n- source: tor\n  path: feeds/tor.txt") == [
        "4: feeds[0].path: feeds/tor.txt: cannot be read: No such file or directory"
    ]


def test_a_feed_that_is_a_folder_is_told(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "feeds").mkdir()
    assert wrong("version: 1\nfeeds: [{source: tor, path: feeds}]") == [
        "2: feeds[0].path: feeds: cannot be read: Is a directory"
    ]


def test_a_feed_without_one_good_line_is_told(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "tor.html").write_text("# moved\n<html>\n<p>Not found\n")
    (line,) = wrong("version: 1\nfeeds: [{source: tor, path: tor.html}]")
    assert line.startswith("2: feeds[0].path: tor.html: not recognised: the first line is '<html>'")
    (line,) = wrong("version: 1\nfeeds: [{source: tor, path: tor.html, format: plain}]")
    assert re.match(r"2: feeds\[0\].path: tor.html:( line )?2: found '<html>', expected ", line)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("source: tor", "feeds[0].path: missing"),
        ("path: a.txt", "feeds[0].source: missing (or give a `preset`)"),
        ("source: Tor, path: a.txt", f"feeds[0].source: found 'Tor', expected {A_SOURCE}"),
        ("source: 1tor, path: a.txt", f"feeds[0].source: found '1tor', expected {A_SOURCE}"),
        ("source: tor, path: ", "feeds[0].path: found nothing, expected text"),
        ('source: tor, path: "a\\0.txt"', "feeds[0].path: found 'a\\x00.txt', expected text"),
        ("source: tor, path: [a.txt]", "feeds[0].path: found a list, expected text"),
        ("source: tor, path: a.txt, fromat: plain", "feeds[0].fromat: unknown key (did you mean 'format'?)"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_feed_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    assert wrong(f"version: 1\nfeeds:\n- {{{rest}}}\n") == [f"3: {expected}"]


@pytest.mark.parametrize("name", ["netset2", "Plain", "mmdb"])
def test_a_format_that_cannot_be_read_is_told(wrong: Wrong, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (line,) = wrong(f"version: 1\nfeeds: [{{source: tor, path: a.txt, format: {name}}}]")
    assert line.startswith(f"2: feeds[0].format: found '{name}', expected one of auto, plain, ")


# Mistakes: limits


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ("widest_ipv4: 33", "limits.widest_ipv4: found 33, expected 0 to 32"),
        ("widest_ipv4: -1", "limits.widest_ipv4: found -1, expected 0 to 32"),
        ("widest_ipv6: 129", "limits.widest_ipv6: found 129, expected 0 to 128"),
        ("widest_ipv4: /12", "limits.widest_ipv4: found '/12', expected a whole number"),
        ("widest_ipv4: 012", "limits.widest_ipv4: found '012', expected a whole number"),
        ("widest: 12", "limits.widest: unknown key (did you mean 'widest_ipv6'?)"),
    ],
)
def test_a_mistake_in_the_limits_is_told(wrong: Wrong, limits: str, expected: str) -> None:
    assert wrong(f"version: 1\nlimits: {{{limits}}}") == [f"2: {expected}"]


@pytest.mark.parametrize(
    ("limits", "taken", "refused"),
    [
        ("{}", ["10.0.0.0/12", "2001:db8::/32"], ["10.0.0.0/11", "2001:db8::/31"]),
        ("{widest_ipv4: 8}", ["10.0.0.0/8", "2001:db8::/32"], ["10.0.0.0/7", "2001:db8::/31"]),
        ("{widest_ipv6: 48}", ["10.0.0.0/12", "2001:db8::/48"], ["10.0.0.0/11", "2001:db8::/47"]),
        ("{widest_ipv4: 0, widest_ipv6: 0}", ["0.0.0.0/0", "::/0"], []),
        ("{widest_ipv4: 32, widest_ipv6: 128}", ["10.0.0.0", "2001:db8::"], ["10.0.0.0/31", "2001:db8::/127"]),
    ],
)
def test_a_network_may_be_as_wide_as_the_limits_say(
    read: Read, wrong: Wrong, limits: str, taken: list[str], refused: list[str]
) -> None:
    def policy(text: str) -> str:
        return entry(f"networks: ['{text}']") + f"limits: {limits}"

    for text in taken:
        assert covered(read(policy(text))) == [str(network) for network in parse_networks(text)]
    for text in refused:
        (line,) = wrong(policy(text))
        assert line.startswith(f"3: entries[0].networks[0]: found {text}, expected a network of /")


def test_a_limit_that_is_wrong_is_told_once_and_not_at_every_network(wrong: Wrong) -> None:
    text = entry("networks: [192.0.2.1, '2001:db8::1']") + "limits: {widest_ipv4: 33, widest_ipv6: 200}"
    assert wrong(text) == [
        "4: limits.widest_ipv4: found 33, expected 0 to 32",
        "4: limits.widest_ipv6: found 200, expected 0 to 128",
    ]


def test_exceptions_may_be_as_wide_as_they_are(read: Read) -> None:
    assert excepted(read(entry("networks: [10.0.0.0/12], except: [10.0.0.0/8]"))) == ["10.0.0.0/8"]


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
        ("hosts: [vpn.example.com:443]", f"hosts[0]: found 'vpn.example.com:443', expected {A_HOST}"),
        ("hosts: ['*.example.com']", f"hosts[0]: found '*.example.com', expected {A_HOST}"),
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
    found = re.fullmatch(r"'vpn\.example\.com': offline; took the answer of (36\d\d) seconds ago", warning)
    assert found


def test_a_damaged_cache_of_hosts_is_a_mistake(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text("[]")
    (line,) = wrong(
        entry("hosts: [a.example]"), options=SubjectOptions(HostOptions(tmp_path / "hosts.json", offline=True))
    )
    assert re.fullmatch(r"3: entries: hosts\.json: found no cache of host names: .* \(remove the file\)", line)


# Options of feeds


def test_where_takes_the_entries_that_have_these_values(read: Read, tmp_path: Path) -> None:
    (tmp_path / "aws.json").write_text(
        '{"syncToken": "1", "prefixes": ['
        '{"ip_prefix": "3.0.0.0/24", "region": "eu-west-1", "service": "EC2", "network_border_group": "x"},'
        '{"ip_prefix": "3.0.1.0/24", "region": "eu-west-1", "service": "S3", "network_border_group": "x"},'
        '{"ip_prefix": "3.0.2.0/24", "region": "us-east-1", "service": "EC2", "network_border_group": "x"}]}'
    )
    (tmp_path / "proxies.txt").write_text("192.0.2.1:8080\n192.0.2.2:3128\n")
    policy = read("""\
version: 1
entries: [{list: deny, sources: [aws]}, {list: deny, sources: [proxy]}]
feeds:
- {source: aws, path: aws.json, where: {service: EC2, region: eu-west-1}}
- {source: proxy, path: proxies.txt, where: {port: 8080}}
""")
    assert (covered(policy, 0), covered(policy, 1)) == (["3.0.0.0/24"], ["192.0.2.1/32"])


def test_min_count_and_bogons_say_what_of_a_feed_is_taken(read: Read, tmp_path: Path) -> None:
    (tmp_path / "ipsum.txt").write_text("# counts\n192.0.2.1\t9\n192.0.2.2\t3\n192.0.2.3\t2\n10.0.0.1\t9\n")
    feeds = "feeds: [{{source: bad, path: ipsum.txt, min_count: 3{}}}]"
    policy = read(entry("sources: [bad]") + feeds.format(""))
    assert covered(policy) == ["192.0.2.1/32", "192.0.2.2/32"]
    (warning,) = policy.warnings
    assert warning.startswith("ipsum.txt:5: dropped 10.0.0.1/32: ")
    kept = read(entry("sources: [bad]") + feeds.format(", bogons: keep"))
    assert (covered(kept), kept.warnings) == (["10.0.0.1/32", "192.0.2.1/32", "192.0.2.2/32"], ())


@pytest.mark.parametrize(
    ("taken", "max_shrink", "refused"),
    [(100, "", False), (99, "", False), (50, "", False), (49, "", True), (0, "", True),
     (49, "0.51", False), (89, "0.1", True), (99, "0", True), (100, "0", False), (0, "0.99", True), (0, "1", False),
     (0, "1.0", False)],
)  # fmt: skip
def test_a_feed_may_lose_as_much_as_max_shrink_says(
    read: Read, wrong: Wrong, tmp_path: Path, taken: int, max_shrink: str, refused: bool
) -> None:
    (tmp_path / "a.txt").write_text("".join(f"192.0.2.{number}\n" for number in range(taken)))
    option = f", max_shrink: {max_shrink}" if max_shrink else ""
    text = entry("sources: [bad]") + f"feeds: [{{source: bad, path: a.txt{option}}}]"
    before = SubjectOptions(before={("bad", "a.txt"): [100], ("other", "a.txt"): [100_000]})
    if refused:
        (line,) = wrong(text, options=before)
        share = round(100 * float(max_shrink or 0.5))
        assert line == (
            f"4: feeds[0].path: a.txt: found {taken} entries, and 100 in the last build: {100 - taken} % fewer, "
            f"expected at most {share} % (a broken download? "
            "if the feed is really that short, set max_shrink: 1 on it for one build)"
        )
    else:
        assert len(covered(read(text, options=before))) == taken


def test_a_feed_that_was_empty_or_unknown_before_may_have_any_length(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    lasts: list[dict[tuple[str, str], list[int]]] = [
        {}, {("bad", "a.txt"): [0]}, {("bad", "b.txt"): [9]}, {("bad", "a.txt"): []}
    ]  # fmt: skip
    for before in lasts:
        text = entry("sources: [bad]") + "feeds: [{source: bad, path: a.txt, max_shrink: 0}]"
        assert covered(read(text, options=SubjectOptions(before=before))) == []


def test_a_feed_is_read_once_for_each_way_of_reading_it(read: Read, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\t1\n192.0.2.2\t5\n")
    policy = read("""\
version: 1
entries: [{list: deny, sources: [all]}, {list: deny, sources: [some]}, {list: allow, sources: [same]}]
feeds: [{source: all, path: a.txt}, {source: some, path: a.txt, min_count: 2}, {source: same, path: a.txt}]
""")
    assert [covered(policy, number) for number in range(3)] == [
        ["192.0.2.1/32", "192.0.2.2/32"], ["192.0.2.2/32"], ["192.0.2.1/32", "192.0.2.2/32"]
    ]  # fmt: skip
    every, _, same = policy.feeds
    assert every.feed is same.feed


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("where: EC2", "where: found 'EC2', expected keys with values"),
        ("where: {service: [EC2]}", "where.service: found a list, expected text"),
        ("where: {service: }", "where.service: found nothing, expected text"),
        ("min_count: -1", "min_count: found '-1', expected a whole number from 0"),
        ("min_count: 1.5", "min_count: found '1.5', expected a whole number from 0"),
        ("min_count: many", "min_count: found 'many', expected a whole number from 0"),
        ("bogons: false", "bogons: found 'false', expected one of drop, keep"),
        ("max_shrink: 2", "max_shrink: found '2', expected a share from 0 to 1"),
        ("max_shrink: 50 %", "max_shrink: found '50 %', expected a share from 0 to 1"),
        ("max_shrink: -0.5", "max_shrink: found '-0.5', expected a share from 0 to 1"),
        ("max_shrink: .5", "max_shrink: found '.5', expected a share from 0 to 1"),
        ("max_shrink: 1.01", "max_shrink: found '1.01', expected a share from 0 to 1"),
    ],
)
def test_a_wrong_option_of_a_feed_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    assert wrong(f"version: 1\nfeeds:\n- {{source: tor, path: a.txt, {rest}}}\n") == [f"3: feeds[0].{expected}"]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("where: {colour: red}", "colour"),
        ("min_count: 2", "min_count"),
        ("format: aws", "found no JSON"),
    ],
)
def test_an_option_that_the_feed_cannot_answer_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (line,) = wrong(f"version: 1\nfeeds:\n- {{source: tor, path: a.txt, {rest}}}\n")
    assert line.startswith("3: feeds[0].path: a.txt")
    assert expected in line


# All at once


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(wrong: Wrong, tmp_path: Path) -> None:
    (tmp_path / "html.txt").write_text("<html>\n")
    text = """\
version: 1
applications:
  "*": {mode: on, hosts: [example.com]}
  shop: {dry_run: yes}
  "a b": {}
entries:
- {list: blak, networks: [192.0.2.1]}
- {list: deny, networks: [10.0.0.2/8, nobody], sources: [vpn], applications: [shpo]}
- {list: deny}
- {id: a, list: allow, hosts: [vpn.example.com], action: warn}
- {id: a, list: gray, networks: [192.0.2.1], starts: 2026-12-01T00:00:00Z, expires: 2026-12-01T00:00:01Z}
feeds:
- {source: tor, path: none.txt}
- {source: tor, path: html.txt, fromat: plain}
- {source: tor, path: a.json, format: aws}
geo: {county: x.mmdb}
limits: {widest_ipv6: 129}
"""
    starts = [
        "3: applications.*.hosts: found hosts for '*'",
        "3: applications.*.mode: found 'on'",
        "4: applications.shop.dry_run: found 'yes'",
        "5: applications.a b: found the name 'a b'",
        "7: entries[0].list: found 'blak'",
        "8: entries[1].applications: found 'shpo'",
        "8: entries[1].networks[0]: found '10.0.0.2/8'",
        "8: entries[1].networks[0]: found 10.0.0.0/8",
        "8: entries[1].networks[1]: found 'nobody'",
        "8: entries[1].sources: found 'vpn'",
        "9: entries[2]: names nobody",
        "10: entries[3].hosts: 'vpn.example.com' does not resolve",
        "11: entries[4].expires: found a window of 1 seconds",
        "11: entries[4].id: found 'a' twice",
        "13: feeds[0].path: none.txt: cannot be read",
        "14: feeds[1].fromat: unknown key (did you mean 'format'?)",
        "14: feeds[1].path: html.txt:",
        "15: feeds[2].path: a.json: cannot be read",
        "16: geo.county: unknown key",
        "17: limits.widest_ipv6: found 129",
    ]
    lines = wrong(text, options=OFFLINE)
    assert [int(line.partition(":")[0]) for line in lines] == [int(start.partition(":")[0]) for start in starts]
    for line, start in zip(sorted(lines), sorted(starts), strict=True):
        assert line.startswith(start)


def test_a_wrong_policy_is_one_error_with_every_mistake_in_it(read: Read) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read("version: 1\nx: 1\ny: 2\n")
    assert [(mistake.line, mistake.key) for mistake in caught.value.mistakes] == [(2, "x"), (3, "y")]
    assert caught.value.code == "invalid_document"


# Whatever is written


@given(st.permutations(list(range(6))))
def test_the_order_of_networks_does_not_matter(order: list[int]) -> None:
    from authz.publisher.policy.read import derived_id
    from authz.publisher.policy.schema import WrittenEntry, WrittenNetworks

    some = [WrittenNetworks((Network(4, number << 8, 24),)) for number in range(6)]
    expected = derived_id(WrittenEntry(list="deny", networks=tuple(some)))
    assert derived_id(WrittenEntry(list="deny", networks=tuple(some[number] for number in order))) == expected


def test_the_order_of_keys_does_not_matter(read: Read) -> None:
    keys = ["list: deny", "networks: [192.0.2.1]", "reason: x", "action: warn"]
    found = {read(f"version: 1\nentries: [{{{', '.join(order)}}}]").entries for order in permutations(keys)}
    assert len(found) == 1
