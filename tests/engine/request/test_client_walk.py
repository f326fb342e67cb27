"""What the walk over proxies costs and tells: reads, the chain for `match: path`, the steps for `authz explain`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import pytest
from support.engine.client_chains import FORWARDED, PEER, TRUST, XFF, addresses, resolve, who

from authz.addresses import Address, parse_address
from authz.engine.request.client_address import (
    CLIENT_UNRESOLVED,
    MAX_ELEMENT_LENGTH,
    MAX_ELEMENTS,
    MAX_PROXIES,
    PEER_UNTRUSTED_TRANSPORT,
    Resolution,
    Resolver,
    Rules,
    Step,
    chain,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self


# What the walk costs


class Watched(str):
    """A header line that counts the characters that are looked at."""

    __slots__ = ("seen",)
    seen: int

    def __new__(cls, text: str) -> Self:
        line = super().__new__(cls, text)
        line.seen = 0
        return line

    def rfind(self, sub: str, start: SupportsIndex | None = None, end: SupportsIndex | None = None, /) -> int:
        place = super().rfind(sub, start, end)
        stop = len(self) if end is None else int(end)
        self.seen += stop - max(place, 0)
        return place

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> str:
        part = super().__getitem__(key)
        self.seen += len(part)
        return part

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("every character is looked at")

    def split(self, sep: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        raise AssertionError("every character is looked at")


@pytest.mark.parametrize("claim", ["198.51.100.1, ", "1,", ",", '"', "x", "for=1;", '",'])
@pytest.mark.parametrize(("rules", "ours"), [(XFF, "203.0.113.7, 10.0.0.2"),
                                             (FORWARDED, "for=203.0.113.7, for=10.0.0.2"),
                                             (Rules(trusted_hops=2), "203.0.113.7, 10.0.0.2")])  # fmt: skip
def test_a_header_of_54_kilobytes_costs_what_is_walked(claim: str, rules: Rules, ours: str) -> None:
    long = Watched(claim * (54_000 // len(claim)) + ", " + ours)
    assert Resolver(rules).client(PEER, [long]) == parse_address("203.0.113.7")
    assert 0 < long.seen <= 4 * len(ours)


@pytest.mark.parametrize("claim", ["10.0.0.3,", ",", " , ", "for=10.0.0.3,", '"', '",', "x", " ", ";", '"";'])
def test_the_worst_forwarded_header_costs_thirty_three_elements_at_most(claim: str) -> None:
    long = Watched(claim * (54_000 // len(claim)))
    assert who(FORWARDED, PEER, long) == CLIENT_UNRESOLVED
    assert 0 < long.seen <= 2 * (MAX_ELEMENTS + 1) * (MAX_ELEMENT_LENGTH + 2)


def test_no_element_left_of_the_client_is_asked_for(read: list[str]) -> None:
    Resolver(XFF).client(PEER, ["198.51.100.1, " * 4000 + "203.0.113.7, 10.0.0.2"])
    assert read == ["10.0.0.2", "203.0.113.7"]


def test_no_element_behind_the_limit_is_asked_for(read: list[str]) -> None:
    assert Resolver(XFF).resolve(PEER, ["10.0.0.2, 10.0.0.3"] * 2000) == Resolution(None, CLIENT_UNRESOLVED)
    assert len(read) == MAX_ELEMENTS + 1


def test_only_the_last_element_is_looked_at_where_the_peer_is_the_client(read: list[str]) -> None:
    assert who(XFF, None, "10.0.0.2") == PEER_UNTRUSTED_TRANSPORT
    assert read == []
    assert who(XFF, "203.0.113.7", "10.0.0.3, 10.0.0.2") == "203.0.113.7"
    assert set(read) == {"10.0.0.2"}


def test_a_chain_asks_for_thirty_two_elements_at_most(read: list[str]) -> None:
    assert len(chain(XFF, parse_address(PEER), ["198.51.100.1, " * 4000])) == 2
    assert len(read) <= MAX_ELEMENTS + 1


# The chain, for `match: path`


def test_the_chain_is_the_peer_and_every_address_of_the_header_from_the_right() -> None:
    assert addresses(XFF, PEER, "198.51.100.1, unknown, 203.0.113.7", "[2001:db8::1]:80,, 10.0.0.2") == [
        PEER, "10.0.0.2", "2001:db8::1", "203.0.113.7", "198.51.100.1"
    ]  # fmt: skip


def test_the_chain_names_an_address_once() -> None:
    assert addresses(XFF, PEER, "203.0.113.7, 203.0.113.7:80, ::ffff:203.0.113.7, 10.0.0.1") == [PEER, "203.0.113.7"]


def test_the_chain_has_at_most_thirty_two_elements_of_the_header_the_nearest_ones() -> None:
    line = ", ".join(f"198.51.100.{number}" for number in range(40))
    assert addresses(XFF, PEER, line) == [PEER, *(f"198.51.100.{number}" for number in range(39, 7, -1))]


def test_the_chain_of_an_untrusted_peer_is_that_peer() -> None:
    assert addresses(XFF, "203.0.113.7", "198.51.100.1") == ["203.0.113.7"]


def test_the_chain_of_a_unix_peer_is_the_header() -> None:
    assert addresses(XFF._replace(trust_unix=True), None, "198.51.100.1, 10.0.0.2") == ["10.0.0.2", "198.51.100.1"]


def test_the_chain_under_trusted_hops_has_the_whole_header_whoever_the_peer_is() -> None:
    rules = Rules(trusted_hops=1)
    assert addresses(rules, "203.0.113.7", "198.51.100.1, 10.0.0.2") == ["203.0.113.7", "10.0.0.2", "198.51.100.1"]


def test_the_chain_of_a_single_valued_header_is_the_peer_and_its_address() -> None:
    rules = Rules(TRUST, "x-real-ip")
    assert addresses(rules, PEER, " 203.0.113.7") == [PEER, "203.0.113.7"]
    assert addresses(rules, PEER, "unknown") == [PEER]
    assert addresses(rules, PEER) == [PEER]


def test_the_chain_of_forwarded_is_its_for_parameters() -> None:
    line = 'for="[2001:db8::1]:80", proto=http, for=unknown, for=203.0.113.7;by=198.51.100.1'
    assert addresses(FORWARDED, PEER, line) == [PEER, "203.0.113.7", "2001:db8::1"]


def test_an_element_that_is_too_long_ends_its_line_of_the_chain_and_no_other() -> None:
    lines = ["for=198.51.100.9", f"for=198.51.100.1, {'x' * 300}, for=10.0.0.2"]
    assert addresses(FORWARDED, PEER, *lines) == [PEER, "10.0.0.2", "198.51.100.9"]


# The steps, for `authz explain`


def steps_of(rules: Rules, peer: str | None, *lines: str) -> list[tuple[str, str]]:
    steps: list[Step] = []
    walk(rules, None if peer is None else parse_address(peer), lines, steps)
    return [(step.element, step.verdict) for step in steps]


@pytest.mark.parametrize(
    ("rules", "peer", "lines", "expected"),
    [
        (XFF, "203.0.113.7", ["198.51.100.1"],
         [("203.0.113.7", "the peer is not a trusted proxy, so it is the client")]),
        (XFF, PEER, ["198.51.100.1, 203.0.113.7:80,, 10.2.3.4"],
         [(PEER, "peer, a trusted proxy"), ("10.2.3.4", "a trusted proxy"),
          ("203.0.113.7:80", "the first that is not a trusted proxy: the client")]),
        (XFF, PEER, ["10.0.0.3, 10.0.0.2"],
         [(PEER, "peer, a trusted proxy"), ("10.0.0.2", "a trusted proxy"), ("10.0.0.3", "a trusted proxy"),
          ("10.0.0.3", "all are trusted, so the leftmost is the client")]),
        (XFF, PEER, ["203.0.113.7, unknown"],
         [(PEER, "peer, a trusted proxy"), ("unknown", "client_unresolved: no address")]),
        (XFF, PEER, ["198.51.100.1" + "," * 32],
         [(PEER, "peer, a trusted proxy"), ("198.51.100.1", "client_unresolved: more than 32 elements walked")]),
        (XFF, PEER, [],
         [(PEER, "peer, a trusted proxy"), ("", "forwarded_missing: the trusted peer sent no x-forwarded-for")]),
        (XFF._replace(missing="peer"), PEER, [],
         [(PEER, "peer, a trusted proxy"), (PEER, "no x-forwarded-for, so the peer is the client")]),
        (XFF, None, ["203.0.113.7"],
         [("unix:", "peer_untrusted_transport: a unix socket, and trust_unix is off")]),
        (XFF._replace(trust_unix=True), None, ["203.0.113.7"],
         [("203.0.113.7", "the first that is not a trusted proxy: the client")]),
        (Rules(TRUST, "x-real-ip"), PEER, [" 203.0.113.7"],
         [(PEER, "peer, a trusted proxy"), ("203.0.113.7", "the client, as the header says")]),
        (Rules(TRUST, "x-real-ip"), PEER, ["203.0.113.7", "198.51.100.1"],
         [(PEER, "peer, a trusted proxy"),
          ("203.0.113.7, 198.51.100.1", "client_unresolved: not exactly one address")]),
        (Rules(trusted_hops=2), PEER, ["203.0.113.7, 198.51.100.1"],
         [(PEER, "peer, a trusted proxy"), ("198.51.100.1", "hop 1 of 2"),
          ("203.0.113.7", "element 2 from the right: the client")]),
        (Rules(trusted_hops=2), PEER, ["203.0.113.7"],
         [(PEER, "peer, a trusted proxy"), ("203.0.113.7", "hop 1 of 2"),
          ("", "client_unresolved: 1 elements, expected 2 or more")]),
    ],
)  # fmt: skip
def test_the_steps_tell_the_walk(
    rules: Rules, peer: str | None, lines: list[str], expected: list[tuple[str, str]]
) -> None:
    assert steps_of(rules, peer, *lines) == expected


def test_a_peer_that_is_no_address_leaves_the_client_unresolved() -> None:
    assert Resolver(XFF).resolve("localhost", ["203.0.113.7"]) == Resolution(None, CLIENT_UNRESOLVED)
    assert Resolver(XFF).client("localhost", ["203.0.113.7"]) is None


def test_a_resolver_remembers_a_bounded_number_of_proxies() -> None:
    resolver = Resolver(XFF)
    for number in range(2 * MAX_PROXIES + 7):
        peer = f"10.0.{number >> 8}.{number & 255}"
        assert resolver.client(peer, ["203.0.113.7"]) == parse_address("203.0.113.7")
        assert 1 <= len(resolver._proxies) <= MAX_PROXIES


def test_only_trusted_peers_are_remembered() -> None:
    resolver = Resolver(XFF)
    for peer in ("192.0.2.1", "localhost", "", None):
        resolver.client(peer, ["203.0.113.7"])
    assert resolver._proxies == set()


def test_a_resolution_has_either_a_client_or_a_problem() -> None:
    address = Address(4, 0xCB007107, "203.0.113.7")
    assert resolve(Rules(), address, []) == Resolution(address, None)
    assert resolve(Rules(), None, []) == Resolution(None, PEER_UNTRUSTED_TRANSPORT)
