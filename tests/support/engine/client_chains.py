"""Forwarding headers for tests, and who the client is behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import Address, NetworkSet, parse_address, parse_network
from authz.engine.request.client_address import (
    Resolution,
    Resolver,
    Rules,
    chain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

PROXIES = ["10.0.0.0/8", "2001:db8:a::/48"]
TRUST = NetworkSet(parse_network(text) for text in PROXIES)
XFF = Rules(TRUST)
FORWARDED = Rules(TRUST, "forwarded")
PEER = "10.0.0.1"


def resolve(rules: Rules, peer: Address | None, lines: Sequence[str]) -> Resolution:
    """Return what a resolver says, which must be the same the first time and once it knows the peer."""
    resolver = Resolver(rules)
    text = None if peer is None else peer.text
    resolution = resolver.resolve(text, lines)
    for _ in range(2):
        assert resolver.client(text, lines) == resolution.client
    assert Resolver(rules).client(text, lines) == resolution.client
    return resolution


def who(rules: Rules, peer: str | None, *lines: str) -> str:
    """Return the client's address, or the problem."""
    resolved = resolve(rules, None if peer is None else parse_address(peer), lines)
    assert (resolved.client is None) != (resolved.problem is None)
    return resolved.problem or (resolved.client.text if resolved.client else "")


REFUSED = [
    "unknown", "_hidden", "shop.example.com", "-", "null", "203.0.113.7/32", "2001:db8::/64", "203.0.113.007",
    "203.0.113", "3405803783", "0xcb.0.113.7", "203.0.113.7 198.51.100.1", "203.0.113.7;10.0.0.1",
    "203.0.113.7:", "203.0.113.7:65536", "203.0.113.7:000080", "203.0.113.7:http", "203.0.113.7:-1", "203.0.113.7:8 0",
    "203.0.113.7: 80", "203.0.113.7:80:80", ":80", ":", "[]", "[", "]", "[]:80", "[203.0.113.7]", "[203.0.113.7]:80",
    "[2001:db8::1", "2001:db8::1]", "[2001:db8::1]:", "[2001:db8::1]443", "[2001:db8::1]:65536", "[[2001:db8::1]]",
    "[2001:db8::1] :443", "[ 2001:db8::1 ]", "fe80::1%eth0", "[fe80::1%eth0]:443", "[fe80::1%25eth0]", "1::2::3",
    '"203.0.113.7"', "'203.0.113.7'", "for=203.0.113.7",
    "\u0662\u0660\u0663.0.113.7", "203.0.113.7:\u0668\u0660", "\uff12\uff10\uff13.0.113.7", "203.0.113.7\u00a0",
    "203.0.113.7\x0b", "203.0.113.7\r", "203.0.113.7\n", "203.0.113.7\0", "\0", "\x85203.0.113.7", "\ud800",
    "203.0.113.\udc80", "1" * 61, "203.0.113.7" + "0" * 60_000, "[2001:db8::1]:" + "0" * 60_000,
]  # fmt: skip


def addresses(rules: Rules, peer: str | None, *lines: str) -> list[str]:
    return [address.text for address in chain(rules, None if peer is None else parse_address(peer), lines)]
