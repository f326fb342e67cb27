"""Several layers decide as one: the union of their entries, the settings of the first."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.small_layers import GENERAL, SHOP, ban, check, decider, layer, policy
from support.publishing.worlds import NOW, ZONES, World, allow, deny, load, moments, subject, worlds
from support.suite.effort import tries

from authz.addresses import parse_address, parse_network
from authz.engine.decision.decider import Decider
from authz.engine.decision.lapses import stale_at
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.request import Request
from authz.engine.settings import LayerSettings, Settings
from authz.errors import SnapshotRefused
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from support.publishing.worlds import Subject

    from authz.engine.decision.outcome import Outcome


def said(outcome: Outcome) -> tuple[str, str | None, str | None, int | None]:
    return outcome.reason, outcome.entry, outcome.layer, outcome.serial


# The union.


def test_an_entry_of_any_layer_decides_and_is_named_with_its_layer_and_serial() -> None:
    decide = decider(policy(allow("office", "192.0.2.0/24")), layer("bans", deny("ban", "203.0.113.9"), serial=90))
    assert said(check(decide, "203.0.113.9")) == ("denylisted", "ban", "bans", 90)
    assert said(check(decide, "192.0.2.1")) == ("allowlisted", "office", "policy", 7)
    assert said(check(decide, "203.0.113.8")) == ("default_allow", None, None, 7)


def test_precedence_and_settings_are_the_policys_whatever_the_layers_say() -> None:
    other = layer("bans", deny("ban", "192.0.2.1"), applications=(GENERAL, SHOP._replace(precedence="deny_first")))
    assert said(check(decider(policy(allow("office", "192.0.2.0/24")), other), "192.0.2.1"))[0] == "allowlisted"
    first = policy(allow("office", "192.0.2.0/24"), precedence="deny_first")
    assert said(check(decider(first, other), "192.0.2.1")) == ("denylisted", "ban", "bans", 1)


def test_the_longest_prefix_of_all_layers_is_the_most_specific() -> None:
    first = policy(deny("wide", "192.0.2.0/24"), precedence="most_specific")
    decide = decider(first, layer("team", allow("one", "192.0.2.1")), layer("bans", deny("half", "192.0.2.0/25")))
    assert check(decide, "192.0.2.1").entry == "one"
    assert check(decide, "192.0.2.2").entry == "half"
    assert check(decide, "192.0.2.200").entry == "wide"


def test_entries_of_one_id_in_two_layers_are_two_entries() -> None:
    decide = decider(policy(allow("a", "192.0.2.0/24"), match="path"), layer("bans", deny("a", "192.0.2.1")))
    assert said(check(decide, "192.0.2.1")) == ("allowlisted", "a", "policy", 7)
    assert said(check(decider(policy(), layer("bans", deny("a", "192.0.2.1"))), "192.0.2.1"))[1:3] == ("a", "bans")


def test_an_application_is_the_policys_only() -> None:
    other = layer("bans", applications=(GENERAL, Application("hidden")))
    assert check(decider(policy(), other), "192.0.2.1", "hidden").reason == "unknown_application"


@pytest.mark.parametrize("unknown", ["auto", "default"])
def test_a_ban_holds_in_an_application_that_the_policy_does_not_have(unknown: str) -> None:
    general = layer("policy", applications=(GENERAL,))
    networks = layer("bans", deny("b", "203.0.113.0/24", applications=frozenset({"blog"})))
    single = layer("bans", bans=[ban(1, "198.51.100.7", applications=frozenset({"blog"}))])
    for bans, address in ((networks, "203.0.113.9"), (single, "198.51.100.7")):
        banned = decider(general, bans, unknown=unknown)
        outcome = check(banned, address, "blog")
        assert (outcome.reason, outcome.application, outcome.unknown) == ("denylisted", "blog", True)
        assert check(banned, "192.0.2.1", "blog").reason == "default_allow"
        assert check(banned, address, "wiki").reason == "default_allow"
        assert check(banned, address, "").reason == "default_allow"


def test_a_ban_does_not_make_an_application_known() -> None:
    bans = layer("bans", deny("b", "203.0.113.0/24", applications=frozenset({"blog"})))
    told: list[str] = []
    strict = decider(policy(), bans)
    strict.on_unknown = told.append
    assert check(strict, "203.0.113.9", "blog").reason == "unknown_application"
    assert told == ["blog"]


def test_each_request_for_an_application_that_only_a_ban_names_is_told() -> None:
    """The second one of a client was not: its decision was remembered."""
    general = layer("policy", applications=(GENERAL,))
    bans = layer("bans", deny("b", "203.0.113.0/24", applications=frozenset({"blog"})))
    lenient = decider(general, bans, unknown="default")
    told: list[str] = []
    lenient.on_unknown = told.append
    for _ in range(3):
        assert lenient.check(Request("192.0.2.1", ["203.0.113.9"], "blog"), NOW)[0].reason == "default_allow"
    assert told == ["blog"] * 3


def test_a_ban_in_an_unknown_application_ends_with_its_layer() -> None:
    general = layer("policy", applications=(GENERAL,))
    bans = layer("bans", deny("b", "203.0.113.0/24", applications=frozenset({"blog"})))  # created NOW
    stale = decider(general, bans, layers=(LayerSettings("bans", max_age=15, when_stale="ignore"),))
    assert check(stale, "203.0.113.9", "blog").reason == "denylisted"
    assert check(stale, "203.0.113.9", "blog", NOW + 20).reason == "default_allow"


def test_the_deny_entries_of_all_layers_are_held_against_the_path() -> None:
    decide = Decider(Settings())
    first = policy(match="path")
    decide.load(Ruleset([first, layer("bans", deny("hop", "203.0.113.9"))]))
    outcome, _ = decide.check(Request("203.0.113.9", (), "shop"), NOW)
    assert outcome.layer == "bans"


@pytest.mark.parametrize("empty", [(), (deny("away", "198.51.100.1"),)])
def test_layers_that_do_not_cover_a_client_change_nothing(empty: tuple[Subject, ...]) -> None:
    first = policy(deny("bad", "203.0.113.0/24"))
    decide = decider(first, layer("bans", *empty), layer("more"))
    for address in ("203.0.113.9", "192.0.2.1", "2001:db8::1"):
        assert said(check(decide, address)) == said(check(decider(first), address))


def test_covering_names_the_layers() -> None:
    ruleset = Ruleset([policy(deny("bad", "203.0.113.0/24")), layer("bans", deny("ban", "203.0.113.9"))])
    covering = ruleset.covering(parse_address("203.0.113.9"))
    assert [(c.layer, c.entry.id, str(c.network)) for c in covering] == [
        ("policy", "bad", "203.0.113.0/24"),
        ("bans", "ban", "203.0.113.9/32"),
    ]


CUTS = st.lists(st.integers(0, 3), min_size=6, max_size=6)


@given(worlds(), CUTS, st.booleans(), st.sampled_from(["*", "shop", "admin"]))
@settings(max_examples=tries(100), deadline=None)
def test_a_policy_cut_into_layers_decides_as_in_one_file(world: World, cut: list[int], attack: bool, name: str) -> None:
    layers = [[s for s, number in zip(world.subjects, cut, strict=False) if number == place] for place in range(4)]
    files = [load(world.applications, layers[0]), *(layer(f"l{n}", *layers[n]) for n in (1, 2, 3))]
    many, whole = decider(*files, unknown="default"), decider(world.loaded(), unknown="default")
    for now in moments():
        for zone in ZONES:
            request = Request(zone.address.text, (), name, "", attack)
            found, expected = (which.check(request, now)[0] for which in (many, whole))
            assert (found.decision, found.reason, found.list) == (expected.decision, expected.reason, expected.list)
            assert set(found.warnings) == set(expected.warnings)
            assert (found.since, found.until) == (expected.since, expected.until)


# Single addresses.


def test_a_single_address_decides_and_ends_at_its_own_expiry() -> None:
    bans = [ban(1, "203.0.113.9", expires=NOW + 60), ban(2, "2001:db8::9")]
    decide = decider(policy(), layer("bans", bans=bans, serial=3))
    assert said(check(decide, "203.0.113.9")) == ("denylisted", ban_id(1), "bans", 3)
    assert check(decide, "203.0.113.9").until == NOW + 60
    assert check(decide, "203.0.113.9", now=NOW + 59.9).decision == "deny"
    assert check(decide, "203.0.113.9", now=NOW + 60).decision == "allow"
    assert check(decide, "2001:db8::9", now=NOW + 60).entry == ban_id(2)
    assert check(decide, "203.0.113.8").decision == "allow"


def test_a_single_address_is_as_specific_as_can_be() -> None:
    bans = [ban(1, "203.0.113.9", "gray"), ban(2, "2001:db8::9", "gray")]
    wide = deny("bad", "203.0.113.8/31", "2001:db8::8/127")
    first = policy(wide, mode="safe_blocking", precedence="most_specific")
    for address, number in (("203.0.113.9", 1), ("2001:db8::9", 2)):
        assert check(decider(first, layer("bans", bans=bans)), address).entry == ban_id(number)
        covering = Ruleset([first, layer("bans", bans=bans)]).covering(parse_address(address))
        assert covering[1].network == parse_network(address)


def test_a_file_may_have_networks_and_single_addresses() -> None:
    bans = [ban(1, "203.0.113.9"), ban(2, "192.0.2.1")]
    decide = decider(policy(), layer("bans", deny("net", "203.0.113.0/24"), deny("six", "2001:db8::/32"), bans=bans))
    addresses = ("203.0.113.9", "203.0.113.8", "192.0.2.1", "2001:db8::1", "192.0.2.2")
    assert [check(decide, text).entry for text in addresses] == [ban_id(1), "net", ban_id(2), "six", None]


def test_single_addresses_count_for_their_applications_only() -> None:
    decide = decider(policy(), layer("bans", bans=[ban(1, "203.0.113.9", applications=frozenset({"shop"}))]))
    assert [check(decide, "203.0.113.9", name).decision for name in ("shop", "*")] == ["deny", "allow"]


def test_all_bans_of_one_address_count() -> None:
    bans = [
        ban(1, "203.0.113.9", applications=frozenset({"admin"})),
        ban(2, "203.0.113.9", "gray", expires=NOW + 60),
        ban(3, "203.0.113.9", expires=NOW + 30),
        ban(4, "203.0.113.10"),
    ]
    decide = decider(policy(), layer("bans", bans=bans))
    outcome = check(decide, "203.0.113.9")
    assert (outcome.entry, outcome.until) == (ban_id(3), NOW + 30)
    assert check(decide, "203.0.113.9", now=NOW + 30).reason == "default_allow"


def test_the_first_layer_may_have_single_addresses_too() -> None:
    first = load((GENERAL, SHOP), [], 7, bans=[ban(1, "203.0.113.9")])
    assert said(check(decider(first), "203.0.113.9")) == ("denylisted", ban_id(1), "policy", 7)


# Parts and tombstones.


def test_a_tombstone_cancels_bans_of_files_behind_it_in_the_same_layer() -> None:
    settled = layer("bans", deny(ban_id(3), "198.51.100.0/24"), bans=[ban(1, "203.0.113.9"), ban(2, "203.0.113.8")])
    tombstones = [ban_id(number) for number in (1, 3, 4)]
    recent = layer("bans", deny(ban_id(4), "192.0.2.1"), tombstones=tombstones, serial=5)
    decide = decider(policy(), recent, settled)
    entries = {text: check(decide, text).entry for text in ("203.0.113.9", "203.0.113.8", "198.51.100.1", "192.0.2.1")}
    assert entries == {
        "203.0.113.9": None,
        "203.0.113.8": ban_id(2),
        "198.51.100.1": None,
        "192.0.2.1": ban_id(4),  # its own tombstones do not cancel it: it was ordered again
    }
    covering = Ruleset([policy(), recent, settled]).covering
    assert [covering(parse_address(text)) for text in ("203.0.113.9", "198.51.100.1")] == [[], []]
    assert check(decide, "203.0.113.8").serial == 5  # the serial of a layer is the one of its first file


def test_tombstones_of_several_files_add_up() -> None:
    settled = layer("bans", bans=[ban(1, "203.0.113.1"), ban(2, "203.0.113.2"), ban(3, "203.0.113.3")])
    files = [layer("bans", tombstones=[ban_id(1)]), layer("bans", tombstones=[ban_id(2)]), settled]
    decide = decider(policy(), *files)
    assert [check(decide, f"203.0.113.{n}").decision for n in (1, 2, 3)] == ["allow", "allow", "deny"]


def test_a_tombstone_is_good_for_its_own_layer_only() -> None:
    first = load((GENERAL, SHOP), [deny(ban_id(1), "203.0.113.0/24")])
    decide = decider(first, layer("team", tombstones=[ban_id(1), ban_id(2)]), layer("bans", bans=[ban(2, "192.0.2.1")]))
    assert [check(decide, text).decision for text in ("203.0.113.9", "192.0.2.1")] == ["deny", "deny"]


def test_a_tombstone_does_not_cancel_what_stands_before_it() -> None:
    recent, settled = layer("bans", bans=[ban(1, "192.0.2.1")]), layer("bans", tombstones=[ban_id(1)])
    assert check(decider(policy(), recent, settled), "192.0.2.1").decision == "deny"


# What deliberate faults survived.


def test_answers_of_two_layers_are_not_mixed_up() -> None:
    """They differ in nothing but the layer, which stands in the answer."""
    decide = decider(policy(deny("bad", "203.0.113.9")), layer("bans", deny("ban", "192.0.2.1")))
    one, other = check(decide, "203.0.113.9"), check(decide, "192.0.2.1")
    assert (one.reason, one.list) == (other.reason, other.list)
    assert one.memo is not other.memo


@pytest.mark.parametrize("host", ["x@shop.example.com", "shop.example.com..", "[shop.example.com]"])
def test_a_host_that_can_be_read_in_two_ways_is_denied_where_hosts_name_applications(host: str) -> None:
    decide = decider(policy(hosts=("shop.example.com",)), unknown="default")
    assert decide.check(Request("192.0.2.1", (), None, host), NOW)[0].reason == "malformed_request"
    assert decide.check(Request("192.0.2.1", (), None, "a.example"), NOW)[0].reason == "default_allow"
    nobody = decider(policy(), unknown="default")
    assert nobody.check(Request("192.0.2.1", (), None, host), NOW)[0].reason == "default_allow"


@pytest.mark.parametrize(("max_age", "expires", "at"), [(50, 200, 150), (50, 120, 120), (math.inf, 120, 120)])
def test_a_file_is_stale_when_it_is_old_or_expired(max_age: float, expires: float, at: float) -> None:
    file: Any = SimpleNamespace(created=100, expires=expires)
    assert stale_at(file, max_age) == at


def test_an_entry_of_any_list_may_warn_only() -> None:
    watching = [
        subject("a", "allow", "192.0.2.0/24", action="warn"),
        subject("g", "gray", "192.0.2.1", action="warn"),
        deny("bad", "192.0.2.0/24"),
    ]
    for mode in ("block", "safe_blocking"):
        outcome = check(decider(policy(*watching, mode=mode)), "192.0.2.1")
        assert (outcome.reason, outcome.entry) == ("denylisted", "bad")
        assert set(outcome.warnings) == {"a", "g"}


def test_the_policy_stays_whatever_layers_are_ignored() -> None:
    ruleset = Ruleset([policy(), layer("bans"), layer("more")])
    assert list(ruleset.without({"policy", "bans"}).layers) == ["policy", "more"]


@pytest.mark.parametrize("names", [("bans",), ("bans", "more"), ("bans", "more", "team")])
def test_no_number_of_layers_denies_what_the_policy_protects(names: tuple[str, ...]) -> None:
    first = load((GENERAL, SHOP), [], protected=["192.0.2.0/24", "2001:db8::/48"])
    decide = decider(first, *(layer(name, deny(name, "192.0.2.0/23", "2001:db8::/47")) for name in names))
    inside, outside = ("192.0.2.1", "2001:db8::1"), ("192.0.3.1", "2001:db8:1::1")
    assert [check(decide, text).decision for text in (*inside, *outside)] == ["allow", "allow", "deny", "deny"]


@pytest.mark.parametrize(
    "template", [b"\xff", b"\x12\x05block\x1a\x05block", b"\x12\x04deny\x1a\x04shut"], ids=["bytes", "list", "action"]
)
def test_a_template_that_cannot_be_is_refused_when_the_file_is_opened(template: bytes) -> None:
    """Not when the file takes its place in the event loop, or when the first request meets the ban."""
    offsets = b"".join(number.to_bytes(4, "little") for number in (0, len(template)))
    altered = {"templates.data": template, "templates.offset": offsets}
    with pytest.raises(SnapshotRefused) as refused:
        layer("bans", bans=[ban(1, "192.0.2.1")], altered=altered)
    assert refused.value.code == "bad_manifest"
