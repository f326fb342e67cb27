"""Who looks addresses up beside our index: pytricia, py-radix, maxminddb, and a scan of `ipaddress` networks.

Each is asked in the form that suits it best, and pytricia also by text. pytricia is frozen, its fastest form. The scan
has its networks sorted, the longest prefix first, so that it ends at the first that covers the address.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import ipaddress
import multiprocessing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.addresses import BITS
from benchmarks.data.networks import load_table, shared
from benchmarks.processes import memory_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.data.networks import Table

TRIE, TRIE_TEXT = "pytricia", "pytricia, text"
RADIX: Final = "py-radix"
SCAN: Final = "ipaddress, scan"
MMDB: Final = "maxminddb, text"
_GEO = "data/geo/iptoasn-country.mmdb"
SCANNED: Final = 50  # addresses of a kind, at most: each takes milliseconds

Longest = tuple[int, int]  # the entry and the prefix bits of the longest network that covers an address


class Loop(NamedTuple):
    """A loop over addresses, which calls nothing but what is measured. addresses: how many."""

    work: Callable[[], None]
    addresses: int


def loop(get: Callable[[Any], object], keys: Sequence[Any]) -> Loop:
    """Return the loop of a contender that is asked by position."""

    def work() -> None:
        for key in keys:
            get(key)

    return Loop(work, len(keys))


class Tries:
    """pytricia: a trie for each version. The value of a network is the number of its entry."""

    name = TRIE

    def __init__(self, table: Table) -> None:
        pytricia = importlib.import_module("pytricia")
        self._tries = {version: pytricia.PyTricia(bits) for version, bits in BITS.items()}
        insert, insert6 = self._tries[4].insert, self._tries[6].insert
        for (version, value, length), owner in zip(table.networks, table.owners, strict=True):
            if version == 4:
                insert(value, length, owner)
            else:
                insert6((value.to_bytes(16, "big"), length), owner)
        for trie in self._tries.values():
            trie.freeze()

    def loops(self, version: int, values: list[int], texts: list[str]) -> dict[str, Loop]:
        """Return the loops over addresses, as numbers (IPv4) or bytes, and as text."""
        get = self._tries[version].get
        return {TRIE: loop(get, [_trie_key(version, value) for value in values]), TRIE_TEXT: loop(get, texts)}

    def longest(self, version: int, value: int) -> Longest | None:
        """Return the answer for one address."""
        trie, key = self._tries[version], _trie_key(version, value)
        network = trie.get_key(key)
        return None if network is None else (trie.get(key), int(network.rpartition("/")[2]))


class Radix:
    """py-radix: one tree for both versions. It finds a node with the prefix, in whose dictionary the entry would be."""

    name = RADIX

    def __init__(self, table: Table) -> None:
        self._tree = importlib.import_module("radix").Radix()
        add = self._tree.add
        for version, value, length in table.networks:
            add(packed=_packed(version, value), masklen=length)
        self._table = table

    def loops(self, version: int, values: list[int], _: list[str]) -> dict[str, Loop]:
        """Return the loop over addresses as bytes."""
        best, keys = self._tree.search_best, [_packed(version, value) for value in values]

        def work() -> None:
            for key in keys:
                best(packed=key)

        return {RADIX: Loop(work, len(keys))}

    def longest(self, version: int, value: int) -> Longest | None:
        """Return the answer for one address."""
        node = self._tree.search_best(packed=_packed(version, value))
        if node is None:
            return None
        return self._owners[version, int.from_bytes(node.packed, "big"), node.prefixlen], node.prefixlen

    @cached_property
    def _owners(self) -> dict[tuple[int, int, int], int]:
        # Not in the dictionaries of the nodes, as a user would have it: those take 200 bytes more for each.
        return dict(zip(self._table.networks, self._table.owners, strict=True))


class Scan:
    """A list of `ipaddress` networks for each version, looked at one after the other."""

    name = SCAN

    def __init__(self, table: Table) -> None:
        rows = sorted(zip(table.networks, table.owners, strict=True), key=lambda row: -row[0].length)
        self._rows = {
            version: [
                (ipaddress.ip_network(str(network)), owner) for network, owner in rows if network.version == version
            ]
            for version in BITS
        }

    def loops(self, version: int, values: list[int], _: list[str]) -> dict[str, Loop]:
        """Return the loop over the first few addresses, as objects of `ipaddress`."""
        networks = [network for network, _ in self._rows[version]]
        addresses = [_object(version, value) for value in values[:SCANNED]]

        def first(address: Any) -> Any:
            for network in networks:
                if address in network:
                    return network
            return None

        return {SCAN: loop(first, addresses)}

    def longest(self, version: int, value: int) -> Longest | None:
        """Return the answer for one address."""
        address = _object(version, value)
        covering = ((owner, network.prefixlen) for network, owner in self._rows[version] if address in network)
        return next(covering, None)


Contender = Tries | Radix | Scan


def installed() -> tuple[list[type[Tries | Radix]], list[str]]:
    """Return the compiled contenders that are installed, and the names of those that are not."""
    present: list[type[Tries | Radix]] = []
    missing = []
    for kind, module in ((Tries, "pytricia"), (Radix, "radix")):
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(kind.name)
        else:
            present.append(kind)
    return present, missing


def growths(kinds: Sequence[type[Tries | Radix]], size: int) -> dict[str, int]:
    """Return by how many bytes a fresh process grows when it builds each of them from a table.

    Each is freed before the next one is built.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growths, (kinds, size))


def _growths(kinds: Sequence[type[Tries | Radix]], size: int) -> dict[str, int]:
    table = load_table(size)
    grown = {}
    for kind in kinds:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else it would move into what loading the table has left free
        before = memory_of("self")["VmRSS"]
        built = kind(table)
        grown[kind.name] = memory_of("self")["VmRSS"] - before
        del built
    return grown


def open_mmdb() -> tuple[Callable[[str], object] | None, str]:
    """Return how maxminddb looks a text up in the country database, or None where one of the two is missing; a note."""
    path = shared(_GEO)
    try:
        maxminddb = importlib.import_module("maxminddb")
    except ImportError:
        path = None
    if path is None:
        return None, "maxminddb: the package or the country database is not there, so no point of reference"
    reader = maxminddb.open_database(str(path))
    note = (
        f"maxminddb ({type(reader).__module__}) looks up the same addresses in a table of its own, countries in "
        f"{reader.metadata().node_count:,} nodes, and returns a dictionary: a point of reference, not a comparison"
    )
    return reader.get, note


def _packed(version: int, value: int) -> bytes:
    return value.to_bytes(BITS[version] // 8, "big")


def _trie_key(version: int, value: int) -> int | bytes:
    return value if version == 4 else _packed(version, value)


def _object(version: int, value: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value)
