"""The ten rules of who the client is, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.engine.client_chains import FORWARDED, PEER, REFUSED, TRUST, XFF, who

from authz.engine.request.client_address import (
    CLIENT_UNRESOLVED,
    FORWARDED_MISSING,
    MAX_ELEMENT_LENGTH,
    MAX_ELEMENTS,
    PEER_UNTRUSTED_TRANSPORT,
    Rules,
    parse_element,
)

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
