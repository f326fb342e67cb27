"""Addresses and networks: strict parsing, unmapping, canonical text, ranges to the fewest networks.

Every address that comes in passes here once, at the edge, and is from then on a number of a version:

    parse_address("192.0.2.7")           -> Address(version=4, value=0xC0000207, text="192.0.2.7")
    parse_address("::ffff:192.0.2.7")    -> the same: IPv4-mapped IPv6 (RFC 4291, 2.5.5.2) is unmapped
    parse_address("2001:DB8:0::1").text  -> "2001:db8::1" (RFC 5952)

Strict: no leading zeros (192.0.2.010 is 192.0.2.8 to some programs and .10 to others), no short or decimal forms,
no zones (fe80::1%eth0), no white space, nothing but ASCII. 6to4, NAT64 and IPv4-compatible (::192.0.2.7) addresses
stay IPv6.
"""

from __future__ import annotations

import _socket  # `socket` loads selectors and a dozen enumerations, which take 5 ms of `authz ban`
import ipaddress
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterable

BITS: Final = {4: 32, 6: 128}
MAX_TEXT = 45  # the longest IPv6 text, with an IPv4 tail; longer input is refused unread
_MAPPED = 0xFFFF << 32
_MAPPED_END = _MAPPED | 0xFFFFFFFF
_MAPPED_BITS = 96
# By names of this module, for the hot path: half the cost of attributes of another. `tuple.__new__` is half
# the cost of a named tuple's own constructor.
_INET, _INET6, _packed, _written = _socket.AF_INET, _socket.AF_INET6, _socket.inet_pton, _socket.inet_ntop
_number, _make = int.from_bytes, tuple.__new__
_LEADING_ZERO = re.compile(r"(?<![0-9])0+(?=[0-9])")
ADDRESS_EXPECTED = "an IPv4 or IPv6 address"
NETWORK_EXPECTED = "an address or a network such as 192.0.2.0/24"
NETWORKS_EXPECTED = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"


class Address(NamedTuple):
    """One address.

    Attributes:
        version: 4 or 6.
        value: The address as a number.
        text: Its canonical form.
    """

    version: int
    value: int
    text: str


class Network(NamedTuple):
    """One CIDR prefix.

    Attributes:
        version: 4 or 6.
        value: Its first address as a number.
        length: Prefix bits.
    """

    version: int
    value: int
    length: int

    @property
    def last(self) -> int:
        """The last address, as a number."""
        return self.value | ((1 << (BITS[self.version] - self.length)) - 1)

    def overlaps(self, other: Network) -> bool:
        """Return whether some address is in both: one of them is in the other."""
        return self.version == other.version and self.value <= other.last and other.value <= self.last

    def __str__(self) -> str:
        return f"{format_address(self.version, self.value)}/{self.length}"

    def __contains__(self, address: object) -> bool:
        return (
            isinstance(address, Address)
            and address.version == self.version
            and self.value <= address.value <= self.last
        )


def format_address(version: int, value: int) -> str:
    """Return the canonical text: dotted decimal, or RFC 5952 for IPv6."""
    if version == 4:
        return _written(_INET, value.to_bytes(4, "big"))
    if value >> 32:
        return _written(_INET6, value.to_bytes(16, "big"))
    return ipaddress.IPv6Address(value).compressed  # inet_ntop would write ::c000:207 with an IPv4 tail


def parse_address(text: str) -> Address:
    """Parse one address.

    Args:
        text: As a person writes it, without spaces.

    Raises:
        AddressError: It is not an address.
    """
    address = try_parse_address(text)
    if address is None:
        raise AddressError(text, _without_zone(text) or _without_zeros(text) or ADDRESS_EXPECTED)
    return address


def _without_zone(text: str) -> str:
    """Return what to expect of an IPv6 address with a zone (RFC 4007, section 11: `fe80::1%eth0`); else "".

    A zone names an interface of one machine, so it means nothing to another. No address has one, wherever it stands.
    """
    base, percent, _ = text.partition("%")
    address = try_parse_address(base) if percent else None
    return f"no zone, such as {base}" if address and address.version == 6 else ""


def _without_zeros(text: str) -> str:
    """Return what to expect of an IPv4 address, network or range that fails for its leading zeros alone; else ""."""
    if ":" in text or len(text) > MAX_TEXT or not _LEADING_ZERO.search(text):
        return ""
    base, slash, length = text.partition("/")
    meant = _LEADING_ZERO.sub("", base)
    parts = [part.strip(" \t") for part in meant.split("-")]
    if any(try_parse_address(part) is None for part in parts):
        return ""
    return f"no leading zeros, such as {meant}{slash}{length}: some programs read them as octal"


def try_parse_address(text: str) -> Address | None:
    """Parse one address; None if `text` is not one. The hot path: no exception is built for what clients write."""
    try:
        if ":" not in text:
            if len(text) > 15:
                return None
            # The only text that inet_pton takes for an IPv4 address is its canonical one.
            return _make(Address, (4, _number(_packed(_INET, text), "big"), text))
        if len(text) > MAX_TEXT:
            return None
        packed = _packed(_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL, or a lone surrogate
        return None
    value = _number(packed, "big")
    if value > _MAPPED_END:
        return _make(Address, (6, value, _written(_INET6, packed)))
    if value >= _MAPPED:
        value &= 0xFFFFFFFF
        return Address(4, value, format_address(4, value))
    return Address(6, value, format_address(6, value))


def parse_network(text: str, *, lenient: bool = False, expected: str = NETWORK_EXPECTED) -> Network:
    """Parse an address or a CIDR prefix; an address is a network of full length.

    A mapped prefix of 96 bits or more (::ffff:192.0.2.0/120) is the IPv4 network.

    Args:
        text: What was written.
        lenient: Clear host bits (10.0.0.2/10).
        expected: What the error says of a text that is neither.

    Raises:
        AddressError: It is neither; or host bits are set, and the error has the network meant.
    """
    base, slash, suffix = text.partition("/")
    address = try_parse_address(base)
    if address is None:
        raise AddressError(text, _without_zone(text) or _without_zeros(text) or expected, meant=_meant(text))
    if not slash:
        return Network(address.version, address.value, BITS[address.version])
    length = _prefix_length(text, base, suffix, address.version)
    kept = address.value >> (BITS[address.version] - length) << (BITS[address.version] - length)
    network = Network(address.version, kept, length)
    if kept != address.value and not lenient:
        raise AddressError(text, "a network without host bits", meant=str(network))
    return network


def _prefix_length(text: str, base: str, suffix: str, version: int) -> int:
    mapped = version == 4 and ":" in base
    least, most = (_MAPPED_BITS, 128) if mapped else (0, BITS[version])
    canonical = suffix.isascii() and suffix.isdigit() and (suffix == "0" or not suffix.startswith("0"))
    if not canonical or len(suffix) > 3 or not least <= int(suffix) <= most:
        raise AddressError(text, f"a prefix length from {least} to {most}", meant=_meant(text))
    return int(suffix) - least


def _meant(text: str) -> str:
    """Return the network that was probably meant by one with a netmask, an asterisk or a port; "" if none."""
    if match := re.fullmatch(r"((?:[0-9]{1,3}\.){1,3})\*(?:\.\*)*", text):
        octets = match[1].rstrip(".").split(".")
        written = f"{'.'.join([*octets, *['0'] * (4 - len(octets))])}/{8 * len(octets)}"
    elif match := re.fullmatch(r"([0-9.]{7,15})/([0-9.]{7,15})", text):
        mask = try_parse_address(match[2])
        ones = mask.value.bit_count() if mask else 0
        written = f"{match[1]}/{ones}" if mask and mask.value == (1 << 32) - (1 << 32 - ones) else ""
    elif match := re.fullmatch(r"([0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}", text):
        written = match[1].strip("[]")
    else:
        return ""
    try:
        parse_network(written, lenient=True)
    except AddressError:
        return ""
    return written


def parse_networks(text: str, *, lenient: bool = False) -> list[Network]:
    """Parse an address, a network or a range `a-b` into the fewest networks.

    Args:
        text: Spaces around the hyphen of a range are taken.
        lenient: Take a network with host bits set, and clear them.

    Raises:
        AddressError: It is none of them. A range that ends before it starts, or that mixes IPv4 and IPv6, is none
            either.
    """
    first, hyphen, last = text.partition("-")
    if not hyphen:
        return [parse_network(text, lenient=lenient, expected=NETWORKS_EXPECTED)]
    low, high = try_parse_address(first.strip(" \t")), try_parse_address(last.strip(" \t"))
    if low is None or high is None:
        raise AddressError(text, _without_zone(text) or _without_zeros(text) or NETWORKS_EXPECTED)
    if low.version != high.version:
        raise AddressError(text, "a range of one version, not IPv4 and IPv6")
    if low.value > high.value:
        raise AddressError(text, "a range whose end is not before its start", meant=f"{high.text}-{low.text}")
    return range_to_networks(low.version, low.value, high.value)


def range_to_networks(version: int, first: int, last: int) -> list[Network]:
    """Return the fewest networks that cover exactly the addresses `first` to `last`, both included, in order.

    From the left, the widest network that starts here and does not pass the end: 192.0.2.1-192.0.2.6 is
    .1/32, .2/31, .4/31, .6/32.
    """
    networks = []
    bits = BITS[version]
    while first <= last:
        aligned = (first & -first).bit_length() - 1 if first else bits
        fits = (last - first + 1).bit_length() - 1
        host_bits = min(aligned, fits)
        networks.append(Network(version, first, bits - host_bits))
        first += 1 << host_bits
    return networks


def network_of(address: Address, length: int) -> Network:
    """Return the network of this many prefix bits that the address is in."""
    host_bits = BITS[address.version] - length
    return Network(address.version, address.value >> host_bits << host_bits, length)


class NetworkSet:
    """A small fixed set of networks that answers "is this address in one of them?" by bisection.

    bounds: for each version the numbers where it begins and ends to cover, in turn: after an odd number of them an
    address is inside.
    """

    def __init__(self, networks: Iterable[Network]) -> None:
        networks = set(networks)
        self.bounds: dict[int, list[int]] = {4: [], 6: []}
        for version, bounds in self.bounds.items():
            for first, end in sorted((n.value, n.last + 1) for n in networks if n.version == version):
                if bounds and first <= bounds[-1]:
                    bounds[-1] = max(bounds[-1], end)
                else:
                    bounds += [first, end]

    def __contains__(self, address: Address) -> bool:
        return bisect_right(self.bounds[address.version], address.value) & 1 == 1

    def __bool__(self) -> bool:
        return any(self.bounds.values())
