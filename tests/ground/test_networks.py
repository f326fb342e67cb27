"""Networks, ranges and sets; the standard library's ipaddress is the second opinion."""

from __future__ import annotations

import ipaddress
import itertools
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ground.address_values import MAPPED, values4, values6
from support.suite.effort import tries

from authz.addresses import (
    BITS,
    Address,
    Network,
    NetworkSet,
    network_of,
    parse_address,
    parse_network,
    parse_networks,
    range_to_networks,
)
from authz.errors import AddressError, AuthzError

if TYPE_CHECKING:
    import random

AN_ADDRESS = "an IPv4 or IPv6 address"
A_NETWORK = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"


networks = st.one_of(
    st.tuples(st.just(4), values4, st.integers(0, 32)), st.tuples(st.just(6), values6, st.integers(0, 128))
).map(lambda n: Network(n[0], n[1] >> (BITS[n[0]] - n[2]) << (BITS[n[0]] - n[2]), n[2]))


def covers(network: Network, address: Any) -> bool:
    return address in network


def refusal(text: str) -> AddressError:
    with pytest.raises(AddressError) as caught:
        parse_networks(text)
    return caught.value


def no_zeros(text: str) -> str:
    return f"no leading zeros, such as {text}: some programs read them as octal"


# Networks


def test_an_address_is_a_network_of_full_length() -> None:
    assert parse_network("192.0.2.7") == Network(4, 0xC0000207, 32)
    assert parse_network("2001:db8::") == Network(6, 0x20010DB8 << 96, 128)


def test_a_prefix_is_a_network() -> None:
    assert parse_network("192.0.2.0/24") == Network(4, 0xC0000200, 24)
    assert parse_network("2001:DB8::/32") == Network(6, 0x20010DB8 << 96, 32)
    assert parse_network("0.0.0.0/0") == Network(4, 0, 0)
    assert parse_network("::/0") == Network(6, 0, 0)


def test_a_mapped_prefix_is_the_ipv4_network() -> None:
    assert parse_network("::ffff:192.0.2.0/120") == Network(4, 0xC0000200, 24)
    assert parse_network("::ffff:0:0/96") == Network(4, 0, 0)
    assert parse_network("::ffff:192.0.2.7/128") == Network(4, 0xC0000207, 32)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("10.0.0.2/10", "10.0.0.0/10"), ("255.255.255.255/0", "0.0.0.0/0"), ("2001:DB8::1/64", "2001:db8::/64"),
     ("::ffff:192.0.2.7/120", "192.0.2.0/24"), ("::1/127", "::/127")],
)  # fmt: skip
def test_host_bits_are_refused_with_the_network_meant_and_cleared_where_it_is_lenient(text: str, meant: str) -> None:
    error = refusal(text)
    assert error.message == f"found '{text}', expected a network without host bits"
    assert error.hint == f"did you mean '{meant}'?"
    assert error.meant == meant
    assert str(parse_network(text, lenient=True)) == meant
    assert parse_networks(text, lenient=True) == [parse_network(meant)]


@pytest.mark.parametrize("suffix", ["", "33", "+8", "08", "00", "8 ", " 8", "8\n", "1_0", "0x8", "255.0.0.0",
                                    "\u0668", "\u00b2", "9" * 5000, "24/24"])  # fmt: skip
def test_a_prefix_length_is_one_plain_number(suffix: str) -> None:
    error = refusal(f"0.0.0.0/{suffix}")
    assert error.expected == "a prefix length from 0 to 32"
    with pytest.raises(AddressError):
        parse_network(f"0.0.0.0/{suffix}", lenient=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"found '', expected {A_NETWORK}"),
        ("shop.example.com", f"found 'shop.example.com', expected {A_NETWORK}"),
        ("192.0.2", f"found '192.0.2', expected {A_NETWORK}"),
        ("/24", f"found '/24', expected {A_NETWORK}"),
        ("192.0.2.010/24",
             f"found '192.0.2.010/24', expected {no_zeros('192.0.2.10/24')}"),
            ("192.0.2.01-192.0.2.09",
             f"found '192.0.2.01-192.0.2.09', expected {no_zeros('192.0.2.1-192.0.2.9')}"),
            ("192.0.2.0300", f"found '192.0.2.0300', expected {A_NETWORK}"),
            ("192.0.02", f"found '192.0.02', expected {A_NETWORK}"),
        (" 192.0.2.0/24", f"found ' 192.0.2.0/24', expected {A_NETWORK}"),
        ("fe80::1%eth0", "found 'fe80::1%eth0', expected no zone, such as fe80::1"),
        ("fe80::1%eth0/64", "found 'fe80::1%eth0/64', expected no zone, such as fe80::1"),
        ("192.0.2.7%eth0", f"found '192.0.2.7%eth0', expected {A_NETWORK}"),
        ("192.0.2.0/33", "found '192.0.2.0/33', expected a prefix length from 0 to 32"),
        ("2001:db8::/129", "found '2001:db8::/129', expected a prefix length from 0 to 128"),
        ("::ffff:192.0.2.0/24", "found '::ffff:192.0.2.0/24', expected a prefix length from 96 to 128"),
        ("::ffff:0:0/95", "found '::ffff:0:0/95', expected a prefix length from 96 to 128"),
        ("-", f"found '-', expected {A_NETWORK}"),
        ("192.0.2.1-", f"found '192.0.2.1-', expected {A_NETWORK}"),
        ("192.0.2.1-9", f"found '192.0.2.1-9', expected {A_NETWORK}"),
        ("192.0.2.0/25-192.0.2.9", f"found '192.0.2.0/25-192.0.2.9', expected {A_NETWORK}"),
        ("192.0.2.1-192.0.2.5-192.0.2.9", f"found '192.0.2.1-192.0.2.5-192.0.2.9', expected {A_NETWORK}"),
        ("192.0.2.1-2001:db8::1",
         "found '192.0.2.1-2001:db8::1', expected a range of one version, not IPv4 and IPv6"),
        ("::1-::ffff:192.0.2.1", "found '::1-::ffff:192.0.2.1', expected a range of one version, not IPv4 and IPv6"),
        ("192.0.2.9 - 192.0.2.1",
         "found '192.0.2.9 - 192.0.2.1', expected a range whose end is not before its start"),
        ("\u0661.2.3.4\n\x7f", f"found '\\u0661.2.3.4\\x0a\\x7f', expected {A_NETWORK}"),
        ("x" * 81, f"found '{'x' * 80}... (81 characters)', expected {A_NETWORK}"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_what_was_found_and_what_was_expected(text: str, message: str) -> None:
    assert refusal(text).message == message


def test_a_mistake_in_an_address_is_answered_with_what_was_expected() -> None:
    with pytest.raises(AuthzError) as caught:
        parse_address("192.0.2.300")
    assert str(caught.value) == f"found '192.0.2.300', expected {AN_ADDRESS}"
    assert (caught.value.code, caught.value.hint) == ("bad_address", "")


def test_a_range_written_backwards_is_answered_with_the_range_meant() -> None:
    assert refusal("192.0.2.9-192.0.2.1").hint == "did you mean '192.0.2.1-192.0.2.9'?"


@given(networks)
def test_a_network_has_the_bounds_and_the_text_of_the_standard_library(network: Network) -> None:
    twin = (IPv4Network if network.version == 4 else IPv6Network)((network.value, network.length))
    assert (network.value, network.last) == (int(twin.network_address), int(twin.broadcast_address))
    if network.version == 4 or network.value not in MAPPED:
        assert str(network) == str(twin)
        assert parse_network(str(network)) == network


@given(networks)
def test_a_network_contains_its_addresses_and_no_others(network: Network) -> None:
    def address(value: int, version: int = network.version) -> Address:
        return Address(version, value, "")

    assert covers(network, address(network.value))
    assert covers(network, address(network.last))
    assert not covers(network, address(network.value - 1))
    assert not covers(network, address(network.last + 1))
    assert not covers(network, address(network.value, 10 - network.version))
    assert not covers(network, network.value)


@given(values6, st.integers(0, 128))
def test_the_network_of_an_address_contains_it_and_has_the_length_asked_for(value: int, length: int) -> None:
    network = network_of(Address(6, value, ""), length)
    assert network.value == int(IPv6Network((value, length), strict=False).network_address)
    assert covers(network, Address(6, value, ""))
    assert network.length == length


# Ranges


def test_a_range_becomes_the_networks_that_cover_it_in_order() -> None:
    networks = [str(network) for network in parse_networks("192.0.2.1-192.0.2.6")]
    assert networks == ["192.0.2.1/32", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6/32"]


def test_spaces_and_tabs_around_the_hyphen_of_a_range_are_taken() -> None:
    assert parse_networks("192.0.2.0 \t-\t 192.0.2.255") == [parse_network("192.0.2.0/24")]


def test_a_range_of_one_address_is_that_address() -> None:
    assert parse_networks("2001:db8::7-2001:db8::7") == [parse_network("2001:db8::7")]


def test_a_range_of_mapped_addresses_is_an_ipv4_range() -> None:
    assert parse_networks("::ffff:192.0.2.0-192.0.2.1") == [Network(4, 0xC0000200, 31)]


@pytest.mark.parametrize("version", [4, 6])
def test_the_whole_address_space_is_one_network(version: int) -> None:
    assert range_to_networks(version, 0, (1 << BITS[version]) - 1) == [Network(version, 0, 0)]


@pytest.mark.parametrize("version", [4, 6])
def test_the_worst_range_takes_two_networks_a_bit(version: int) -> None:
    bits = BITS[version]
    assert len(range_to_networks(version, 1, (1 << bits) - 2)) == 2 * bits - 2


@settings(max_examples=tries(200))
@given(
    st.one_of(
        st.tuples(st.just(4), values4, values4),
        st.tuples(st.just(6), values6, values6),
        st.tuples(st.just(4), values4, st.integers(0, 600)).map(lambda r: (4, r[1], min(r[1] + r[2], (1 << 32) - 1))),
    )
)
def test_a_range_becomes_exactly_the_fewest_networks_in_order(bounds: tuple[int, int, int]) -> None:
    version, first, last = bounds[0], *sorted(bounds[1:])
    found = range_to_networks(version, first, last)
    # They cover the range from end to end, each beginning where the one before it ended.
    expected = first
    for network in found:
        assert network.value == expected
        assert network.value % (1 << (BITS[version] - network.length)) == 0
        expected = network.last + 1
    assert expected == last + 1
    # No two neighbours are halves of one network, which would be fewer.
    for one, other in itertools.pairwise(found):
        assert one.length != other.length or network_of(Address(version, one.value, ""), one.length - 1) != (
            network_of(Address(version, other.value, ""), other.length - 1)
        )
    make: Any = IPv4Address if version == 4 else IPv6Address
    twin = ipaddress.summarize_address_range(make(first), make(last))
    assert [(n.value, n.length) for n in found] == [(int(n.network_address), n.prefixlen) for n in twin]


# Sets


def test_an_empty_set_is_false_and_contains_nothing() -> None:
    assert not NetworkSet(())
    assert parse_address("0.0.0.0") not in NetworkSet(())
    assert parse_address("::") not in NetworkSet(())


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0"])
def test_a_set_of_one_version_contains_nothing_of_the_other(text: str) -> None:
    network = parse_network(text)
    everywhere = NetworkSet([network])
    assert everywhere
    for version, bits in BITS.items():
        for value in (0, (1 << bits) - 1):
            assert (Address(version, value, "") in everywhere) == (version == network.version)


def test_a_set_of_neighbours_nested_and_equal_networks_is_one_piece() -> None:
    texts = ["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "10.0.0.0/9", "10.255.255.255"]
    proxies = NetworkSet(parse_network(text) for text in texts)
    assert proxies.bounds == {4: [10 << 24, 11 << 24], 6: []}
    assert parse_address("10.127.255.255") in proxies
    assert parse_address("::ffff:10.128.0.0") in proxies
    assert parse_address("11.0.0.0") not in proxies
    assert parse_address("9.255.255.255") not in proxies


def near(some: list[Network], random: random.Random) -> list[Address]:
    """Return the edges of networks, the addresses beside them, and a few in the middle."""
    beside = []
    for network in some:
        inside = random.randint(network.value, network.last)
        values = (network.value - 1, network.value, inside, network.last, network.last + 1)
        beside += [Address(network.version, v, "") for v in values if 0 <= v < 1 << BITS[network.version]]
    return beside


@settings(max_examples=tries(100))
@given(st.lists(networks, max_size=12), st.randoms(use_true_random=False))
def test_a_set_contains_an_address_where_a_scan_from_end_to_end_finds_it(
    some: list[Network], random: random.Random
) -> None:
    fast = NetworkSet(some)
    assert bool(fast) == bool(some)
    for address in near(some, random):
        assert (address in fast) == any(covers(network, address) for network in some)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("203.0.113.0/24", "203.0.113.9", True),
        ("203.0.113.0/25", "203.0.113.128/25", False),
        ("0.0.0.0/0", "::/0", False),
        ("2001:db8::/32", "2001:db8:1::/48", True),
    ],
)
def test_networks_overlap_where_one_is_in_the_other(one: str, other: str, expected: bool) -> None:
    first, second = parse_network(one), parse_network(other)
    assert first.overlaps(second) is second.overlaps(first) is expected
