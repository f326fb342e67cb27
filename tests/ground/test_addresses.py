"""Addresses; the standard library's ipaddress is the second opinion."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ground.address_values import MAPPED, values4, values6
from support.suite.effort import tries

from authz.addresses import (
    MAX_TEXT,
    Address,
    format_address,
    parse_address,
    try_parse_address,
)
from authz.errors import AddressError


def test_an_ipv4_address_is_its_number_and_its_text() -> None:
    assert parse_address("192.0.2.7") == Address(4, 0xC0000207, "192.0.2.7")


def test_an_ipv6_address_is_its_number_and_its_shortest_text() -> None:
    assert parse_address("2001:DB8:0:0::1") == Address(6, 0x20010DB8 << 96 | 1, "2001:db8::1")


@pytest.mark.parametrize(
    "text",
    ["::ffff:192.0.2.7", "::FFFF:192.0.2.7", "::ffff:c000:207", "0:0:0:0:0:ffff:192.0.2.7",
     "0000:0000:0000:0000:0000:ffff:c000:0207", "0000:0000:0000:0000:0000:ffff:192.0.2.7"],
)  # fmt: skip
def test_an_ipv4_mapped_address_is_the_ipv4_address_however_it_is_written(text: str) -> None:
    assert parse_address(text) == Address(4, 0xC0000207, "192.0.2.7")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("2002:c000:207::1", "2002:c000:207::1"), ("64:ff9b::192.0.2.7", "64:ff9b::c000:207"),
     ("::192.0.2.7", "::c000:207"), ("::ffff:0:192.0.2.7", "::ffff:0:c000:207"),
     ("::fffe:192.0.2.7", "::fffe:c000:207"), ("::1:ffff:192.0.2.7", "::1:ffff:c000:207")],
)  # fmt: skip
def test_other_addresses_that_carry_ipv4_stay_ipv6(text: str, canonical: str) -> None:
    address = parse_address(text)
    assert (address.version, address.text) == (6, canonical)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("192.0.2", id="three parts"),
        pytest.param("192.0.2.7.1", id="five parts"),
        pytest.param("3221225991", id="a decimal number"),
        pytest.param("0xc0.0.2.7", id="hexadecimal parts"),
        pytest.param("192.0.2.256", id="a part above 255"),
        pytest.param("192.0.2.010", id="a leading zero"),
        pytest.param("00.0.0.0", id="two zeros"),
        pytest.param("192.0.2.-1", id="a sign"),
        pytest.param("192.0.2.+1", id="a plus"),
        pytest.param("192..2.7", id="an empty part"),
        pytest.param("192.0.2.7.", id="a dot at the end"),
        pytest.param("192.0.2.7%eth0", id="an IPv4 zone"),
        pytest.param("192.0.2.0/24", id="a network"),
        pytest.param("[192.0.2.7]", id="brackets"),
        pytest.param("192.0.2.7:80", id="a port"),
        pytest.param(" 192.0.2.7", id="a space before"),
        pytest.param("192.0.2.7 ", id="a space behind"),
        pytest.param("192.0.2.7\n", id="a line end"),
        pytest.param("192.0.2.7\t", id="a tab"),
        pytest.param("192.0.2.7\u00a0", id="a no-break space"),
        pytest.param("192.0.2.7\0", id="a NUL"),
        pytest.param("192.0.2\0.7", id="a NUL inside"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param("192.0.2.\ud800", id="a lone surrogate inside"),
        pytest.param("\u0661\u0669\u0662.0.2.7", id="Arabic digits"),
        pytest.param("\uff11\uff19\uff12.0.2.7", id="full-width digits"),
        pytest.param("192\uff0e0.2.7", id="a full-width dot"),
        pytest.param(":", id="a colon"),
        pytest.param(":::", id="three colons"),
        pytest.param("2001:db8::1::2", id="two gaps"),
        pytest.param("2001:db8::12345", id="five digits"),
        pytest.param("2001:db8:1:2:3:4:5", id="seven groups"),
        pytest.param("1:2:3:4:5:6:7:8:9", id="nine groups"),
        pytest.param("1:2:3:4:5:6:7:8::", id="a gap for no group"),
        pytest.param("2001:db8::g", id="no hexadecimal digit"),
        pytest.param("fe80::1%eth0", id="a zone id"),
        pytest.param("fe80::1%1", id="a zone number"),
        pytest.param("fe80::1%25eth0", id="an encoded zone id"),
        pytest.param("::ffff:192.0.2.010", id="a leading zero in a mapped address"),
        pytest.param("::ffff:192.0.2", id="a short mapped address"),
        pytest.param("192.0.2.7::", id="an IPv4 head"),
        pytest.param("[2001:db8::1]", id="IPv6 in brackets"),
        pytest.param(" 2001:db8::1", id="a space before IPv6"),
        pytest.param("2001:db8::1\0", id="a NUL behind IPv6"),
        pytest.param("2001:db8::\ud800", id="a lone surrogate in IPv6"),
        pytest.param("2001:db8::\u0661", id="an Arabic digit in IPv6"),
        pytest.param("unknown", id="a word"),
        pytest.param("localhost", id="a name"),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert try_parse_address(text) is None
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize("text", ["1.2.3.4" * 10_000, ":" * 100_000, "0" * 100_000 + "::1", "::" + "0" * 44])
def test_long_text_is_refused_unread(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> bytes:
        raise AssertionError("read")

    monkeypatch.setattr("socket.inet_pton", never)
    assert try_parse_address(text) is None


def test_the_longest_text_of_an_address_is_taken() -> None:
    longest = "2001:0db8:0000:0000:0000:ffff:255.255.255.255"
    assert len(longest) == MAX_TEXT
    assert parse_address(longest).text == "2001:db8::ffff:ffff:ffff"


@given(values4)
def test_canonical_ipv4_text_is_that_of_the_standard_library(value: int) -> None:
    text = format_address(4, value)
    assert text == str(IPv4Address(value))
    assert parse_address(text) == Address(4, value, text)


@given(values6)
def test_canonical_ipv6_text_is_that_of_the_standard_library(value: int) -> None:
    address = parse_address(IPv6Address(value).exploded)
    if value in MAPPED:
        assert address == Address(4, value - MAPPED[0], str(IPv4Address(value - MAPPED[0])))
    else:
        assert address == Address(6, value, IPv6Address(value).compressed)
        assert parse_address(address.text) == address


@settings(max_examples=tries(300))
@given(st.text(st.sampled_from("0123456789abcfF.:/%[] x-\u0661"), max_size=20))
def test_an_address_is_taken_where_the_standard_library_takes_it(text: str) -> None:
    try:
        expected: IPv4Address | IPv6Address | None = ipaddress.ip_address(text)
    except ValueError:
        expected = None
    if isinstance(expected, IPv6Address):
        expected = None if expected.scope_id else expected.ipv4_mapped or expected
    address = try_parse_address(text)
    assert (address and (address.version, address.value)) == (expected and (expected.version, int(expected)))
