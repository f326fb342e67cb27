"""The slow twin of the index, a list of entries that is scanned from end to end."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from authz.addresses import BITS, Network, parse_networks
from authz.engine.entries.lookup import Index
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Sequence


class Subject(NamedTuple):
    """An entry of the slow twin: its networks, and the holes in them."""

    networks: Sequence[Network]
    holes: Sequence[Network] = ()


def subject(*texts: str) -> Subject:
    """Return an entry of these networks; a text that begins with `!` is a hole."""
    networks = [n for text in texts if text[0] != "!" for n in parse_networks(text)]
    return Subject(networks, [n for text in texts if text[0] == "!" for n in parse_networks(text[1:])])


def arrays_of(subjects: Sequence[Subject]) -> dict[str, Any]:
    return build_index([EntryNetworks(Prefixes.split(s.networks), Prefixes.split(s.holes)) for s in subjects])


def index_of(arrays: dict[str, Any]) -> Index:
    return Index({name: memoryview(array.tobytes()) for name, array in arrays.items()})


def covers(network: Network, version: int, value: int) -> bool:
    return network.version == version and network.value <= value <= network.last


def scan(subjects: Sequence[Subject], version: int, value: int) -> list[tuple[int, int]]:
    """Return the match set of an address by looking at every network of every entry."""
    matches = []
    for number, (networks, holes) in enumerate(subjects):
        lengths = [network.length for network in networks if covers(network, version, value)]
        if lengths and not any(covers(hole, version, value) for hole in holes):
            matches.append((number, max(lengths)))
    return sorted(matches, key=lambda member: (-member[1], member[0]))


def edges(subjects: Sequence[Subject]) -> set[tuple[int, int]]:
    """Return the first and last address of every network, the ones beside them, and the ends of both spaces."""
    addresses = {(version, value) for version, bits in BITS.items() for value in (0, 1, (1 << bits) - 1)}
    for network in itertools.chain.from_iterable(itertools.chain(s.networks, s.holes) for s in subjects):
        for value in (network.value - 1, network.value, network.value + 1, network.last, network.last + 1):
            if 0 <= value < 1 << BITS[network.version]:
                addresses.add((network.version, value))
    return addresses


def compare(subjects: Sequence[Subject], addresses: Sequence[tuple[int, int]] = ()) -> Index:
    """Compare the index with the twin at every edge and at the addresses that are given."""
    index = index_of(arrays_of(subjects))
    assert list(index.problems(len(subjects))) == []
    for version, value in sorted(edges(subjects)) + list(addresses):
        number = index.find(version, value)
        expected = scan(subjects, version, value)
        assert index.members(number) == expected, (version, value)
        assert (number == 0) == (not expected)
    used = {0}
    for name in ("v4.sets", "v6.sets"):
        numbers = index.arrays[name].tolist()
        assert all(one != other for one, other in itertools.pairwise(numbers))  # equal neighbours are one piece
        used.update(numbers)
    assert used == set(range(index.set_count))
    assert len({tuple(index.members(number)) for number in used}) == len(used)  # equal sets share a number
    return index


def network(version: int, value: int, length: int) -> Network:
    host_bits = BITS[version] - length
    return Network(version, value >> host_bits << host_bits, length)


class Counted:
    """An array that counts how often one of its elements is read."""

    reads = 0

    def __init__(self, array: Any) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice) and (place.step or place.stop is None):
            return Counted(self._array[place])
        Counted.reads += 1
        return self._array[place]

    def cast(self, kind: str) -> Counted:
        return Counted(self._array.cast(kind))


def big(version: int, values: Sequence[int], length: int) -> Index:
    prefixes = {4: Prefixes.of(4, [], []), 6: Prefixes.of(6, [], [])}
    prefixes[version] = Prefixes.of(version, values, [length] * len(values))
    return index_of(build_index([EntryNetworks(prefixes, Prefixes.split([]))]))


def problems(arrays: dict[str, Any], entries: int = 2) -> list[str]:
    return list(index_of(arrays).problems(entries))
