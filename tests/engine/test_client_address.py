"""The ten rules of who the client is, one by one, and against a slow twin that was written from their text."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz.addresses import Address, NetworkSet, parse_address, parse_network
from authz.engine import client_address
from authz.engine.client_address import (
    CLIENT_UNRESOLVED,
    FORWARDED_MISSING,
    MAX_ELEMENT_LENGTH,
    MAX_ELEMENTS,
    MAX_PROXIES,
    PEER_UNTRUSTED_TRANSPORT,
    Resolution,
    Resolver,
    Rules,
    Step,
    chain,
    elements,
    parse_element,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

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
    found = resolve(rules, None if peer is None else parse_address(peer), lines)
    assert (found.client is None) != (found.problem is None)
    return found.problem or (found.client.text if found.client else "")


# Rule 1: the peer


def test_the_peer_is_the_client_where_no_header_is_believed() -> None:
    assert who(Rules(), "203.0.113.7") == "203.0.113.7"


def test_a_mapped_peer_is_the_ipv4_peer() -> None:
    assert who(XFF, "::ffff:10.0.0.1", "203.0.113.7") == "203.0.113.7"


# Rule 2: trusted_proxies


def test_nobody_is_trusted_by_default() -> None:
    assert who(Rules(), PEER, "203.0.113.7") == PEER
    assert who(Rules(), "127.0.0.1", "203.0.113.7") == "127.0.0.1"


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
@pytest.mark.parametrize("line", ["10.0.0.1", "for=10.0.0.1", "nonsense", "", "," * 100])
def test_headers_of_an_untrusted_peer_are_ignored(header: str, line: str) -> None:
    assert who(Rules(TRUST, header), "203.0.113.7", line) == "203.0.113.7"
    assert who(Rules(TRUST, header), "203.0.113.7") == "203.0.113.7"


# Rule 3: the walk from the right


def test_the_first_untrusted_address_from_the_right_is_the_client() -> None:
    assert who(XFF, PEER, "198.51.100.1, 203.0.113.7, 10.2.3.4") == "203.0.113.7"


def test_trusted_addresses_are_skipped_in_both_versions() -> None:
    assert who(XFF, PEER, "203.0.113.7, 2001:db8:a::1, ::ffff:10.9.9.9, 10.2.3.4") == "203.0.113.7"


def test_the_leftmost_is_the_client_where_all_are_trusted() -> None:
    assert who(XFF, PEER, "10.0.0.3, 10.0.0.2, 10.0.0.4") == "10.0.0.3"


def test_the_lines_of_the_header_are_walked_as_if_they_were_joined_in_order() -> None:
    assert who(XFF, PEER, "198.51.100.1", "203.0.113.7, 10.0.0.3", "10.0.0.2") == "203.0.113.7"
    assert who(XFF, PEER, "203.0.113.7", "10.0.0.3", "10.0.0.2") == "203.0.113.7"
    assert who(XFF, PEER, "10.0.0.3", "10.0.0.2") == "10.0.0.3"


# Rule 4: empty elements, and how many are walked


@pytest.mark.parametrize("line", ["203.0.113.7,", "203.0.113.7, ,\t, 10.0.0.2,,", ",203.0.113.7,,"])
def test_empty_elements_are_skipped(line: str) -> None:
    assert who(XFF, PEER, line) == "203.0.113.7"
    assert who(XFF, PEER, line, "", " ") == "203.0.113.7"


def test_the_client_is_found_at_the_thirty_second_element() -> None:
    assert MAX_ELEMENTS == 32
    assert who(XFF, PEER, "nonsense, 203.0.113.7" + ", 10.0.0.2" * 31) == "203.0.113.7"
    assert who(XFF, PEER, "203.0.113.7" + "," * 31) == "203.0.113.7"
    assert who(XFF, PEER, ", ".join(["10.0.0.3"] + ["10.0.0.2"] * 31)) == "10.0.0.3"


def test_a_client_behind_more_than_thirty_two_elements_is_unresolved() -> None:
    assert who(XFF, PEER, "203.0.113.7" + ", 10.0.0.2" * 32) == CLIENT_UNRESOLVED
    assert who(XFF, PEER, ", ".join(["10.0.0.2"] * 33)) == CLIENT_UNRESOLVED
    assert who(XFF, PEER, *["203.0.113.7"], *["10.0.0.2"] * 32) == CLIENT_UNRESOLVED


def test_empty_elements_count_among_the_thirty_two() -> None:
    assert who(XFF, PEER, "203.0.113.7" + "," * 32) == CLIENT_UNRESOLVED
    assert who(XFF, PEER, "," * 32) == CLIENT_UNRESOLVED
    assert who(FORWARDED, PEER, "for=203.0.113.7" + "," * 32) == CLIENT_UNRESOLVED


# Rule 5: what an element is


@pytest.mark.parametrize(
    ("element", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:1", "203.0.113.7"),
        ("203.0.113.7:65535", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1:443", "2001:db8::1:443"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        (" \t203.0.113.7\t ", "203.0.113.7"),
        ("\t[2001:db8::1]:443 ", "2001:db8::1"),
    ],
)
def test_an_element_is_an_address_with_or_without_brackets_and_port(element: str, address: str) -> None:
    assert who(XFF, PEER, element) == address
    assert who(XFF, PEER, f"198.51.100.1,{element},10.0.0.2") == address


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


@pytest.mark.parametrize("element", REFUSED, ids=ascii)
def test_an_element_that_is_no_plain_address_is_refused(element: str) -> None:
    assert parse_element("x-forwarded-for", element) is None
    assert who(XFF, PEER, element) == CLIENT_UNRESOLVED
    assert who(Rules(trusted_hops=1), "203.0.113.7", element) == CLIENT_UNRESOLVED


# Rule 6: refused elements


@pytest.mark.parametrize("missing", ["deny", "peer"])
def test_a_refused_element_that_the_walk_reaches_makes_the_client_unresolved(missing: Any) -> None:
    rules = XFF._replace(missing=missing)
    assert who(rules, PEER, "203.0.113.7, unknown, 10.0.0.2") == CLIENT_UNRESOLVED
    assert who(rules, PEER, "203.0.113.7, unknown") == CLIENT_UNRESOLVED
    assert who(rules, PEER, "203.0.113.7", "unknown", "10.0.0.2") == CLIENT_UNRESOLVED


def test_what_stands_left_of_the_client_is_never_read() -> None:
    assert who(XFF, PEER, "unknown, 203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert who(XFF, PEER, '\ud800"[, fe80::1%eth0,, 10.0.0.1, 203.0.113.7, 10.0.0.2') == "203.0.113.7"
    assert who(XFF, PEER, "unknown", "203.0.113.7, 10.0.0.2") == "203.0.113.7"


# Rule 7: a trusted peer without the header


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_a_trusted_peer_without_the_header_is_denied_by_default(header: str) -> None:
    assert who(Rules(TRUST, header), PEER) == FORWARDED_MISSING


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
def test_a_trusted_peer_without_the_header_is_the_client_where_missing_says_peer(header: str) -> None:
    assert who(Rules(TRUST, header, missing="peer"), PEER) == PEER


@pytest.mark.parametrize("line", ["", " \t", ",", " , ,"])
def test_a_header_without_one_element_is_a_missing_header(line: str) -> None:
    assert who(XFF, PEER, line) == FORWARDED_MISSING
    assert who(XFF, PEER, "", line) == FORWARDED_MISSING
    assert who(XFF._replace(missing="peer"), PEER, line) == PEER


# Rule 8: a peer without an address


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip"])
@pytest.mark.parametrize("missing", ["deny", "peer"])
def test_a_unix_peer_is_denied_by_default(header: str, missing: Any) -> None:
    rules = Rules(TRUST, header, missing)
    assert who(rules, None, "203.0.113.7") == PEER_UNTRUSTED_TRANSPORT
    assert who(rules, None) == PEER_UNTRUSTED_TRANSPORT
    assert who(Rules(header=header, trusted_hops=1), None, "203.0.113.7") == PEER_UNTRUSTED_TRANSPORT


def test_the_walk_starts_at_the_rightmost_element_where_a_unix_peer_is_trusted() -> None:
    rules = XFF._replace(trust_unix=True)
    assert who(rules, None, "198.51.100.1, 203.0.113.7") == "203.0.113.7"
    assert who(rules, None, "203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert who(Rules(trust_unix=True), None, "203.0.113.7, 10.0.0.2") == "10.0.0.2"
    assert who(rules, None, "203.0.113.7, unknown") == CLIENT_UNRESOLVED
    assert who(rules._replace(header="x-real-ip"), None, "203.0.113.7") == "203.0.113.7"


@pytest.mark.parametrize("missing", ["deny", "peer"])
def test_a_trusted_unix_peer_without_the_header_is_denied_for_it_is_no_address(missing: Any) -> None:
    assert who(XFF._replace(trust_unix=True, missing=missing), None) == FORWARDED_MISSING


def test_trust_unix_says_nothing_about_peers_with_an_address() -> None:
    assert who(XFF._replace(trust_unix=True), "203.0.113.7", "198.51.100.1") == "203.0.113.7"


# Rule 9: other headers


@pytest.mark.parametrize("text", ["203.0.113.7", " \t203.0.113.7 ", "::ffff:203.0.113.7"])
def test_a_single_valued_header_of_a_trusted_peer_is_the_client(text: str) -> None:
    assert who(Rules(TRUST, "x-real-ip"), PEER, text) == "203.0.113.7"


def test_a_single_valued_header_may_name_a_trusted_address() -> None:
    assert who(Rules(TRUST, "cf-connecting-ip"), PEER, "10.0.0.9") == "10.0.0.9"


@pytest.mark.parametrize(
    "lines",
    [["203.0.113.7, 203.0.113.7"], ["203.0.113.7", "203.0.113.7"], ["203.0.113.7", ""], ["203.0.113.7,"], [""], [" "],
     ["203.0.113.7:80"], ["[2001:db8::1]"], ["[2001:db8::1]:80"], ["fe80::1%eth0"], ["unknown"], ["203.0.113.0/24"],
     ["203.0.113.7\u00a0"], ["\x0b203.0.113.7"]],
)  # fmt: skip
@pytest.mark.parametrize("missing", ["deny", "peer"])
def test_a_single_valued_header_that_is_not_one_strict_address_leaves_the_client_unresolved(
    lines: list[str], missing: Any
) -> None:
    assert who(Rules(TRUST, "x-real-ip", missing), PEER, *lines) == CLIENT_UNRESOLVED


def test_forwarded_is_walked_over_its_for_parameters() -> None:
    line = 'for=198.51.100.1, for=203.0.113.7;proto=https, for="[2001:db8:a::1]:443";by=10.0.0.1'
    assert who(FORWARDED, PEER, line) == "203.0.113.7"
    assert who(FORWARDED, PEER, "for=198.51.100.1", "for=203.0.113.7, for=10.0.0.3", "for=10.0.0.2") == "203.0.113.7"
    assert who(FORWARDED, PEER, "for=10.0.0.3,for=10.0.0.2") == "10.0.0.3"


@pytest.mark.parametrize(
    ("element", "address"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7", "203.0.113.7"),
        ("FOR=203.0.113.7", "203.0.113.7"),
        ('for="203.0.113.7"', "203.0.113.7"),
        ('for="203.0.113.7:8080"', "203.0.113.7"),
        ('for="[2001:db8::1]"', "2001:db8::1"),
        ('for="[2001:DB8::1]:8080"', "2001:db8::1"),
        ('for="[::ffff:203.0.113.7]"', "203.0.113.7"),
        ("by=10.0.0.1;for=203.0.113.7;proto=http", "203.0.113.7"),
        ("by=10.0.0.1 ; for=203.0.113.7 ;\thost=shop.example.com", "203.0.113.7"),
        ("for=203.0.113.7;", "203.0.113.7"),
        (";for=203.0.113.7", "203.0.113.7"),
        ('host="a,b";for=203.0.113.7;ext="x, for=10.0.0.1"', "203.0.113.7"),
        ('host="a;b";for=203.0.113.7;ext="x;for=10.0.0.1;y"', "203.0.113.7"),
        ('for=203.0.113.7;ext=""', "203.0.113.7"),
    ],
)
def test_an_element_of_forwarded_names_its_client_among_other_parameters(element: str, address: str) -> None:
    assert who(FORWARDED, PEER, element) == address
    assert who(FORWARDED, PEER, f"for=198.51.100.1, {element} , for=10.0.0.2") == address


@pytest.mark.parametrize(
    "element",
    ["203.0.113.7", "by=203.0.113.7", "proto=https", "for", "for=", 'for=""', 'for="', "for=unknown", "for=_hidden",
     'for="_hidden:80"', "for=203.0.113.7;for=203.0.113.7", "for=203.0.113.7;FOR=10.0.0.1", "for =203.0.113.7",
     "for= 203.0.113.7", 'for="203.0.113.7', 'for=203.0.113.7"', 'for="203.0.113.7";host="', "for='203.0.113.7'",
     'for=""203.0.113.7""', 'for="203.0.113.7"x', 'for=x"203.0.113.7"', 'for="203.0.113\\.7"',
     'for=203.0.113.7;host="a\\"b"', 'host="\\";for=203.0.113.7;x="\\"', 'for=" 203.0.113.7"',
     'for="fe80::1%eth0"', 'for="[fe80::1%25eth0]"',
     "forx=203.0.113.7", "xfor=203.0.113.7", "for=203.0.113.7 for=10.0.0.1", 'host="a;for=203.0.113.7;b"',
     "for=203.0.113.7;host=" + "x" * MAX_ELEMENT_LENGTH, " " * MAX_ELEMENT_LENGTH + "x for=203.0.113.7",
     "x" + " " * MAX_ELEMENT_LENGTH + "for=203.0.113.7", '"' * 2 * MAX_ELEMENT_LENGTH + ";for=203.0.113.7"],
    ids=lambda text: ascii(text[:40]),
)  # fmt: skip
def test_an_element_of_forwarded_that_does_not_name_one_address_is_refused(element: str) -> None:
    assert who(FORWARDED, PEER, element) == CLIENT_UNRESOLVED
    assert who(FORWARDED, PEER, f"for=198.51.100.1, {element}, for=10.0.0.2") == CLIENT_UNRESOLVED


def test_an_element_of_forwarded_may_be_as_long_as_its_limit() -> None:
    element = "for=203.0.113.7;host="
    element += "x" * (MAX_ELEMENT_LENGTH - len(element))
    assert who(FORWARDED, PEER, element) == "203.0.113.7"
    assert who(FORWARDED, PEER, f"for=198.51.100.1,{element},for=10.0.0.2") == "203.0.113.7"
    assert who(FORWARDED, PEER, element + "x") == CLIENT_UNRESOLVED


CLAIMS = st.text(st.sampled_from('for=,;"\\ \t[]:.10x\u00e9'), max_size=40)


@given(CLAIMS)
@example('for="')
@example('for="10.0.0.1, for="')
@example('for="\\')
@example('"')
@example("for=x;" + '"' * 7)
def test_nothing_that_a_client_wrote_into_forwarded_hides_what_our_proxies_wrote_behind_it(claim: str) -> None:
    for ours in ("for=203.0.113.7", 'for="203.0.113.7:80", for=10.0.0.2', 'by="a,b";for=203.0.113.7, for=10.0.0.3'):
        assert who(FORWARDED, PEER, f"{claim}, {ours}") == "203.0.113.7"
        assert who(FORWARDED, PEER, claim, ours) == "203.0.113.7"


@given(CLAIMS)
def test_nothing_that_a_client_wrote_into_x_forwarded_for_changes_what_our_proxies_wrote_behind_it(claim: str) -> None:
    assert who(XFF, PEER, f"{claim}, 203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert who(XFF, PEER, claim, "203.0.113.7, 10.0.0.2") == "203.0.113.7"


# Rule 10: trusted_hops


@pytest.mark.parametrize(
    ("hops", "client"), [(1, "10.0.0.2"), (2, "203.0.113.7"), (3, "198.51.100.1"), (4, CLIENT_UNRESOLVED)]
)
def test_trusted_hops_takes_the_nth_element_from_the_right_whoever_the_peer_is(hops: int, client: str) -> None:
    rules = Rules(trusted_hops=hops)
    for peer in (PEER, "203.0.113.99"):
        assert who(rules, peer, "198.51.100.1, 203.0.113.7, 10.0.0.2") == client
        assert who(rules, peer, "198.51.100.1", "203.0.113.7, 10.0.0.2") == client
        assert who(rules, peer, "198.51.100.1,, 203.0.113.7,,, 10.0.0.2,") == client
    forwarded = rules._replace(header="forwarded")
    assert who(forwarded, PEER, "for=198.51.100.1, for=203.0.113.7, for=10.0.0.2") == client


def test_trusted_hops_reads_nothing_left_of_the_client_and_refuses_what_it_walks_over() -> None:
    assert who(Rules(trusted_hops=2), PEER, "unknown, 203.0.113.7, 10.0.0.2") == "203.0.113.7"
    assert who(Rules(trusted_hops=2), PEER, "203.0.113.7, unknown") == CLIENT_UNRESOLVED
    assert who(Rules(trusted_hops=2), PEER, "203.0.113.7" + "," * 31 + "10.0.0.2") == "203.0.113.7"
    assert who(Rules(trusted_hops=2), PEER, "203.0.113.7" + "," * 32 + "10.0.0.2") == CLIENT_UNRESOLVED


def test_trusted_hops_without_the_header_follow_the_same_rules_as_a_trusted_peer() -> None:
    assert who(Rules(trusted_hops=1), "203.0.113.7") == FORWARDED_MISSING
    assert who(Rules(trusted_hops=1), "203.0.113.7", " , ") == FORWARDED_MISSING
    assert who(Rules(trusted_hops=1, missing="peer"), "203.0.113.7") == "203.0.113.7"
    assert who(Rules(trusted_hops=1, trust_unix=True), None, "203.0.113.7") == "203.0.113.7"


# The slow twin, from the text of the rules


class Asked(NamedTuple):
    """What a request and a configuration say, in words."""

    trusted: list[str]
    missing: str
    trust_unix: bool
    hops: int
    peer: str | None
    lines: list[str]


def plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read one address without a port; mapped ones are unmapped."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def spelled(element: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read IPv4, IPv4:port, IPv6, [IPv6] or [IPv6]:port."""
    for pattern in (r"([0-9.]+)", r"([0-9.]+):([0-9]{1,5})", r"([^\[\]]*:[^\[\]]*:[^\[\]]*)",
                    r"\[([^\[\]]*:[^\[\]]*)\]", r"\[([^\[\]]*:[^\[\]]*)\]:([0-9]{1,5})"):  # fmt: skip
        match = re.fullmatch(pattern, element)
        if match and all(int(port) <= 65535 for port in match.groups()[1:]):
            return plain(match[1])
    return None


def twin(asked: Asked) -> str:
    """Return who the client is; every element of the chain is read first, then the rules are gone through."""
    peer = None if asked.peer is None else plain(asked.peer)
    networks = [ipaddress.ip_network(text) for text in asked.trusted]

    def trusted(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in networks)

    if peer is None and not asked.trust_unix:
        return "peer_untrusted_transport"
    if peer is not None and not asked.hops and not trusted(peer):
        return str(peer)
    written = [element.strip(" \t") for element in ",".join(asked.lines).split(",")] if asked.lines else []
    if not any(written) and len(written) <= 32:
        return str(peer) if asked.missing == "peer" and peer is not None else "forwarded_missing"
    from_the_right = list(reversed(written))
    walked = [(place, spelled(element)) for place, element in enumerate(from_the_right, start=1) if element]
    for hop, (place, address) in enumerate(walked, start=1):
        if place > 32 or address is None:
            return "client_unresolved"
        if hop == asked.hops or (not asked.hops and not trusted(address)):
            return str(address)
    if asked.hops or len(written) > 32:
        return "client_unresolved"
    return str(walked[-1][1])


ADDRESSES = ["10.0.0.1", "10.255.255.255", "2001:db8:a::1", "203.0.113.7", "198.51.100.1", "2001:db8:b::1", "11.0.0.0",
             "::ffff:10.0.0.2", "::ffff:203.0.113.9", "::", "0.0.0.0"]  # fmt: skip
PLAIN = st.sampled_from(ADDRESSES)
TRUSTED = st.sampled_from(["10.0.0.1", "10.1.2.3:80", "2001:db8:a::1", "[2001:db8:a::2]:443", "::ffff:10.0.0.2"])
SPELLED = st.one_of(
    PLAIN,
    st.tuples(PLAIN, st.sampled_from(["80", "0", "65535", "65536", "", "x", "443"])).map(
        lambda a: f"[{a[0]}]:{a[1]}" if ":" in a[0] else f"{a[0]}:{a[1]}"
    ),
    PLAIN.map(lambda a: f"[{a}]"),
)
ELEMENT = st.one_of(TRUSTED, TRUSTED, TRUSTED, SPELLED, st.just(""), st.sampled_from(REFUSED[:-3]).filter(str.isascii))
PADDED = st.tuples(st.sampled_from(["", " ", "\t "]), ELEMENT, st.sampled_from(["", " ", " \t"])).map("".join)
LINES = st.lists(st.lists(PADDED, min_size=1, max_size=12).map(",".join), max_size=4)
ASKED = st.builds(
    Asked,
    trusted=st.sampled_from([[], PROXIES, PROXIES, PROXIES, ["0.0.0.0/0", "::/0"]]),
    missing=st.sampled_from(["deny", "peer"]),
    trust_unix=st.booleans(),
    hops=st.sampled_from([0, 0, 0, 1, 2, 5]),
    peer=st.sampled_from(["10.0.0.1", "10.9.9.9", "2001:db8:a::1", "203.0.113.99", None]),
    lines=LINES,
).map(lambda asked: asked._replace(trusted=[]) if asked.hops else asked)


def rules_of(asked: Asked, header: str = "x-forwarded-for") -> Rules:
    networks = NetworkSet(parse_network(text) for text in asked.trusted)
    missing: Any = asked.missing
    return Rules(networks, header, missing, asked.trust_unix, asked.hops)


@settings(max_examples=600, deadline=None)
@given(ASKED)
@example(Asked(PROXIES, "peer", False, 0, PEER, [","] * 17))
@example(Asked(PROXIES, "peer", False, 0, PEER, ["," * 31]))
@example(Asked(PROXIES, "peer", False, 0, PEER, ["," * 32]))
@example(Asked(PROXIES, "deny", False, 0, PEER, ["10.0.0.1" + "," * 32]))
@example(Asked([], "deny", False, 40, PEER, ["10.0.0.1," * 50]))
def test_the_client_is_whom_the_slow_twin_finds(asked: Asked) -> None:
    assert who(rules_of(asked), asked.peer, *asked.lines) == twin(asked)


@settings(max_examples=300, deadline=None)
@given(ASKED, st.data())
def test_the_client_of_forwarded_is_whom_the_slow_twin_finds_in_its_for_parameters(
    asked: Asked, data: st.DataObject
) -> None:
    before = st.sampled_from(["", "by=10.0.0.1;", 'host="a,b;for=10.0.0.1";', "proto=https; "])
    behind = st.sampled_from(["", ";proto=http", ';ext="x, for=10.0.0.1"', ';a="";b="c;d"', " ; by=x"])
    written = []
    for line in asked.lines:
        pairs = []
        for element in line.split(","):
            text = element.strip(" \t").replace("for=", "by=")
            if text and not set(text) & set('";='):
                quoted = f'"{text}"' if data.draw(st.booleans()) else text
                name = data.draw(st.sampled_from(["for", "For", "FOR"]))
                text = f"{data.draw(before)}{name}={quoted}{data.draw(behind)}"
            pairs.append(text)
        written.append(data.draw(st.sampled_from([",", ", ", "\t, "])).join(pairs))
    # What cannot be the value of a parameter stays as it is: no element of either header, refused by both.
    assert who(rules_of(asked, "forwarded"), asked.peer, *written) == twin(asked)


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
        found = super().rfind(sub, start, end)
        stop = len(self) if end is None else int(end)
        self.seen += stop - max(found, 0)
        return found

    def __getitem__(self, key: SupportsIndex | slice[Any, Any, Any]) -> str:
        found = super().__getitem__(key)
        self.seen += len(found)
        return found

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


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every element that a walk asks for, as it asks for it."""
    seen: list[str] = []

    def watched(header: str, header_lines: Sequence[str]) -> Iterator[str]:
        for element in elements(header, header_lines):
            seen.append(element)
            yield element

    monkeypatch.setattr(client_address, "elements", watched)
    return seen


def test_no_element_left_of_the_client_is_asked_for(read: list[str]) -> None:
    Resolver(XFF).client(PEER, ["198.51.100.1, " * 4000 + "203.0.113.7, 10.0.0.2"])
    assert read == ["10.0.0.2", "203.0.113.7"]


def test_no_element_behind_the_limit_is_asked_for(read: list[str]) -> None:
    assert Resolver(XFF).resolve(PEER, ["10.0.0.2, 10.0.0.3"] * 2000) == Resolution(None, CLIENT_UNRESOLVED)
    assert len(read) == MAX_ELEMENTS + 1


def test_no_element_is_asked_for_where_the_peer_is_the_client(read: list[str]) -> None:
    assert who(XFF, "203.0.113.7", "10.0.0.2") == "203.0.113.7"
    assert who(XFF, None, "10.0.0.2") == PEER_UNTRUSTED_TRANSPORT
    assert read == []


def test_a_chain_asks_for_thirty_two_elements_at_most(read: list[str]) -> None:
    assert len(chain(XFF, parse_address(PEER), ["198.51.100.1, " * 4000])) == 2
    assert len(read) <= MAX_ELEMENTS + 1


# The chain, for `match: path`


def addresses(rules: Rules, peer: str | None, *lines: str) -> list[str]:
    return [address.text for address in chain(rules, None if peer is None else parse_address(peer), lines)]


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


@settings(deadline=None)
@given(ASKED)
def test_a_client_that_was_resolved_is_on_the_chain(asked: Asked) -> None:
    found = who(rules_of(asked), asked.peer, *asked.lines)
    problems = (CLIENT_UNRESOLVED, FORWARDED_MISSING, PEER_UNTRUSTED_TRANSPORT)
    assert found in (*addresses(rules_of(asked), asked.peer, *asked.lines), *problems)


# The steps, for `authz explain`


def steps_of(rules: Rules, peer: str | None, *lines: str) -> list[tuple[str, str]]:
    steps: list[Step] = []
    walk(rules, None if peer is None else parse_address(peer), lines, steps)
    return [(step.element, step.verdict) for step in steps]


@pytest.mark.parametrize(
    ("rules", "peer", "lines", "expected"),
    [
        (XFF, "203.0.113.7", ["198.51.100.1"],
         [("203.0.113.7", "the peer is no trusted proxy, so it is the client")]),
        (XFF, PEER, ["198.51.100.1, 203.0.113.7:80,, 10.2.3.4"],
         [(PEER, "peer, a trusted proxy"), ("10.2.3.4", "a trusted proxy"),
          ("203.0.113.7:80", "the first that is no trusted proxy: the client")]),
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
         [("203.0.113.7", "the first that is no trusted proxy: the client")]),
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


@settings(max_examples=200, deadline=None)
@given(ASKED, st.sampled_from(["x-forwarded-for", "forwarded", "x-real-ip"]))
def test_the_steps_end_where_resolve_ends(asked: Asked, header: str) -> None:
    rules = rules_of(asked, header)
    peer = None if asked.peer is None else parse_address(asked.peer)
    steps: list[Step] = []
    resolution = resolve(rules, peer, asked.lines)
    assert walk(rules, peer, asked.lines, steps) == resolution
    last = steps[-1]
    if resolution.client is None:
        assert last.verdict.startswith(f"{resolution.problem}: ")
    else:
        assert last.verdict.endswith(("client", "as the header says"))
        read = parse_element("x-forwarded-for", last.element) or parse_element("forwarded", last.element)
        assert read == resolution.client
    for problem in (CLIENT_UNRESOLVED, FORWARDED_MISSING, PEER_UNTRUSTED_TRANSPORT):
        assert not any(problem in step.verdict for step in steps[:-1])


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
