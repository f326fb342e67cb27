"""What is found fault with in a snapshot, against a scan of the policy address by address."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.worlds import (
    NOW,
    ZONES,
    Subject,
    World,
    allow,
    covers,
    deny,
    moments,
    networks,
    subject,
    worlds,
    zones_in,
)

from authz.addresses import Address, Network, format_address, parse_network
from authz.analysis import lint as linting
from authz.analysis.lint import SEVERITIES, Finding, lint
from authz.analysis.lockout import Denial, would_deny
from authz.engine.decision.verdict import only_warns
from authz.engine.model import Application

if TYPE_CHECKING:
    from authz.engine.model import Entry


def codes(world: World, code: str) -> list[str | None]:
    """Return the entries that have a finding of this code."""
    return [finding.entry for finding in lint(world.loaded(), now=NOW) if finding.code == code]


def over(entry: Entry) -> bool:
    return entry.expires is not None and entry.expires <= NOW


def zones_of(subject: Subject) -> list[int]:
    return [number for number, zone in enumerate(ZONES) if subject.length(zone.address) is not None]


def concerned(world: World, entry: Entry) -> list[Application]:
    return [application for application in world.applications if entry.concerns(application.name)]


def gray_only(world: World, entry: Entry) -> bool:
    return entry.list == "gray" and all(a.mode != "safe_blocking" for a in concerned(world, entry))


def effective(world: World) -> list[Subject]:
    """Return what has addresses and somebody who looks at them."""
    return [
        s
        for s in world.subjects
        if not over(s.entry) and zones_of(s) and concerned(world, s.entry) and not gray_only(world, s.entry)
    ]


def repeated(world: World) -> list[str]:
    """Return the entries that say the same as one before them."""
    seen: list[Subject] = []
    repeats = []
    for s in world.subjects:
        if any(same(s, other) for other in seen) and not over(s.entry) and zones_of(s):
            repeats.append(s.entry.id)
        seen.append(s)
    return repeats


def same(one: Subject, other: Subject) -> bool:
    return zones_of(one) == zones_of(other) and one.entry._replace(id="", reason="", author="") == other.entry._replace(
        id="", reason="", author=""
    )


def decides_somewhere(world: World, subject: Subject) -> bool:
    """Return whether the entry, or one that says the same, decides for an address at a time."""
    alike = {other.entry.id for other in world.subjects if same(subject, other)}
    for application in concerned(world, subject.entry):
        if application.match == "path" and subject.entry.list == "deny":
            return True
        for number in zones_of(subject):
            for now in moments():
                verdict = world.verdict(application.name, ZONES[number].address, now)
                if alike & {*verdict.warnings, verdict.entry.id if verdict.entry else ""}:
                    return True
    return False


@settings(deadline=None)
@given(worlds())
def test_an_entry_is_shadowed_when_no_scan_at_any_time_finds_it_decide(world: World) -> None:
    expected = [
        s.entry.id
        for s in effective(world)
        if s.entry.action == "block" and s.entry.id not in repeated(world) and not decides_somewhere(world, s)
    ]
    assert codes(world, "shadowed") == expected


@settings(deadline=None)
@given(worlds())
def test_entries_without_effect_are_those_that_the_policy_shows(world: World) -> None:
    live = [s for s in world.subjects if not over(s.entry)]
    covering = [s for s in live if zones_of(s)]
    assert codes(world, "expired") == [s.entry.id for s in world.subjects if over(s.entry)]
    assert codes(world, "empty") == [s.entry.id for s in live if not zones_of(s)]
    unknown = [s.entry.id for s in covering if not concerned(world, s.entry)]
    assert codes(world, "unknown_application") == unknown
    gray = [s.entry.id for s in covering if gray_only(world, s.entry) and s.entry.id not in unknown]
    assert codes(world, "gray_ignored") == gray
    assert codes(world, "duplicate") == repeated(world)
    assert codes(world, "no_reason") == [s.entry.id for s in live if not s.entry.reason]
    assert codes(world, "no_author") == [s.entry.id for s in live]


@settings(deadline=None)
@given(worlds())
def test_allow_and_deny_overlap_where_a_scan_finds_an_address_on_both(world: World) -> None:
    expected: Counter[str | None] = Counter()
    for one in effective(world):
        for other in effective(world):
            a, b = one.entry, other.entry
            common = [x for x in concerned(world, a) if b.concerns(x.name) and not only_warns(x, b)]
            meet = any(a.active(now) and b.active(now) for now in (0, 500, 1000, 1500, 2000))
            both = set(zones_of(one)) & set(zones_of(other))
            if (a.list, b.list) == ("allow", "deny") and common and meet and both:
                expected[a.id] += 1
    assert Counter(codes(world, "allow_deny_overlap")) == expected


@settings(deadline=None)
@given(worlds())
def test_an_example_shows_what_it_is_an_example_of(world: World) -> None:
    entries = {s.entry.id: s for s in world.subjects}
    for finding in lint(world.loaded(), now=NOW, protected=[Network(4, 10 << 24, 8)]):
        if finding.example and finding.entry:
            network = parse_network(finding.example)
            first = Address(network.version, network.value, format_address(network.version, network.value))
            if finding.code != "wide_network":  # which is the network as written, exceptions and all
                assert entries[finding.entry].length(first) is not None


@settings(deadline=None)
@given(worlds(), st.lists(networks, max_size=3))
def test_protected_networks_are_denied_where_a_scan_at_any_time_finds_them_denied(
    world: World, protected: list[Network]
) -> None:
    expected: dict[tuple[Network, str, str | None], int] = {}
    for network in protected:
        for application in world.applications:
            for zone in zones_in(network):
                for now in moments():
                    if world.denies(application.name, zone.address, now):
                        entry = world.verdict(application.name, zone.address, now).entry
                        key = (network, application.name, entry.id if entry else None)
                        expected[key] = min(now, expected.get(key, now))
    found = would_deny(world.loaded(), protected, NOW)
    assert {denial[:3]: denial.since for denial in found} == expected
    assert len(found) == len(expected)
    for denial in found:
        address = Address(denial.example.version, denial.example.value, "")
        assert covers(denial.network, address)
        verdict = world.verdict(denial.application, address, denial.since)
        assert (verdict.decision, verdict.reason) == ("deny", denial.reason)


@settings(deadline=None)
@given(worlds(), st.lists(networks, max_size=3, unique=True))
def test_trusted_proxies_are_on_the_lists_that_a_scan_finds(world: World, proxies: list[Network]) -> None:
    expected: Counter[str] = Counter()
    for s in effective(world):
        denies = s.entry.list == "deny" and any(not only_warns(a, s.entry) for a in concerned(world, s.entry))
        for proxy in proxies:
            if denies and any(s.length(zone.address) is not None for zone in zones_in(proxy)):
                expected[s.entry.id] += 1
    found = [f for f in lint(world.loaded(), now=NOW, trusted_proxies=proxies) if f.code == "denies_trusted_proxy"]
    assert Counter(finding.entry for finding in found) == expected


@settings(deadline=None)
@given(worlds())
def test_findings_come_the_worst_first_and_their_severity_with_their_code(world: World) -> None:
    order = ["error", "warning", "notice"]
    findings = lint(world.loaded(), now=NOW, protected=[Network(4, 0, 0)], trusted_proxies=[Network(6, 0, 0)])
    ranks = [order.index(finding.severity) for finding in findings]
    assert ranks == sorted(ranks)
    assert {finding.code for finding in findings} <= SEVERITIES.keys()


def test_the_table_of_codes_is_whole() -> None:
    for code, severity in SEVERITIES.items():
        assert f"`{code}`" in (linting.__doc__ or "")
        (row,) = [line for line in (linting.__doc__ or "").splitlines() if f"`{code}`" in line]
        assert f"| {severity} |" in row


# Stories


def shop(*subjects: Subject, **settings: object) -> World:
    return World((Application("*"), Application("shop", **settings)), subjects)  # type: ignore[arg-type]


def only(world: World, **options: object) -> Finding:
    """Return the one finding there is."""
    (finding,) = lint(world.loaded(), now=NOW, **options)  # type: ignore[arg-type]
    return finding


def test_a_good_snapshot_has_nothing_to_find_fault_with() -> None:
    assert lint(shop(deny("bad", "203.0.113.0/24"), allow("office", "192.0.2.0/24")).loaded(), now=NOW) == []


def test_a_ban_inside_an_allowed_office_never_decides_and_is_told_why() -> None:
    world = shop(allow("office", "192.0.2.0/24"), deny("ban", "192.0.2.7"))
    shadow, overlap = lint(world.loaded(), now=NOW)
    assert shadow == Finding(
        "shadowed",
        "ban",
        "never decides in any application: other entries decide for all of its addresses, such as office (allow)",
        "192.0.2.7/32",
    )
    assert overlap == Finding(
        "allow_deny_overlap",
        "office",
        "allows 1 IPv4 address that ban denies; precedence: allow_first in *, shop",
        "192.0.2.7/32",
    )


def test_an_entry_that_decides_in_one_application_only_is_not_shadowed() -> None:
    world = shop(allow("office", "192.0.2.0/24"), deny("ban", "192.0.2.7"), precedence="most_specific")
    assert codes(world, "shadowed") == []
    (overlap,) = lint(world.loaded(), now=NOW)
    assert overlap.message.endswith(" that ban denies; precedence: allow_first in *; most_specific in shop")


def test_an_entry_that_decides_after_another_has_ended_is_not_shadowed() -> None:
    world = shop(allow("today", "192.0.2.0/24", expires=5000), deny("ban", "192.0.2.7"))
    assert codes(world, "shadowed") == []
    ended_before = shop(allow("today", "192.0.2.0/24", expires=5000), deny("ban", "192.0.2.7", expires=4000))
    assert codes(ended_before, "shadowed") == ["ban"]


def test_a_ban_may_decide_by_another_address_of_the_path() -> None:
    world = shop(allow("office", "192.0.2.0/24"), deny("ban", "192.0.2.7"), match="path")
    assert codes(world, "shadowed") == []


def test_an_entry_whose_exceptions_take_all_is_empty() -> None:
    hole = parse_network("192.0.2.0/24")
    finding = only(shop(Subject(deny("bad", "192.0.2.0/24").entry, (hole,), (hole,))))
    assert finding == Finding("empty", "bad", "covers no address: it has no networks, or exceptions remove all")


def test_an_expired_entry_has_no_other_finding() -> None:
    finding = only(shop(deny("ban", "0.0.0.0/0", expires=900, reason="", author="")))
    assert finding == Finding("expired", "ban", "expired at 1970-01-01T00:15:00Z")


def test_a_gray_entry_that_no_mode_looks_at_is_told() -> None:
    finding = only(shop(subject("odd", "gray", "192.0.2.0/24", applications=frozenset({"shop"}))))
    assert finding == Finding(
        "gray_ignored", "odd", "has no effect: the gray list counts only in mode safe_blocking; shop is in mode block"
    )


def test_an_entry_for_applications_that_are_not_there_is_told() -> None:
    finding = only(shop(deny("bad", "192.0.2.0/24", applications=frozenset({"b", "a"}))))
    assert finding == Finding("unknown_application", "bad", "names only unknown applications: a, b")


def test_two_entries_that_say_the_same_are_told_once() -> None:
    finding = only(shop(deny("one", "192.0.2.0/24"), deny("two", "192.0.2.0/25", "192.0.2.128/25")))
    assert finding == Finding("duplicate", "two", "repeats one: the same settings and addresses", "192.0.2.0/24")


def test_the_same_networks_in_two_windows_are_no_duplicates() -> None:
    world = shop(deny("one", "192.0.2.0/24", expires=2000), deny("two", "192.0.2.0/24", starts=3000))
    assert lint(world.loaded(), now=NOW) == []


@pytest.mark.parametrize(
    ("network", "message"),
    [("192.0.0.0/11", None), ("192.0.0.0/12", ""), ("2001:db8::/31", None), ("2001:db8::/32", "")],
)
def test_a_network_is_wide_when_it_is_wider_than_one_writes(network: str, message: str | None) -> None:
    text = str(parse_network(network, lenient=True))
    world = shop(deny("feed", text, "192.0.2.7", "2001:db8::7"))
    length = int(text.partition("/")[2])
    expected = "/12" if "." in text else "/32"
    found = lint(world.loaded(), now=NOW)
    if message is None:
        assert found == [
            Finding("wide_network", "feed", f"has a network of /{length}, expected {expected} or longer", text)
        ]
    else:
        assert found == []


def test_a_trusted_proxy_on_a_feed_is_an_error() -> None:
    world = shop(deny("feed", "10.1.2.3", "198.51.100.0/24"))
    proxies = [parse_network("10.0.0.0/8"), parse_network("198.51.100.7")]
    findings = lint(world.loaded(), now=NOW, trusted_proxies=proxies)
    assert findings == [
        Finding("denies_trusted_proxy", "feed", "covers part of the trusted proxy 10.0.0.0/8", "10.1.2.3/32"),
        Finding("denies_trusted_proxy", "feed", "covers the trusted proxy 198.51.100.7/32", "198.51.100.7/32"),
    ]


def test_a_warning_denies_no_proxy() -> None:
    world = shop(deny("feed", "10.1.2.3", action="warn"))
    assert lint(world.loaded(), now=NOW, trusted_proxies=[parse_network("10.0.0.0/8")]) == []


def test_a_protected_network_that_will_be_denied_is_told_with_the_time() -> None:
    office = parse_network("192.0.2.0/24")
    world = shop(deny("ban", "192.0.2.128/25", starts=2000, applications=frozenset({"shop"})))
    assert would_deny(world.loaded(), [office], NOW) == [
        Denial(office, "shop", "ban", "denylisted", parse_network("192.0.2.128/25"), 2000)
    ]
    finding = only(world, protected=[office])
    assert finding.message == (
        "192.0.2.0/24 is protected, and is denied in shop from 1970-01-01T00:33:20Z on: denylisted"
    )
    assert (finding.severity, finding.example) == ("error", "192.0.2.128/25")


def test_a_protected_network_is_denied_by_a_default_too() -> None:
    finding = only(shop(default="deny"), protected=[parse_network("192.0.2.7")])
    assert finding == Finding(
        "denies_protected", None, "192.0.2.7/32 is protected, and is denied in shop: default_deny", "192.0.2.7/32"
    )


def test_a_dry_run_denies_no_protected_network() -> None:
    world = shop(deny("ban", "192.0.2.7", applications=frozenset({"shop"})), dry_run=True)
    assert would_deny(world.loaded(), [parse_network("192.0.2.0/24")], NOW) == []


def test_the_earliest_time_of_a_denial_is_told() -> None:
    office = parse_network("192.0.2.0/24")
    world = shop(
        deny("ban", "192.0.2.0/24", applications=frozenset({"shop"})),
        allow("tonight", "192.0.2.0/25", expires=2000),
    )
    assert would_deny(world.loaded(), [office], NOW) == [
        Denial(office, "shop", "ban", "denylisted", parse_network("192.0.2.128/25"), NOW)
    ]


def test_entries_that_are_never_in_force_together_do_not_overlap() -> None:
    world = shop(allow("today", "192.0.2.0/24", expires=2000), deny("tomorrow", "192.0.2.0/24", starts=2000))
    assert lint(world.loaded(), now=NOW) == []


def test_an_entry_that_only_warns_where_it_meets_another_does_not_overlap_with_it() -> None:
    world = shop(
        allow("office", "192.0.2.0/24", applications=frozenset({"shop"})),
        deny("feed", "192.0.2.0/25"),
        mode="monitoring",
        denylist_in_monitoring=False,
    )
    assert lint(world.loaded(), now=NOW) == []


def test_a_feed_with_many_networks_in_a_proxy_is_told_once() -> None:
    world = shop(deny("feed", "10.1.0.0/16", "10.2.0.0/15"), deny("more", "10.2.0.0/16"))
    findings = lint(world.loaded(), now=NOW, trusted_proxies=[parse_network("10.0.0.0/8")])
    assert [(finding.entry, finding.example) for finding in findings if finding.code == "denies_trusted_proxy"] == [
        ("feed", "10.1.0.0/16"),
        ("more", "10.2.0.0/16"),
    ]


def test_an_example_is_the_largest_network_whatever_else_divides_it() -> None:
    parts = [f"192.0.2.{first}/26" for first in (0, 128)]
    world = shop(allow("office", "192.0.2.0/24"), deny("bad", "192.0.2.0/24"), subject("odd", "gray", *parts))
    (overlap,) = [finding for finding in lint(world.loaded(), now=NOW) if finding.code == "allow_deny_overlap"]
    assert overlap.message == "allows 256 IPv4 addresses that bad denies; precedence: allow_first in *, shop"
    assert overlap.example == "192.0.2.0/24"


def test_only_so_many_overlaps_are_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linting, "MAX_OVERLAPS", 2)
    denying = [deny(f"d{number}", "192.0.2.7") for number in range(3)]
    findings = lint(shop(allow("a", "192.0.2.0/24"), *denying).loaded(), now=NOW)
    overlaps = [finding for finding in findings if finding.code == "allow_deny_overlap"]
    assert [finding.entry for finding in overlaps] == ["a", "a", None]
    assert overlaps[-1].message == "more than 2 pairs of entries overlap; only the first are listed"
