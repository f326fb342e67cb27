"""What the key of a later layer may do: each limit of `may`, attacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.publishing.worlds import NOW, allow, deny, load, subject

from authz.addresses import parse_network
from authz.engine.decision.decider import Decider
from authz.engine.entries import manifest, permissions
from authz.engine.entries.permissions import CLOCK_SLACK, MAX_ENTRY, May, first_violation, overruled
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.errors import Refusal, SnapshotRefused
from authz.publisher.bans.record import Ban
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from support.publishing.worlds import Subject

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import ListName

DAY = 86400
END = NOW + DAY
GENERAL = Application("*")
PROTECTED = [parse_network("192.0.2.0/24"), parse_network("2001:db8:1::/48")]


def layer(*subjects: Subject, **more: Any) -> OpenedSnapshot:
    return load((GENERAL,), subjects, layer="bans", **more)


def ban(number: int, address: str, on: ListName = "deny", **fields: Any) -> Ban:
    return Ban(ban_id(number), parse_network(address), on, **{"expires": END, **fields})


def violation(*files: OpenedSnapshot, now: float = NOW, **may: Any) -> tuple[str, str] | None:
    """Return code and entry of the first violation."""
    refused = first_violation(files, May(**may), PROTECTED, now)
    return None if refused is None else (refused.code.value.removeprefix("not_permitted_"), refused.entry)


FINE = [
    deny("a", "203.0.113.0/24", expires=END),
    deny("b", "2001:db8:2::/56", expires=END),
    subject("c", "gray", "198.51.100.1", expires=END),
]


def test_what_keeps_to_the_limits_is_accepted() -> None:
    bans = [ban(1, "203.0.113.9"), ban(2, "2001:db8:2::9"), ban(3, "198.51.100.9", "gray")]
    assert violation(layer(*FINE, bans=bans)) is None
    assert violation(layer()) is None


def test_a_bans_key_cannot_allow() -> None:
    assert violation(layer(*FINE, allow("mine", "198.51.100.7", expires=END))) == ("list", "mine")
    assert violation(layer(bans=[ban(1, "203.0.113.9"), ban(2, "203.0.113.8", "allow")])) == ("list", ban_id(2))
    assert violation(layer(subject("mine", "allow", "198.51.100.7", expires=END, action="warn"))) == ("list", "mine")
    assert violation(layer(*FINE), lists=frozenset({"deny"})) == ("list", "c")


def test_a_bans_key_cannot_ban_protected_networks() -> None:
    for network in ("192.0.2.7", "192.0.2.0/24", "2001:db8:1::/56", "2001:db8:1:ffff::1"):
        assert violation(layer(deny("coup", network, expires=END))) == ("protected", "coup")
        assert violation(layer(subject("coup", "gray", network, expires=END))) == ("protected", "coup")
    wide = {"widest_ipv4": 0, "widest_ipv6": 0}
    for network in ("192.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"):
        assert violation(layer(deny("coup", network, expires=END)), **wide) == ("protected", "coup")
    for address in ("192.0.2.7", "192.0.2.255", "2001:db8:1::"):
        assert violation(layer(bans=[ban(1, "203.0.113.1"), ban(2, address)])) == ("protected", ban_id(2))


def test_what_was_banned_before_the_policy_protected_it_is_overruled_and_refuses_nothing() -> None:
    def made(added: int | None) -> OpenedSnapshot:
        entries = [deny("net", "192.0.2.0/25", expires=END, added=added), deny("fine", "203.0.113.9", expires=END)]
        return layer(*entries, bans=[] if added is None else [ban(7, "2001:db8:1::9", added=added)])

    for added, code in ((NOW - 1, None), (NOW, "net"), (NOW + 1, "net"), (None, "net")):
        first = first_violation([made(added)], May(), PROTECTED, NOW, since=NOW)
        assert (first and first.entry) == code
    assert [(denial.entry.id, str(denial)) for denial in overruled([made(NOW - 1)], PROTECTED, NOW)] == [
        ("net", "192.0.2.0"),
        (ban_id(7), "2001:db8:1::9"),
    ]
    late = layer(bans=[ban(1, "192.0.2.1", added=NOW - 1), ban(2, "192.0.2.2", added=NOW)])
    first = first_violation([late], May(), PROTECTED, NOW, since=NOW)
    assert first is not None
    assert first.entry == ban_id(2)


def test_a_protected_address_by_itself_is_not_banned_either() -> None:
    protected = [parse_network("192.0.2.77"), parse_network("2001:db8:1::7")]
    for address in ("192.0.2.77", "2001:db8:1::7"):
        for file in (layer(deny("coup", address, expires=END)), layer(bans=[ban(1, address)])):
            assert first_violation([file], May(), protected, NOW) is not None
    beside = deny("beside", "192.0.2.76", "192.0.2.78", "2001:db8:1::6", "2001:db8:1::8", expires=END)
    assert first_violation([layer(beside)], May(), protected, NOW) is None


def test_an_entry_in_many_places_is_overruled_once() -> None:
    several = deny("many", *(f"192.0.2.{number}" for number in (1, 3, 5)), "2001:db8:1::1", expires=END)
    beside = [deny("beside", "192.0.3.0/24", expires=END), deny("over", "192.0.2.9", expires=NOW)]
    warns = deny("warns", "192.0.2.9", expires=END, action="warn")
    denials = list(overruled([layer(several, *beside, warns)], PROTECTED, NOW))
    assert [(denial.entry.id, str(denial)) for denial in denials] == [("many", "192.0.2.1")]


@pytest.mark.parametrize("network", ["192.0.1.255", "192.0.3.0/24", "2001:db8:2::/56", "2001:db8:0:ffff::/64"])
def test_what_lies_beside_a_protected_network_may_be_banned(network: str) -> None:
    assert violation(layer(deny("fine", network, expires=END))) is None


def test_single_addresses_beside_a_protected_network_may_be_banned() -> None:
    addresses = ("192.0.1.255", "192.0.3.0", "2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:db8:2::")
    assert violation(layer(bans=[ban(number, text) for number, text in enumerate(addresses, 1)])) is None


def test_many_addresses_in_one_of_the_widest_networks_count_once() -> None:
    near = deny("near", *(f"203.0.113.{n}" for n in (1, 3, 5)), "2001:db8:2::1", "2001:db8:2::3", expires=END)
    assert violation(layer(near), entries=2) is None
    assert violation(layer(near), entries=1) == ("entries", "")


def test_a_warning_over_a_protected_network_denies_nobody() -> None:
    assert violation(layer(deny("watch", "192.0.2.7", expires=END, action="warn"))) is None
    assert violation(layer(bans=[ban(1, "192.0.2.7", action="warn")])) is None


def test_an_address_that_the_policy_protects_is_not_denied_by_a_layer_accepted_before() -> None:
    policy = load((GENERAL,), [], protected=["192.0.2.0/24"])
    bans = layer(deny("wide", "192.0.0.0/16"), bans=[ban(1, "192.0.2.9")])
    decider = Decider(Settings())
    decider.load(Ruleset([policy, bans]))
    answers = [decider.check(Request(text), NOW)[0].decision for text in ("192.0.2.9", "192.0.2.1", "192.0.3.1")]
    assert answers == ["allow", "allow", "deny"]


def test_a_bans_key_cannot_ban_a_slash_8() -> None:
    assert violation(layer(deny("big", "10.0.0.0/8", expires=END))) == ("width", "big")
    assert violation(layer(deny("big", "203.0.112.0/23", expires=END))) == ("width", "big")
    assert violation(layer(deny("big", "2001:db8:2::/55", expires=END))) == ("width", "big")
    assert violation(layer(deny("big", "203.0.112.0/23", "203.0.112.9", expires=END))) == ("width", "big")


def test_a_slash_8_in_many_pieces_counts_as_many_entries() -> None:
    pieces = deny("many", *(f"10.0.{number}.0/24" for number in range(64)), expires=END)
    assert violation(layer(pieces), entries=64) is None
    assert violation(layer(pieces), entries=63) == ("entries", "")
    halves = deny("many", *(f"10.0.{n}.{half}/25" for n in range(8) for half in (0, 128)), expires=END)
    assert violation(layer(halves), entries=8) is None


def test_a_bans_key_cannot_ban_a_slash_8_in_pieces() -> None:
    """Each is narrow enough, and fewer than `entries`: a bans key could deny an eighth of all addresses so."""
    pieces = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(1 << 16)]
    assert violation(layer(deny("many", *pieces, expires=END))) == ("total", "")
    assert violation(layer(deny("many", *pieces[:100], *pieces[200:228], expires=END)), total_ipv4=17) is None
    assert violation(layer(deny("many", *pieces[:100], *pieces[200:229], expires=END)), total_ipv4=17) == ("total", "")
    six = [deny(f"e{n}", f"2001:db8:2:{n:x}00::/56", expires=END) for n in range(3)]
    assert violation(layer(*six), total_ipv6=54) is None
    assert violation(layer(*six[:2]), layer(*six[2:]), total_ipv6=55) == ("total", "")


def test_single_addresses_count_for_what_a_layer_covers() -> None:
    bans = [ban(number, f"203.0.113.{number}") for number in range(1, 6)]
    assert violation(layer(bans=bans[:4]), total_ipv4=30) is None
    assert violation(layer(bans=bans[:4]), layer(bans=bans[4:]), total_ipv4=30) == ("total", "")


def test_bans_that_are_over_count_no_longer_for_what_a_layer_covers() -> None:
    """A part keeps them until it is built anew: beside them fewer could be banned than the control plane permits."""
    lapsed = [ban(number, f"198.51.100.{number}", expires=NOW) for number in range(1, 4)]
    unbanned = [ban(number, f"203.0.113.{number}") for number in range(11, 14)]
    live = [ban(number, f"203.0.113.{number}") for number in range(21, 25)]
    head = layer(bans=live[:2], tombstones=[made.id for made in unbanned])
    assert violation(head, layer(bans=[*lapsed, *unbanned, *live[2:]]), total_ipv4=30) is None
    assert (
        violation(head, layer(bans=[*lapsed, *unbanned, *live[2:], ban(9, "203.0.113.9")]), total_ipv4=30) is not None
    )


def test_a_bans_key_cannot_cover_more_by_tombstones_of_its_own_head() -> None:
    """Tombstones cancel what is in parts; the bans of the head itself go on, and count."""
    bans = [ban(number, f"203.0.113.{number}") for number in range(1, 6)]
    assert violation(layer(bans=bans, tombstones=[made.id for made in bans]), total_ipv4=30) == ("total", "")


def test_a_bans_key_cannot_stall_each_decision_by_an_entry_of_megabytes() -> None:
    """Each request of its client read all of it; whoever has the key chooses the client."""
    for long in (
        deny("long", "203.0.113.9", expires=END, reason="x" * MAX_ENTRY),
        deny("fine", "203.0.113.8", expires=END),
    ):
        file = layer(long, bans=[ban(1, "203.0.113.7", reason="y" * (MAX_ENTRY if long.entry.id == "fine" else 9))])
        with pytest.raises(
            SnapshotRefused, match=r"entries: found one of \d+ bytes, expected at most 16384 in a layer"
        ):
            violation(file)
    assert violation(layer(deny("long", "203.0.113.9", expires=END, reason="x" * 8000))) is None


def test_a_bans_key_cannot_name_an_application_that_is_no_plain_word() -> None:
    """Its name goes into headers and logs where an entry names it, whether the policy knows it or not."""
    with pytest.raises(SnapshotRefused, match="found 'shop"):
        layer(deny("x", "203.0.113.9", expires=END, applications=frozenset({"shop\r\nX-Authz-Decision: allow"})))
    with pytest.raises(SnapshotRefused, match="found 'a b'"):
        layer(bans=[ban(1, "203.0.113.9", applications=frozenset({"a b"}))])


def test_a_bans_key_cannot_have_each_request_of_a_client_go_through_a_million_entries() -> None:
    several = [deny(f"e{number}", "203.0.113.0/24", expires=END) for number in range(1001)]
    assert violation(layer(*several[1:])) is None
    assert violation(layer(*several)) == ("entries", "")
    others = [ban(2000, "203.0.113.8"), ban(2001, "203.0.113.77"), ban(2002, "2001:db8:2::9")]
    for address in ("203.0.113.9", "2001:db8:2::7"):
        bans = [ban(number, address) for number in range(1, 1002)]
        assert violation(layer(bans=[*bans[1:], *others])) is None
        assert violation(layer(bans=[*bans, *others])) == ("entries", "")


def test_a_bans_key_cannot_name_a_million_applications(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is made ready while no request is answered."""
    monkeypatch.setattr(permissions, "MAX_APPLICATIONS", 3)
    for names in ({"a", "b", "c"}, {"a", "b", "c", "d"}):
        expected = ("application", "") if len(names) > 3 else None
        assert violation(layer(deny("x", "203.0.113.9", expires=END, applications=frozenset(names)))) == expected
        assert violation(layer(bans=[ban(1, "203.0.113.9", applications=frozenset(names))])) == expected


def test_a_crafted_file_cannot_say_a_short_network_and_cover_everything() -> None:
    """The lengths of an index are what its author says; the pieces are what is denied."""
    big = deny("big", "10.0.0.0/8", expires=END)
    lengths = layer(big).index.arrays["members.length"]
    lying = layer(big, altered={"members.length": bytes([24] * len(lengths))})
    assert violation(lying, entries=1000) == ("entries", "")


def test_an_index_that_contradicts_itself_is_refused() -> None:
    entry = deny("one", "203.0.113.0/24", expires=END)
    directory = layer(entry).index.arrays["v4.directory"].tolist()
    lying = [directory[0], *[directory[-1]] * (len(directory) - 1)]
    with pytest.raises(SnapshotRefused) as refused:
        violation(layer(entry, altered={"v4.directory": np.array(lying, "<u4").tobytes()}))
    assert refused.value.code == Refusal.BAD_SECTION


def test_a_bans_key_cannot_ban_for_a_year() -> None:
    assert violation(layer(deny("long", "203.0.113.9", expires=NOW + 365 * DAY))) == ("period", "long")
    assert violation(layer(bans=[ban(1, "203.0.113.1"), ban(2, "203.0.113.9", expires=NOW + 8 * DAY)])) == (
        "period",
        ban_id(2),
    )
    week = NOW + 7 * DAY
    assert violation(layer(deny("week", "203.0.113.9", expires=week))) is None
    assert violation(layer(deny("week", "203.0.113.9", expires=week + CLOCK_SLACK))) is None
    assert violation(layer(deny("week", "203.0.113.9", expires=week + CLOCK_SLACK + 1))) == ("period", "week")
    assert violation(layer(bans=[ban(1, "203.0.113.9", expires=week + CLOCK_SLACK + 1)])) == ("period", ban_id(1))


def test_a_bans_key_cannot_ban_for_ever() -> None:
    assert violation(layer(deny("ever", "203.0.113.9"))) == ("endless", "ever")
    assert violation(layer(bans=[ban(1, "203.0.113.1"), ban(2, "203.0.113.9", expires=None)])) == ("endless", ban_id(2))
    both = layer(deny("ever", "203.0.113.9"), bans=[ban(2, "203.0.113.9", expires=None)])
    assert violation(both, longest=None) is None


def test_a_ban_that_starts_late_ends_no_later() -> None:
    late = deny("late", "203.0.113.9", starts=NOW + 30 * DAY, expires=NOW + 30 * DAY + 3600)
    assert violation(layer(late)) == ("period", "late")


def test_a_bans_key_cannot_name_another_tenants_application() -> None:
    may: dict[str, Any] = {"applications": ("shop", "team-a-*")}
    for names, expected in (
        ({"shop"}, None),
        ({"team-a-web", "shop"}, None),
        ({"shop", "admin"}, ("application", "x")),
        ({"team-b-web"}, ("application", "x")),
        ({"team-a"}, ("application", "x")),
        (set(), ("application", "x")),
    ):
        entry = deny("x", "203.0.113.9", expires=END, applications=frozenset(names))
        assert violation(layer(entry), **may) == expected
        found = violation(layer(bans=[ban(1, "203.0.113.9", applications=frozenset(names))]), **may)
        assert found == (expected and ("application", ban_id(1)))
    assert violation(layer(*FINE), applications=()) == ("application", "a")


def test_entries_and_single_addresses_of_all_files_are_counted_together() -> None:
    files = layer(*FINE, bans=[ban(1, "203.0.113.1")]), layer(bans=[ban(2, "203.0.113.2"), ban(3, "203.0.113.3")])
    assert violation(*files, entries=6) is None
    assert violation(*files, entries=5) == ("entries", "")


def test_what_is_over_breaks_no_limit() -> None:
    over = [allow("old", "192.0.0.0/8", expires=NOW), deny("old2", "192.0.2.1", expires=NOW - 1)]
    assert violation(layer(*over, bans=[ban(1, "192.0.2.9", expires=NOW)])) is None
    assert violation(layer(*over, bans=[ban(1, "192.0.2.9", expires=NOW)]), now=NOW - 2) is not None


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (allow("mine", "198.51.100.7", expires=END), "entry 'mine': lists: found allow, expected deny or gray"),
        (deny("ever", "203.0.113.9"), "entry 'ever': longest: found no end, expected an end at most 7d from now"),
        (
            deny("big", "10.0.0.0/8", expires=END),
            "entry 'big': widest_ipv4: found /8 at 10.0.0.0, expected /24 or narrower",
        ),
        (
            deny("coup", "192.0.2.7", expires=END),
            "entry 'coup': protected: found 192.0.2.7, expected no address that the policy protects",
        ),
    ],
)
def test_a_refusal_names_the_entry_and_both_sides(entry: Subject, message: str) -> None:
    first = first_violation([layer(entry)], May(), PROTECTED, NOW)
    assert first is not None
    assert first.refusal().message == message
    assert first.refusal().code == first.code


def test_a_bans_key_cannot_fill_the_memory_by_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were counted once all were gathered: some hundred megabytes."""
    monkeypatch.setattr(manifest, "MAX_NAMES", 2)
    assert layer(deny("x", "203.0.113.9", expires=END, applications=frozenset({"a", "b"}))).mentioned == {"a", "b"}
    many = [deny(name, "203.0.113.9", expires=END, applications=frozenset({name})) for name in "abc"]
    bans = [ban(number, "203.0.113.9", applications=frozenset({name})) for number, name in enumerate("abc")]
    with pytest.raises(SnapshotRefused, match="expected at most 2 applications that entries name"):
        layer(*many)
    with pytest.raises(SnapshotRefused, match="expected at most 2 applications that entries name"):
        layer(bans=bans)
