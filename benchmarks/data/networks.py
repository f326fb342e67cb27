"""Networks and addresses to measure with: the real BGP table where it is, else a seeded imitation; always the same.

The data lies beside the project (or at AUTHZ_SHARED) and is no part of it. Every network has an owner, the number of an
entry, drawn at random from `OWNERS`: a policy of that many lists, which is harder on the index than one list, for
neighbours of different owners cannot be merged.
"""

from __future__ import annotations

import gc
import gzip
import os
import random
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, Address, Network, format_address, parse_network
from benchmarks.rounds import without_gc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OWNERS: Final = 16
_SHARED = Path(os.environ.get("AUTHZ_SHARED", Path(__file__).parents[2].parent / "shared"))
BGP: Final = "data/lpm/bgp-full-table-prefixes.txt.gz"
_IPV6_SHARE = 0.15
# Share of each prefix length, in percent, and the blocks that the registries give out, roughly as in the BGP table.
_LENGTHS: Final[dict[int, dict[int, float]]] = {
    4: {24: 60, 23: 10, 22: 12, 21: 5, 20: 5, 19: 3, 18: 1.5, 17: 1, 16: 1.5, 15: 0.5, 14: 0.3, 12: 0.2},
    6: {48: 47, 32: 13, 44: 9, 40: 8, 46: 5, 36: 5, 47: 4, 45: 3, 29: 3, 33: 2, 64: 1},
}
_BLOCKS: Final = {
    4: (8, list(range(1, 224))),
    6: (16, [0x2001, 0x2804, *range(0x2400, 0x2410), *range(0x2600, 0x2610), *range(0x2A00, 0x2A10)]),
}
_NESTED_SHARE = 0.5


class Table(NamedTuple):
    """Networks, each once, and the number of the entry that each is of. source: where they come from."""

    source: str
    networks: list[Network]
    owners: list[int]

    def of(self, version: int) -> list[Network]:
        """Return the networks of one version."""
        return [network for network in self.networks if network.version == version]

    def by_owner(self) -> list[list[Network]]:
        """Return the networks of each entry."""
        entries: list[list[Network]] = [[] for _ in range(OWNERS)]
        for network, owner in zip(self.networks, self.owners, strict=True):
            entries[owner].append(network)
        return entries


def shared(name: str) -> Path | None:
    """Return a file or folder of the data beside the project, None where it is not there."""
    path = _SHARED / name
    return path if path.exists() else None


def load_table(size: int) -> Table:
    """Return a table of `size` networks of both versions, in random order: a sample of the BGP table where it is."""
    rng = random.Random(size)
    path = shared(BGP)
    if path is None:
        source, networks = "synthetic", _synthetic(size, rng)
    else:
        with gzip.open(path, "rt", encoding="ascii") as file, without_gc():
            lines = [line.strip() for line in file]
            source, networks = "BGP", [parse_network(line) for line in rng.sample(lines, min(size, len(lines)))]
    return Table(source, networks, [rng.randrange(OWNERS) for _ in networks])


def comb(version: int, size: int) -> Table:
    """Return the worst table that we know for our index: every second address of one dense block.

    Nothing can be merged, every piece has one address, and for IPv6 all pieces share their upper 64 bits, and so one
    place in the directory.
    """
    start = 0x0A000000 if version == 4 else 0x20010DB8 << 96
    networks = [Network(version, start + 2 * number, BITS[version]) for number in range(size)]
    return Table("comb", networks, [number % OWNERS for number in range(size)])


def _synthetic(size: int, rng: random.Random) -> list[Network]:
    chosen: dict[Network, None] = {}
    for version, share in ((6, _IPV6_SHARE), (4, 1.0)):
        lengths, weights = zip(*_LENGTHS[version].items(), strict=True)
        until = round(size * share)
        previous: list[Network] = []
        while len(chosen) < until:
            length = rng.choices(lengths, weights)[0]
            network = _random_network(version, length, previous, rng)
            if network not in chosen:
                chosen[network] = None
                previous.append(network)
    networks = list(chosen)
    rng.shuffle(networks)
    return networks


def _random_network(version: int, length: int, previous: Sequence[Network], rng: random.Random) -> Network:
    """Return a random network, half of the time inside one of a few of `previous` that is shorter."""
    bits = BITS[version]
    wider = [network for network in rng.choices(previous, k=4) if network.length < length] if previous else []
    if wider and rng.random() < _NESTED_SHARE:
        value = wider[0].value | rng.getrandbits(bits - wider[0].length)
    else:
        block_bits, blocks = _BLOCKS[version]
        value = rng.choice(blocks) << (bits - block_bits) | rng.getrandbits(bits - block_bits)
    return Network(version, value >> (bits - length) << (bits - length), length)


class SlowTable:
    """The longest prefix that covers an address, in the plainest way: one dictionary for each prefix length."""

    def __init__(self, table: Table) -> None:
        rows = sorted(zip(table.networks, table.owners, strict=True), key=lambda row: (row[0].version, -row[0].length))
        self._levels: dict[int, list[tuple[int, dict[int, int]]]] = {4: [], 6: []}
        for (version, length), level in groupby(rows, key=lambda row: (row[0].version, row[0].length)):
            shift = BITS[version] - length
            self._levels[version].append((shift, {network.value >> shift: owner for network, owner in level}))

    def longest(self, version: int, value: int) -> tuple[int, int] | None:
        """Return (owner, prefix bits) of the longest network that covers the address; None: no network does."""
        for shift, owners in self._levels[version]:
            owner = owners.get(value >> shift)
            if owner is not None:
                return owner, BITS[version] - shift
        return None


def hits(table: Table, version: int, count: int) -> list[int]:
    """Return random addresses, each inside a random network."""
    rng = random.Random(count)
    chosen = rng.choices(table.of(version), k=count)
    return _side_by_side([network.value | rng.getrandbits(BITS[version] - network.length) for network in chosen])


def misses(table: Table, slow: SlowTable, version: int, count: int) -> list[int]:
    """Return addresses that no network covers: half of them right beside a network, where there are enough such."""
    rng = random.Random(count)
    near = _outside(slow, version, _beside(table.of(version), rng, 20 * count), count // 2)
    far = _outside(slow, version, _anywhere(version, rng), count - len(near))
    values = near + far
    rng.shuffle(values)
    return _side_by_side(values)


def _side_by_side(values: Sequence[int]) -> list[int]:
    """Return new numbers, as close together in memory as can be: else the loop over them would miss the caches."""
    data = [value.to_bytes(16, "big") for value in values]
    gc.collect()
    return [int.from_bytes(address, "big") for address in data]


def _outside(slow: SlowTable, version: int, values: Iterator[int], count: int) -> list[int]:
    outside: list[int] = []
    for value in values:
        if len(outside) == count:
            break
        if slow.longest(version, value) is None:
            outside.append(value)
    return outside


def _beside(networks: Sequence[Network], rng: random.Random, tries: int) -> Iterator[int]:
    for network in rng.choices(networks, k=tries):
        yield rng.choice((max(network.value - 1, 0), min(network.last + 1, (1 << BITS[network.version]) - 1)))


def _anywhere(version: int, rng: random.Random) -> Iterator[int]:
    """Yield random addresses that a client could have: global unicast, which loopback (a trusted proxy here) is not."""
    while True:
        value = rng.randrange(1 << 24, 224 << 24) if version == 4 else 1 << 125 | rng.getrandbits(125)
        if version == 6 or value >> 24 != 127:
            yield value


def address(version: int, value: int) -> Address:
    """Return the address with this number."""
    return Address(version, value, format_address(version, value))
