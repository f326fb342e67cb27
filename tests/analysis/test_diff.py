"""The difference of two snapshots, against a scan of both policies address by address."""

from __future__ import annotations

import gzip
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.worlds import (
    NOW,
    ZONES,
    Subject,
    World,
    Zone,
    allow,
    covers,
    deny,
    load,
    networks64,
    subject,
    total,
    worlds,
    zones_in,
)
from support.suite.shared import shared

from authz.addresses import Network, parse_network
from authz.analysis.coverage import Tally
from authz.analysis.decisions import Deciding
from authz.analysis.diff import CHANGES, Change, Side, compare
from authz.analysis.map.picture import decision_map
from authz.engine.model import Application, Entry
from authz.errors import InputError

if TYPE_CHECKING:
    from authz.engine.decision.verdict import Verdict


def tally(zones: list[Zone]) -> Tally:
    return Tally(total(zones, 4), total(zones, 6), networks64(zones))


def kind_of(before: World, after: World, name: str, zone: Zone, *, attack: bool) -> str | None:
    """Return the kind of change of a zone, by scanning both policies."""
    was, now_is = before.denies(name, zone.address, attack=attack), after.denies(name, zone.address, attack=attack)
    if now_is and not was:
        return "newly_denied"
    if was and not now_is:
        return "newly_allowed"
    reasons = [world.verdict(name, zone.address, attack=attack).reason for world in (before, after)]
    return "changed_reason" if reasons[0] != reasons[1] else None


@settings(deadline=None)
@given(worlds(), worlds(), st.booleans())
def test_changes_are_those_that_a_scan_of_both_policies_finds(before: World, after: World, attack: bool) -> None:
    difference = compare(before.loaded(), after.loaded(2), now=NOW, attack=attack, top=1000)
    names = {application.name for world in (before, after) for application in world.applications}
    assert {decision.name for decision in difference.decisions} == names
    for decision in difference.decisions:
        for kind in CHANGES:
            zones = [zone for zone in ZONES if kind_of(before, after, decision.name, zone, attack=attack) == kind]
            assert decision.changes[kind].tally == tally(zones)
            check_networks(decision.changes[kind], zones, before, after, decision.name, attack=attack)


def check_networks(change: Change, zones: list[Zone], before: World, after: World, name: str, *, attack: bool) -> None:
    """Check that the networks are those zones, largest first, and say what is decided in them."""
    networks = [changed.network for changed in change.largest]
    assert sum(network.last - network.value + 1 for network in networks if network.version == 4) == change.tally.ipv4
    assert sum(network.last - network.value + 1 for network in networks if network.version == 6) == change.tally.ipv6
    assert networks == sorted(networks, key=lambda network: (network.version, network.length, network.value))
    for zone in zones:
        (changed,) = [piece for piece in change.largest if covers(piece.network, zone.address)]
        assert changed.before == side(before.verdict(name, zone.address, attack=attack))
        assert changed.after == side(after.verdict(name, zone.address, attack=attack))


def side(verdict: Verdict) -> Side:
    return Side(verdict.reason, verdict.entry.id if verdict.entry else None)


@settings(deadline=None)
@given(worlds(), worlds(), st.integers(0, 5))
def test_fewer_networks_are_the_largest_of_each_version(before: World, after: World, top: int) -> None:
    every, some = (compare(before.loaded(), after.loaded(), now=NOW, top=count) for count in (1000, top))
    for one, other in zip(every.decisions, some.decisions, strict=True):
        for kind in CHANGES:
            kept = [
                changed
                for version in (4, 6)
                for changed in [c for c in one.changes[kind].largest if c.network.version == version][:top]
            ]
            assert list(other.changes[kind].largest) == kept


@settings(deadline=None)
@given(worlds(), worlds())
def test_entries_gain_and_lose_the_addresses_that_a_scan_finds(before: World, after: World) -> None:
    entries = compare(before.loaded(), after.loaded(), now=NOW).entries
    was, now_is = ({subject.entry.id: subject for subject in world.subjects} for world in (before, after))
    assert [entry.name for entry in entries.added] == sorted(now_is.keys() - was.keys())
    assert [entry.name for entry in entries.removed] == sorted(was.keys() - now_is.keys())
    nothing = Subject(Entry("", "deny"))
    changed = []
    for name in sorted(was.keys() | now_is.keys()):
        old, new = was.get(name, nothing), now_is.get(name, nothing)
        gained = tally([z for z in ZONES if old.length(z.address) is None is not new.length(z.address)])
        lost = tally([z for z in ZONES if new.length(z.address) is None is not old.length(z.address)])
        listed = [entry for some in entries for entry in some if entry.name == name]
        if name in was and name in now_is and old.entry == new.entry and not any((*gained, *lost)):
            assert listed == []
            continue
        assert [(entry.gained, entry.lost) for entry in listed] == [(gained, lost)]
        if name in was and name in now_is:
            changed.append(name)
            differing = {f for f in Entry._fields if getattr(old.entry, f) != getattr(new.entry, f)}
            assert listed[0].fields == {f: (getattr(old.entry, f), getattr(new.entry, f)) for f in differing}
    assert [entry.name for entry in entries.changed] == changed


@settings(deadline=None)
@given(worlds())
def test_a_snapshot_does_not_differ_from_itself(world: World) -> None:
    difference = compare(world.loaded(), world.loaded(), now=NOW)
    assert set(difference.counts().values()) == {0}


def shop(*subjects: Subject, **settings: object) -> World:
    return World((Application("*"), Application("shop", **settings)), subjects)  # type: ignore[arg-type]


def changes(before: World, after: World, name: str = "shop") -> dict[str, Tally]:
    difference = compare(before.loaded(), after.loaded(), now=NOW, application=name)
    return {kind: change.tally for kind, change in difference.decisions[0].changes.items() if any(change.tally)}


def test_a_new_network_is_newly_denied_and_named() -> None:
    difference = compare(shop().loaded(), shop(deny("bad", "203.0.113.0/25")).loaded(), now=NOW)
    change = difference.decisions[0].changes["newly_denied"]
    assert change.tally == Tally(128)
    ((network, before, after),) = change.largest
    assert str(network) == "203.0.113.0/25"
    assert (before, after) == (Side("default_allow", None), Side("denylisted", "bad"))


def test_a_network_that_two_entries_deny_in_turn_changes_neither_answer_nor_reason() -> None:
    assert changes(shop(deny("a", "192.0.2.0/24")), shop(deny("b", "192.0.2.0/24"))) == {}


def test_an_application_that_is_new_was_decided_as_any_other() -> None:
    world = shop(deny("bad", "192.0.2.0/24"))
    before = world._replace(applications=(Application("*"),))
    difference = compare(before.loaded(), shop(deny("bad", "192.0.2.0/24"), default="deny").loaded(), now=NOW)
    assert [(decision.name, decision.before, decision.after) for decision in difference.decisions] == [
        ("*", "*", "*"),
        ("shop", "*", "shop"),
    ]
    assert difference.decisions[1].changes["newly_denied"].tally == Tally(2**32 - 256, 2**128, 2**64)
    assert [application.name for application in difference.applications.added] == ["shop"]


def test_an_application_that_is_gone_is_decided_as_any_other() -> None:
    after = shop()._replace(applications=(Application("*", default="deny"),))
    difference = compare(shop().loaded(), after.loaded(), now=NOW)
    assert [(decision.name, decision.before, decision.after) for decision in difference.decisions] == [
        ("*", "*", "*"),
        ("shop", "shop", "*"),
    ]
    assert difference.decisions[1].changes["newly_denied"].tally.ipv4 == 2**32
    assert [application.name for application in difference.applications.removed] == ["shop"]


def test_an_application_that_is_set_otherwise_is_told_field_by_field() -> None:
    difference = compare(shop().loaded(), shop(mode="monitoring", default="deny").loaded(), now=NOW)
    (changed,) = difference.applications.changed
    assert changed.name == "shop"
    assert changed.fields == {"mode": ("block", "monitoring"), "default": ("allow", "deny")}


def test_dry_run_denies_nobody_and_its_end_denies_all_that_it_would_have() -> None:
    bad = deny("bad", "192.0.2.0/24")
    assert changes(shop(dry_run=True), shop(bad, dry_run=True)) == {"changed_reason": Tally(256)}
    assert changes(shop(bad, dry_run=True), shop(bad)) == {"newly_denied": Tally(256)}


def test_a_window_counts_at_the_time_that_is_asked_for() -> None:
    before, after = shop().loaded(), shop(deny("ban", "192.0.2.7", starts=2000, expires=3000)).loaded()
    denied = [compare(before, after, now=now).counts()["newly_denied"] for now in (1999, 2000, 2999, 3000)]
    assert denied == [0, 1, 1, 0]


def test_an_attack_signal_counts_when_it_is_asked_for() -> None:
    settings = {"mode": "safe_blocking"}
    before, after = shop(**settings).loaded(), shop(subject("odd", "gray", "192.0.2.0/24"), **settings).loaded()
    assert compare(before, after, now=NOW).counts()["newly_denied"] == 0
    assert compare(before, after, now=NOW, attack=True).counts()["newly_denied"] == 256


def test_counts_are_those_of_the_application_with_most_and_not_their_sum() -> None:
    after = shop(
        deny("bad", "192.0.2.0/24", "2001:db8::/63"), deny("more", "192.0.3.7", applications=frozenset({"shop"}))
    )
    counts = compare(shop().loaded(), after.loaded(), now=NOW).counts()
    assert {name: count for name, count in counts.items() if count} == {
        "newly_denied": 257, "newly_denied_ipv6_64s": 2, "entries_added": 2
    }  # fmt: skip


def test_an_unknown_application_is_a_mistake_that_names_those_there_are() -> None:
    with pytest.raises(InputError) as caught:
        compare(shop().loaded(), shop().loaded(), now=NOW, application="sohp")
    assert caught.value.message == "found 'sohp', expected an application of one of the snapshots"
    assert caught.value.hint == "they have *, shop"


@settings(deadline=None)
@given(worlds(), worlds(), st.integers(0, 5))
def test_zones_are_told_apart_by_no_network(before: World, after: World, place: int) -> None:
    """Keeps the twin honest: an address beside the one that stands for its zone is covered alike."""
    for zone in (ZONES[16], ZONES[17], ZONES[-1]):
        beside = zone.address._replace(value=zone.address.value + 1 + place)
        assert before.matches(beside) == before.matches(zone.address)
        assert after.matches(beside) == after.matches(zone.address)
    assert len(zones_in(Network(4, 0, 0))) == 18


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.long)])
def test_the_addresses_of_a_routing_table_are_counted_as_by_merging_its_networks(step: int) -> None:
    with gzip.open(shared("data/lpm/bgp-full-table-prefixes.txt.gz"), "rt") as lines:
        networks = [parse_network(line.strip()) for line in islice(lines, 0, None, step)]
    table = Subject(Entry("bgp", "deny"), tuple(networks))
    every = load([Application("*")], [table])
    difference = compare(load([Application("*")], []), every, now=NOW, top=5)
    assert (
        difference.entries.added[0].gained == difference.decisions[0].changes["newly_denied"].tally == merged(networks)
    )
    picture = decision_map(Deciding(every, now=NOW), every.general)
    (denied,) = [row.amount for row in picture.legend if row.label == "deny list"]
    assert denied.startswith(f"{difference.entries.added[0].gained.ipv4:,} addresses, ")
    again = compare(every, load([Application("*")], [table]), now=NOW)
    assert set(again.counts().values()) == {0}


def merged(networks: list[Network]) -> Tally:
    """Count addresses by sorting the networks and joining those that touch."""
    ranges: dict[int, list[list[int]]] = {4: [], 6: []}
    for version, joined in ranges.items():
        for first, last in sorted((n.value, n.last) for n in networks if n.version == version):
            if joined and first <= joined[-1][1] + 1:
                joined[-1][1] = max(joined[-1][1], last)
            else:
                joined.append([first, last])
    four, six = (sum(last - first + 1 for first, last in ranges[version]) for version in (4, 6))
    touched = [(first >> 64, last >> 64) for first, last in ranges[6]]
    count = sum(last - first + 1 for first, last in touched) - sum(a[1] == b[0] for a, b in pairwise(touched))
    return Tally(four, six, count)


def test_an_entry_on_the_allow_list_is_named_as_what_decides() -> None:
    before, after = (
        shop(deny("bad", "192.0.2.0/24")),
        shop(deny("bad", "192.0.2.0/24"), allow("office", "192.0.2.0/26")),
    )
    difference = (
        compare(before.loaded(), after.loaded(), now=NOW, application="shop").decisions[0].changes["newly_allowed"]
    )
    assert difference.largest[0].after == Side("allowlisted", "office")
