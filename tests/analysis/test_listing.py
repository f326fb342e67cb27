"""The networks of an entry, listed again from the index: they cover what the entry covered, at the same lengths."""

from __future__ import annotations

from hypothesis import given, settings
from support.publishing.worlds import ZONES, Subject, World, deny, load, worlds
from support.suite.effort import tries

from authz.addresses import parse_network
from authz.analysis.listing import list_networks
from authz.engine.model import ANY_APPLICATION, Application

ALL = (Application(ANY_APPLICATION),)


def listed(*subjects: Subject) -> list[tuple[list[str], list[str]]]:
    """Return networks and exceptions of each subject, as the index has them."""
    index = load(ALL, subjects).index
    listings = [list_networks(index, number) for number in range(len(subjects))]
    return [([*map(str, listing.networks)], [*map(str, listing.exceptions)]) for listing in listings]


def test_networks_of_both_versions_are_listed_in_order() -> None:
    networks = ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8", "2001:db8::/32", "2001:db8::1/128"]
    assert listed(deny("a", *reversed(networks))) == [(networks, [])]


def test_all_addresses_and_the_last_one_are_listed() -> None:
    networks = ["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"]
    assert listed(deny("a", *networks)) == [(networks, [])]


def test_neighbours_are_listed_apart_though_their_pieces_were_merged() -> None:
    networks = ["192.0.2.0/32", "192.0.2.1/32", "192.0.2.2/32"]
    assert listed(deny("a", *networks), deny("b", "192.0.0.0/16")) == [(networks, []), (["192.0.0.0/16"], [])]


def test_exceptions_are_listed_as_the_fewest_networks() -> None:
    held = deny("a", "10.0.0.0/8", "12.0.0.0/8")
    expected = ["10.0.0.0/16", "10.3.0.0/16", "10.255.255.255/32", "12.0.0.0/9", "12.128.0.0/10"]
    held = held._replace(holes=tuple(map(parse_network, expected)))
    assert listed(held) == [(["10.0.0.0/8", "12.0.0.0/8"], expected)]


def test_an_entry_without_networks_lists_none() -> None:
    assert listed(deny("a"), deny("b", "10.0.0.0/8"))[0] == ([], [])


@settings(max_examples=tries(200), deadline=None)
@given(world=worlds())
def test_what_is_listed_covers_every_address_as_the_entry_did(world: World) -> None:
    index = world.loaded().index
    for number, subject in enumerate(world.subjects):
        listed = list_networks(index, number)
        again = Subject(subject.entry, listed.networks, listed.exceptions)
        for zone in ZONES:
            assert again.length(zone.address) == subject.length(zone.address)
