"""What of policy.yaml is taken, and what `--lenient` takes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.publishing.policy_text import A_NETWORK, backwards, covered, entry, excepted, too_wide

from authz.addresses import Network
from authz.engine.model import Application, DenyAnswer, Entry
from authz.publisher.policy.read import Policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[..., Policy]
    Wrong = Callable[..., list[str]]


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
    assert [application.name for application in policy.applications] == ["*", "b", "a", "c"]


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
    readings = {read(f"version: 1\nentries: [{{{', '.join(order)}}}]").entries for order in permutations(keys)}
    assert len(readings) == 1
