"""Finding entries in a snapshot: by address, by network, or by a text in what they say.

192.0.2.7        the entries that cover it, each with its longest network
192.0.2.0/24     the entries that have an address of it, each with its networks there
credential       the entries in whose id, reason, author, subjects or applications it is found, in any case
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from authz.addresses import BITS, Network, network_of, parse_networks, try_parse_address
from authz.analysis.space import cut_of
from authz.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Address
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry


class Hit(NamedTuple):
    """An entry that was found.

    Attributes:
        number: Of the entry in the snapshot.
        entry: The entry.
        networks: Those of its networks that cover what was looked for, or lie in it, in order; none for a text.
    """

    number: int
    entry: Entry
    networks: tuple[Network, ...] = ()


class Found(NamedTuple):
    """What was looked for was taken for this kind; hits are in the order of the snapshot."""

    kind: Literal["address", "network", "text"]
    hits: tuple[Hit, ...]


def search(opened: OpenedSnapshot, text: str) -> Found:
    """Return the entries that a text finds: an address, a network or a range, or part of what an entry says.

    Raises:
        AddressError: It is nearly a network, such as one with host bits.
    """
    address = try_parse_address(text)
    if address is not None:
        return Found("address", _by_address(opened, address))
    try:
        networks = parse_networks(text)
    except AddressError as error:
        if error.meant:  # host bits, a netmask: no text that an entry has
            raise
        return Found("text", _by_text(opened, text))
    return Found("network", _by_networks(opened, networks))


def _by_address(opened: OpenedSnapshot, address: Address) -> tuple[Hit, ...]:
    members = opened.index.members(opened.index.find(address.version, address.value))
    return tuple(
        Hit(number, opened.entries[number], (network_of(address, length),)) for number, length in sorted(members)
    )


def _by_networks(opened: OpenedSnapshot, networks: list[Network]) -> tuple[Hit, ...]:
    matched: dict[int, set[Network]] = {}
    for network in networks:
        cut, sets = cut_of(opened.index, network.version)
        first, end = cut.within(network)
        spare = 128 - BITS[network.version]
        halves = zip(cut.high[first:end].tolist(), cut.low[first:end].tolist(), strict=True)
        starts = [(high << 64 | low) >> spare for high, low in halves]
        ends = [*starts[1:], network.last + 1]
        for start, behind, number in zip(starts, ends, sets[first:end].tolist(), strict=True):
            for entry, length in opened.index.members(number):
                some = _networks(network.version, max(network.value, start), behind - 1, length)
                matched.setdefault(entry, set()).update(some)
    return tuple(Hit(number, opened.entries[number], tuple(sorted(some))) for number, some in sorted(matched.items()))


def _networks(version: int, first: int, last: int, length: int) -> Iterator[Network]:
    """Yield the networks of this length that have an address from `first` to `last`: neighbours may share a piece."""
    host_bits = BITS[version] - length
    for number in range(first >> host_bits, (last >> host_bits) + 1):
        yield Network(version, number << host_bits, length)


def _by_text(opened: OpenedSnapshot, text: str) -> tuple[Hit, ...]:
    wanted = text.casefold()
    return tuple(
        Hit(number, entry)
        for number, entry in enumerate(opened.entries)
        if any(
            wanted in said.casefold()
            for said in (entry.id, entry.reason, entry.author, *entry.subjects, *entry.applications)
        )
    )
