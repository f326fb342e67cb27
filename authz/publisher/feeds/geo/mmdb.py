r"""The MaxMind DB format (.mmdb), read as arrays: which networks point at which record, and single fields of a record.

A file is a search tree, a data section and the metadata:

    node 0 | node 1 | ... | 16 zero bytes | records | "\xab\xcd\xefMaxMind.com" | metadata

A node is two numbers of 24, 28 or 32 bits, the left for the next address bit 0, the right for 1. With N nodes, a number
below N is a node, N is "nothing known", and N + 16 + o is the record at offset o of the data section. In an IPv6 tree
IPv4 is ::/96, and ::ffff:0:0/96, 2001::/32 or 2002::/16 may point there again: those are passed over, for clients are
unmapped before they are looked up.

The tree is walked one level at a time, all nodes of a level together: 0.1 s for 860,000 nodes, 3.4 s one by one.

Files are not believed. Every node is met exactly once, no path is longer than an address, and a field is found by
stepping over what stands before it, in a loop with a budget. So pointers that go in circles, maps inside maps and
records laid over one another end in an error, not in a full stack or memory.

The format: https://maxmind.github.io/MaxMind-DB/ (version 2.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from authz.addresses import BITS
from authz.errors import InputError, shorten
from authz.publisher.index.prefixes import Prefixes

if TYPE_CHECKING:
    from authz.publisher.index.prefixes import Array

_METADATA: Final = ("binary_format_major_version", "ip_version", "record_size", "node_count", "database_type")
_EXPECTED: Final = {"binary_format_major_version": (2,), "ip_version": (4, 6), "record_size": (24, 28, 32)}
MARKER: Final = b"\xab\xcd\xefMaxMind.com"
_METADATA_BYTES: Final = 128 * 1024  # the marker is looked for in so much of the end of a file
_SEPARATOR: Final = 16  # zero bytes between tree and records
_IPV4_DEPTH: Final = 96
_POINTER, _TEXT, _MAP, _ARRAY, _BOOLEAN = 1, 2, 7, 11, 14
_UNSIGNED: Final = (5, 6, 9, 10)  # of 16, 32, 64 and 128 bits
_SIZED: Final = frozenset({2, 3, 4, 5, 6, 8, 9, 10, 15})  # kinds whose size is their length in bytes
_LONG_SIZES: Final = (29, 285, 65821)
_LONG_POINTERS: Final = (0, 2048, 526336, 0)


class Leaves(NamedTuple):
    """The networks of one version that have a record.

    Attributes:
        places: Where it is, in the section `Mmdb.records` (i64).
    """

    prefixes: Prefixes
    places: Array


class Mmdb:
    """One opened database.

    Attributes:
        name: For errors.
        kind: What the publisher calls it, such as "GeoLite2-Country".
        version: 6 if the tree is of IPv6 (with IPv4 in it), 4 if it has IPv4 only.
        records: Its data section.
    """

    def __init__(self, data: bytes, name: str) -> None:
        """Read the metadata of `data`.

        Raises InputError if it is not such a database, or is cut short.
        """
        self.name = name
        marker = _find_marker(data)
        if marker < 0:
            raise InputError(f"{name}: found no metadata, expected a whole .mmdb file", hint="download it again")
        metadata = Section(data, marker + len(MARKER), len(data), f"{name}: metadata")
        fields = metadata.fields(metadata.start, _METADATA)
        numbers = {key: metadata.number(fields.get(key)) or 0 for key in _METADATA}
        for key, expected in _EXPECTED.items():
            if numbers[key] not in expected:
                raise InputError(
                    f"{name}: metadata: found {numbers[key]} for {key}, expected {' or '.join(map(str, expected))}"
                )
        self.kind = shorten(metadata.text(fields.get("database_type")) or "")
        self.version = numbers["ip_version"]
        self._nodes = numbers["node_count"]
        tree = self._nodes * numbers["record_size"] // 4
        if not 0 < tree <= marker - _SEPARATOR:
            raise InputError(
                f"{name}: found {self._nodes} nodes in a file of {len(data)} bytes, expected from 1 to as many as fit"
            )
        self.records = Section(data, tree + _SEPARATOR, marker, name)
        self._sides = _sides(np.frombuffer(data, np.uint8, tree).reshape(self._nodes, -1), numbers["record_size"])
        self._met = 0

    def leaves(self) -> dict[int, Leaves]:
        """Return all networks that have a record, by version (4, 6).

        Raises InputError if the search tree is damaged: a loop, a path longer than an address, a record outside of
        the file.
        """
        self._met = 0
        if self.version == 4:
            leaves = {4: self._walk(0, 4), 6: Leaves(Prefixes.of(6, [], []), np.zeros(0, np.int64))}
        else:
            ipv4 = self._ipv4_root()
            leaves = {4: self._walk(ipv4, 4), 6: self._walk(0, 6, passed_over=ipv4)}
        if self._met < self._nodes:  # writers number the nodes that there are
            raise self._damaged(f"only {self._met} of {self._nodes} nodes can be reached from the first")
        return leaves

    def _ipv4_root(self) -> int:
        """Return the node of ::/96. It may be a record or "nothing": then that is so for all of IPv4."""
        node = 0
        for _ in range(_IPV4_DEPTH):
            if node >= self._nodes:
                break
            node = int(self._sides[0][node])
        return node

    def _walk(self, root: int, version: int, passed_over: int = -1) -> Leaves:
        """Return the leaves under the node `root`. Pointers to the node `passed_over` are ignored."""
        nodes = np.array([root], np.uint32)
        high = low = np.zeros(1, np.uint64)
        parts, records = [], []
        for length in range(BITS[version] + 1):
            is_leaf = nodes > self._nodes
            lengths = np.full(np.count_nonzero(is_leaf), length, np.uint8)
            parts.append(Prefixes(high[is_leaf], low[is_leaf], lengths))
            records.append(nodes[is_leaf].astype(np.int64))
            inner = (nodes < self._nodes) & ((nodes != passed_over) | (length == 0))
            nodes, high, low = nodes[inner], high[inner], low[inner]
            if not len(nodes):
                return self._checked(Prefixes.concatenate(parts), np.concatenate(records))
            self._met += len(nodes)
            if self._met > self._nodes:
                raise self._damaged("a node has two parents")
            nodes = np.concatenate([side[nodes] for side in self._sides])
            high, low = _both_ways(high, low, length)
        raise self._damaged(f"found a path of more than {BITS[version]} bits")

    def _checked(self, prefixes: Prefixes, numbers: Array) -> Leaves:
        places = numbers - (self._nodes + _SEPARATOR) + self.records.start
        if len(places) and not self.records.start <= int(places.min()) <= int(places.max()) < self.records.end:
            raise self._damaged("it points to a record outside of the file")
        return Leaves(prefixes, places)

    def _damaged(self, problem: str) -> InputError:
        return InputError(f"{self.name}: the search tree is damaged: {problem}", hint="download it again")


def _both_ways(high: Array, low: Array, length: int) -> tuple[Array, Array]:
    """Return the prefixes of this length one bit longer: first all with a 0, then all with a 1."""
    bit = 1 << 127 >> length
    return (
        np.concatenate([high, high | np.uint64(bit >> 64)]),
        np.concatenate([low, low | np.uint64(bit & 0xFFFFFFFFFFFFFFFF)]),
    )


def _sides(nodes: Array, bits: int) -> tuple[Array, Array]:
    """Return the left and the right number (u32) of every node. nodes: one row of bytes each."""
    if bits == 32:
        both = nodes.view(">u4").astype(np.uint32)
        return both[:, 0], both[:, 1]
    left = _big_endian(nodes[:, 0:3])
    right = _big_endian(nodes[:, -3:])
    if bits == 28:  # the byte in the middle has the top four bits of both: 0x12 for 1 left, 2 right
        middle = nodes[:, 3].astype(np.uint32)
        left |= (middle >> 4) << 24
        right |= (middle & 15) << 24
    return left, right


def _big_endian(columns: Array) -> Array:
    wide = columns.astype(np.uint32)
    return wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]


class Section:
    """Values one after the other, with pointers among them that count from the start of the section.

    A value is a control byte (three bits of kind, five of size), and what it says: 0x42 "US" is a text of two bytes.
    Places are offsets in the file. A method that is given None for a place answers as if nothing were there.
    """

    def __init__(self, data: bytes, start: int, end: int, name: str) -> None:
        self._data = data
        self.start = start
        self.end = end
        self._name = name
        # A value is stepped over once, and read once through a pointer to it: half of this is enough for a sound file.
        self._steps_left = 4 * (end - start) + 64
        self._pointed: dict[tuple[int, tuple[str, ...]], dict[str, int]] = {}

    def fields(self, place: int | None, keys: tuple[str, ...]) -> dict[str, int]:
        """Return the places of those `keys` that the map has; none where the value is no map."""
        if place is None:
            return {}
        kind, target, _ = self._control(place)
        if kind != _POINTER:
            return self._search(place, keys)
        # What many records point at (a country, from each of its networks) is searched once.
        places = self._pointed.get((target, keys))
        if places is None:
            places = self._pointed[target, keys] = self._search(target, keys)
        return places

    def _search(self, place: int, keys: tuple[str, ...]) -> dict[str, int]:
        kind, size, place = self._control(place)
        if kind != _MAP:
            return {}
        wanted = {key.encode(): key for key in keys}
        places = {}
        for _ in range(size):
            key, place = self._key(place)
            if key in wanted:
                places[wanted[key]] = place
            place = self._behind(place)
        return places

    def items(self, place: int | None) -> list[int]:
        """Return the places of the items of an array; none where the value is no array."""
        if place is None:
            return []
        kind, size, place = self._resolved(place)
        places = []
        for _ in range(size if kind == _ARRAY else 0):
            places.append(place)
            place = self._behind(place)
        return places

    def text(self, place: int | None) -> str | None:
        r"""Return a text; None if the value is not one. Bytes that are not UTF-8 are written as \xff."""
        if place is None:
            return None
        kind, size, place = self._resolved(place)
        return self._bytes(place, size).decode("utf-8", errors="backslashreplace") if kind == _TEXT else None

    def number(self, place: int | None) -> int | None:
        """Return a number without sign; None if the value is not one."""
        if place is None:
            return None
        kind, size, place = self._resolved(place)
        return int.from_bytes(self._bytes(place, size), "big") if kind in _UNSIGNED else None

    def _key(self, place: int) -> tuple[bytes, int]:
        """Return the key of a map that is here, and the place behind it."""
        kind, size, after = self._control(place)
        behind = after if kind == _POINTER else after + size
        if kind == _POINTER:
            kind, size, after = self._control(size)
        if kind != _TEXT:
            raise self._damaged("a map has a key that is not text")
        return self._bytes(after, size), behind

    def _behind(self, place: int) -> int:
        """Return the place behind a value, with all that is in it. Pointers are stepped over, not followed."""
        values = 1
        while values:
            kind, size, place = self._control(place)
            values -= 1
            if kind in _SIZED:
                place += size
            elif kind in {_MAP, _ARRAY}:
                values += 2 * size if kind == _MAP else size
            elif kind not in {_POINTER, _BOOLEAN}:
                raise self._damaged(f"found a value of the unknown kind {kind}")
            if place + values > self.end:  # a value has one byte at least
                raise self._damaged("a value reaches past the end")
        return place

    def _resolved(self, place: int) -> tuple[int, int, int]:
        """Return kind, size and content of a value, or of the one that it points at."""
        kind, size, after = self._control(place)
        return self._control(size) if kind == _POINTER else (kind, size, after)

    def _control(self, place: int) -> tuple[int, int, int]:
        """Return the kind of a value, its size (of a pointer: the place it points at), and where its content begins."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise self._damaged("records overlap")
        if not self.start <= place < self.end:
            raise self._damaged("a pointer leads out of the file")
        control = self._data[place]
        kind, size, place = control >> 5, control & 31, place + 1
        if kind == _POINTER:
            width = size >> 3
            low = int.from_bytes(self._bytes(place, width + 1), "big")
            high = (size & 7) << (8 * width + 8) if width < 3 else 0
            return kind, self.start + _LONG_POINTERS[width] + high + low, place + width + 1
        if kind == 0:
            kind = 7 + self._bytes(place, 1)[0]
            place += 1
        if size >= 29:
            width = size - 28
            size = _LONG_SIZES[width - 1] + int.from_bytes(self._bytes(place, width), "big")
            place += width
        return kind, size, place

    def _bytes(self, place: int, size: int) -> bytes:
        if place + size > self.end:
            raise self._damaged("a value reaches past the end")
        return self._data[place : place + size]

    def _damaged(self, problem: str) -> InputError:
        return InputError(f"{self._name}: the data is damaged: {problem}", hint="download it again")


def distinct_records(leaves: dict[int, Leaves]) -> tuple[list[int], dict[int, Array]]:
    """Return the places of all different records, and by version the number of each leaf's record among them."""
    places, numbers = np.unique(np.concatenate([part.places for part in leaves.values()]), return_inverse=True)
    ends = np.cumsum([len(part.places) for part in leaves.values()])
    return places.tolist(), dict(zip(leaves, np.split(numbers, ends[:-1]), strict=True))


def is_mmdb(data: bytes) -> bool:
    """Return whether the data ends in the metadata of such a database."""
    return _find_marker(data) >= 0


def _find_marker(data: bytes) -> int:
    return data.rfind(MARKER, max(0, len(data) - _METADATA_BYTES))
