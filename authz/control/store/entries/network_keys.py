"""Networks as keys of fixed width: 16 bytes of the first address, one byte of the length, in order of the address.

IPv4 is kept as its mapped IPv6 network, so that one key serves both:

    203.0.113.0/24     00 00 00 00 00 00 00 00 00 00 ff ff cb 00 71 00  78     (96 + 24 = 120 = 0x78)
    2001:db8::/32      20 01 0d b8 00 ...                           00  20

The entries that cover an address have one of at most 129 keys: one for each length there is. What lies inside a network
is a range of keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.addresses import Address, Network, parse_networks

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAPPED: Final = 0xFFFF << 32
_MAPPED_BITS: Final = 96


def key_of(network: Network) -> bytes:
    """Return the key of a network."""
    value, length = _as_ipv6(network.version, network.value, network.length)
    return value.to_bytes(16, "big") + bytes([length])


def covering_keys(address: Address, lengths: Iterable[int]) -> list[bytes]:
    """Return the keys that networks covering the address can have. lengths: of 128-bit addresses, those in use."""
    value, _ = _as_ipv6(address.version, address.value, 0)
    least = _MAPPED_BITS if address.version == 4 else 0
    return [
        (value >> (128 - length) << (128 - length)).to_bytes(16, "big") + bytes([length])
        for length in lengths
        if length >= least
    ]


def keys_inside(network: Network) -> tuple[bytes, bytes]:
    """Return the first and the last key that networks inside of this one can have."""
    first, length = _as_ipv6(network.version, network.value, network.length)
    last = first | ((1 << (128 - length)) - 1)
    return first.to_bytes(16, "big") + bytes([length]), last.to_bytes(16, "big") + b"\x80"


def keys_of(written: Iterable[str]) -> list[bytes]:
    """Return the keys of networks, addresses and ranges as they are written, each once."""
    return sorted({key_of(network) for text in written for network in parse_networks(text)})


def _as_ipv6(version: int, value: int, length: int) -> tuple[int, int]:
    return (value | _MAPPED, length + _MAPPED_BITS) if version == 4 else (value, length)
