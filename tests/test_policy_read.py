"""What an operator gets right and wrong in policy.yaml."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.addresses import Network, format_address, parse_networks
from authz.errors import InputError, InvalidDocument
from authz.policy.model import Application, DenyAnswer, Entry
from authz.policy.read import Policy, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from authz.index.prefixes import Prefixes

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]

A_NETWORK = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"
A_TOKEN = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
A_TIME = "a time such as 2026-12-01T00:00:00Z"
A_HOST = "a host name such as shop.example.com"
A_SOURCE = "a source type such as tor: small letters, digits and '_'"
ENTRY_KEYS = (
    "list, id, networks, except, hosts, countries, asns, sources, applications, action, starts, expires, reason, author"
)


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
    assert read("version: 1") == Policy((Application("*"),), (), (), {})
    for rest in ("applications:\n", "applications: {}\nentries: []\nfeeds: []\ngeo: {}\nlimits: {}\n"):
        assert read(f"version: 1\n{rest}") == Policy((Application("*"),), (), (), {})


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
        Entry("watched", "deny", "warn"),
        Entry("odd", "gray"),
    )
    assert covered(policy) == ["192.0.2.0/24", "198.51.100.10/31", "198.51.100.12/32", "203.0.113.9/32",
                               "203.0.113.10/32", "2001:db8::/32"]  # fmt: skip
    assert excepted(policy) == ["192.0.2.7/32", "2001:db8:5::/48"]
    assert covered(policy, 1) == ["198.51.100.1/32", "2001:db8:70::/48"]
    assert covered(policy, 2) == ["203.0.113.0/24"]
    assert policy.feeds["feeds/tor.lst"].taken == 2


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
    assert (policy.feeds["tor.txt"].taken, policy.feeds["tor.txt"].skipped) == (0, ())


def test_what_a_feed_skipped_is_told_and_is_no_mistake(read: Read, tmp_path: Path) -> None:
    (tmp_path / "tor.txt").write_text("192.0.2.1\nnonsense\n")
    policy = read(entry("sources: [tor]") + "feeds: [{source: tor, path: tor.txt}]")
    assert [skipped.line for skipped in policy.feeds["tor.txt"].skipped] == [2]


def test_the_networks_of_a_feed_may_be_as_wide_as_they_are(read: Read, tmp_path: Path) -> None:
    (tmp_path / "wide.txt").write_text("224.0.0.0/3\n2000::/3\n")
    policy = read(entry("sources: [tor]") + "feeds: [{source: tor, path: wide.txt}]")
    assert covered(policy) == ["224.0.0.0/3", "2000::/3"]


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
    assert read(entry("networks: [192.0.2.0/24]")).entries[0].id == "e-3a328ba7880d"


# Mistakes: shape


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: version: missing"]),
        ("entries: []", ["1: version: missing"]),
        ("version: 2", ["1: version: found '2', expected 1"]),
        ("version: 1.0", ["1: version: found '1.0', expected 1"]),
        ("version:", ["1: version: found nothing, expected 1"]),
        ("[1]", ["1: document: found a sequence, expected keys with values", "1: version: missing"]),
        ("version 1", ["1: document: found 'version 1', expected keys with values", "1: version: missing"]),
        ("version: 1\nversion: 1", ["2: version: found twice, expected once"]),
        ("version: 1\nentry: []", ["2: entry: unknown key (did you mean 'entries'?)"]),
        ("version: 1\nx: []",
         ["2: x: unknown key (known here: version, applications, entries, feeds, geo, limits)"]),
        ("version: 1\napplications: [shop]", ["2: applications: found a sequence, expected keys with values"]),
        ("version: 1\nentries: {a: b}", ["2: entries: found a mapping, expected a list"]),
        ("version: 1\nentries:", ["2: entries: found '', expected a list"]),
        ("version: 1\nentries: [192.0.2.1]",
         ["2: entries[0]: found '192.0.2.1', expected keys with values", "2: entries[0].list: missing"]),
        ("version: 1\nfeeds: {tor: a}", ["2: feeds: found a mapping, expected a list"]),
        ("version: 1\nlimits: 12", ["2: limits: found '12', expected keys with values"]),
        ("version: 1\nentries:\n- {list: deny, networks: [192.0.2.1}",
         ["3: document: not YAML: did not find expected ',' or ']'"]),
        ("version: 1\nentries: *all", ["2: document: not YAML: found undefined alias"]),
        ("version: 1\n--- \nversion: 1", ["2: document: not YAML: but found another document"]),
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
        ("mode: [off]", "mode: found a sequence, expected one of off, monitoring, safe_blocking, block"),
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
        ("networks: [192.0.2.010]", f"networks[0]: found '192.0.2.010', expected {A_NETWORK}"),
        ("networks: [192.0.2.0/33]", "networks[0]: found '192.0.2.0/33', expected a prefix length from 0 to 32"),
        ("networks: ['2001:db8::/129']", "networks[0]: found '2001:db8::/129', expected a prefix length from 0 to 128"),
        ("networks: [[192.0.2.1]]", f"networks[0]: found a sequence, expected {A_NETWORK}"),
        ("networks: &n [*n]", f"networks[0]: found a sequence, expected {A_NETWORK}"),
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
         "expires: found a window of -3600 seconds, expected at least 300"),
        ("networks: [192.0.2.1], reason: [a]", "reason: found a sequence, expected text"),
        ("networks: [192.0.2.1], reason: ", "reason: found nothing, expected text"),
        ("networks: [192.0.2.1], netwroks: []", "netwroks: unknown key (did you mean 'networks'?)"),
        ("networks: [192.0.2.1], members: []", f"members: unknown key (known here: {ENTRY_KEYS})"),
        ("networks: [192.0.2.1], networks: [192.0.2.2]", "networks: found twice, expected once"),
        ("networks: [192.0.2.1], countries: [no]",
         "countries[0]: found 'no', expected a country of ISO 3166-1 such as DE: two capital letters"),
        ("networks: [192.0.2.1], asns: [AS64496]", "asns[0]: found 'AS64496', expected a whole number"),
        ("networks: [192.0.2.1], asns: [12:30]", "asns[0]: found '12:30', expected a whole number"),
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
        ("- {list: allow, networks: [192.0.2.1], action: warn}",
         "3: entries[0].action: found 'warn' on the allow list, expected it on the deny list only"),
        ("- {list: gray, networks: [192.0.2.1], action: warn}",
         "3: entries[0].action: found 'warn' on the gray list, expected it on the deny list only"),
        ("- {list: deny}", "3: entries[0]: names nobody (expected one or more of networks, sources)"),
        ("- {list: deny, networks: []}",
         "3: entries[0]: names nobody (expected one or more of networks, sources)"),
        ("- {list: deny, except: [192.0.2.1]}",
         "3: entries[0]: names nobody (expected one or more of networks, sources)"),
        ("- {list: deny, sources: [tor]}", "3: entries[0].sources: found 'tor', which no feed gives (given: none)"),
        ("- {id: a, list: deny, networks: [192.0.2.1]}\n- {id: a, list: deny, networks: [192.0.2.2]}",
         "4: entries[1].id: found 'a' twice, expected each entry once"),
        ("- {list: deny, networks: [192.0.2.0/24]}\n- {list: deny, networks: [192.0.2.0-192.0.2.255], reason: x}",
         "4: entries[1]: found 'e-3a328ba7880d' twice, expected each entry once"),
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


@pytest.mark.parametrize(
    ("rest", "key"),
    [("hosts: [vpn.example.com]", "hosts"), ("countries: [KP, NO]", "countries"), ("asns: [64496]", "asns")],
)
def test_a_subject_that_cannot_be_compiled_yet_is_refused(wrong: Wrong, rest: str, key: str) -> None:
    line = f"3: entries[0].{key}: this version of authz compiles no {key} yet, expected no such key"
    assert wrong(entry(rest)) == [line]
    assert wrong(entry(f"networks: [192.0.2.1], {rest}")) == [line]


def test_geo_databases_cannot_be_read_yet_and_are_refused(wrong: Wrong) -> None:
    text = "version: 1\ngeo:\n  country: geo/country.mmdb\n  asn: geo/asn.csv\n"
    assert wrong(text) == [
        "3: geo.country: this version of authz reads no geo databases yet, expected no such key",
        "4: geo.asn: this version of authz reads no geo databases yet, expected no such key",
    ]


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
    assert re.match(r"2: feeds\[0\].path: tor.html:( line )?2: found '<html>', expected ", line)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("source: tor", "feeds[0].path: missing"),
        ("path: a.txt", "feeds[0].source: missing"),
        ("source: Tor, path: a.txt", f"feeds[0].source: found 'Tor', expected {A_SOURCE}"),
        ("source: 1tor, path: a.txt", f"feeds[0].source: found '1tor', expected {A_SOURCE}"),
        ("source: tor, path: ", "feeds[0].path: found nothing, expected text"),
        ('source: tor, path: "a\\0.txt"', "feeds[0].path: found 'a\\x00.txt', expected text"),
        ("source: tor, path: [a.txt]", "feeds[0].path: found a sequence, expected text"),
        ("source: tor, path: a.txt, file: b.txt",
         "feeds[0].file: unknown key (known here: source, path, format)"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_feed_is_told(wrong: Wrong, tmp_path: Path, rest: str, expected: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    assert wrong(f"version: 1\nfeeds:\n- {{{rest}}}\n") == [f"3: {expected}"]


@pytest.mark.parametrize("name", ["netset2", "Plain", "mmdb"])
def test_a_format_that_cannot_be_read_is_told(wrong: Wrong, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("192.0.2.1\n")
    (line,) = wrong(f"version: 1\nfeeds: [{{source: tor, path: a.txt, format: {name}}}]")
    assert line.startswith(f"2: feeds[0].format: found '{name}', expected one of auto, plain")


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
- {source: tor, path: a.json, format: json-aws}
geo: {country: x.mmdb}
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
        "10: entries[3].action: found 'warn' on the allow list",
        "10: entries[3].hosts: this version",
        "11: entries[4].expires: found a window of 1 seconds",
        "11: entries[4].id: found 'a' twice",
        "13: feeds[0].path: none.txt: cannot be read",
        "14: feeds[1].fromat: unknown key (did you mean 'format'?)",
        "14: feeds[1].path: html.txt:",
        "15: feeds[2].format: found 'json-aws'",
        "16: geo.country: this version",
        "17: limits.widest_ipv6: found 129",
    ]
    lines = wrong(text)
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
    from authz.policy.read import derived_id
    from authz.policy.schema import WrittenEntry, WrittenNetworks

    some = [WrittenNetworks((Network(4, number << 8, 24),)) for number in range(6)]
    expected = derived_id(WrittenEntry(list="deny", networks=tuple(some)))
    assert derived_id(WrittenEntry(list="deny", networks=tuple(some[number] for number in order))) == expected


def test_the_order_of_keys_does_not_matter(read: Read) -> None:
    keys = ["list: deny", "networks: [192.0.2.1]", "reason: x", "action: warn"]
    found = {read(f"version: 1\nentries: [{{{', '.join(order)}}}]").entries for order in permutations(keys)}
    assert len(found) == 1
