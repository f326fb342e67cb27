"""A tiny writer of MaxMind-format databases: sound ones from networks and records, and damaged ones from raw parts."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MARKER = b"\xab\xcd\xefMaxMind.com"
_KINDS = {"text": 2, "u16": 5, "u32": 6, "map": 7, "u64": 9, "array": 11, "boolean": 14}
Link = int | bytes | None  # a node, an encoded place of a record, or nothing


def write_mmdb(
    records: Mapping[str, Any],
    *,
    ip_version: int = 6,
    record_size: int = 24,
    kind: str = "Test-Country",
    aliases: Sequence[str] = (),
) -> bytes:
    """Return a database that has these records for these networks; of nested networks the longer one has its own.

    Maps inside of records are written once and pointed at, as MaxMind does. aliases: networks of 96 bits or fewer that
    point at the IPv4 tree.
    """
    data = _Data()
    tree = _Tree()
    for text in sorted(records, key=lambda text: ipaddress.ip_network(text).prefixlen):
        tree.insert(_bits(text, ip_version), data.add(records[text]))
    for text in aliases:
        tree.insert(_bits(text, ip_version), tree.node_at([0] * 96))
    return raw_mmdb(tree.links(), bytes(data.content), ip_version=ip_version, record_size=record_size, kind=kind)


def raw_mmdb(
    nodes: Sequence[tuple[int, int]],
    data: bytes,
    *,
    ip_version: int = 6,
    record_size: int = 24,
    kind: str = "Test-Country",
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a file of these parts, sound or not. metadata: instead of, or besides, what the parts say."""
    described = {
        "binary_format_major_version": number(2, "u16"),
        "binary_format_minor_version": number(0, "u16"),
        "build_epoch": number(1_800_000_000, "u64"),
        "database_type": kind,
        "description": {"en": "made by a test"},
        "ip_version": number(ip_version, "u16"),
        "languages": ["en"],
        "node_count": number(len(nodes), "u32"),
        "record_size": number(record_size, "u16"),
    }
    tree = b"".join(_packed(left, right, record_size) for left, right in nodes)
    return tree + bytes(16) + data + MARKER + encode({**described, **(metadata or {})})


def encode(value: Any) -> bytes:
    """Return a value as it stands in a data section, without pointers."""
    if isinstance(value, bytes):  # encoded already
        return value
    if isinstance(value, str):
        return _control("text", len(value.encode())) + value.encode()
    if isinstance(value, bool):
        return _control("boolean", int(value))
    if isinstance(value, int):
        return number(value, "u32" if value < 2**32 else "u64")
    if isinstance(value, dict):
        return _control("map", len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    return _control("array", len(value)) + b"".join(map(encode, value))


def number(value: int, kind: str) -> bytes:
    """Return a number of the kind `u16`, `u32` or `u64`, in as few bytes as it needs."""
    size = (value.bit_length() + 7) // 8
    return _control(kind, size) + value.to_bytes(size, "big")


def pointer(offset: int) -> bytes:
    """Return a pointer to an offset of the data section, in its four-byte form."""
    return b"\x38" + offset.to_bytes(4, "big")


def _control(kind: str, size: int) -> bytes:
    code = _KINDS[kind]
    long = b""
    if size >= 29:
        base, width = next((b, w) for b, w in ((65821, 3), (285, 2), (29, 1)) if size >= b)
        size, long = 28 + width, (size - base).to_bytes(width, "big")
    first = bytes([code << 5 | size]) if code <= 7 else bytes([size, code - 7])
    return first + long


def _packed(left: int, right: int, record_size: int) -> bytes:
    if record_size == 28:
        middle = (left >> 24) << 4 | right >> 24
        return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
    width = record_size // 8
    return left.to_bytes(width, "big") + right.to_bytes(width, "big")


def _bits(text: str, ip_version: int) -> list[int]:
    network = ipaddress.ip_network(text)
    bits = [int(bit) for bit in f"{int(network.network_address):0{network.max_prefixlen}b}"][: network.prefixlen]
    return [0] * 96 + bits if (network.version, ip_version) == (4, 6) else bits


class _Data:
    def __init__(self) -> None:
        self.content = bytearray()
        self._places: dict[bytes, int] = {}

    def add(self, value: Any) -> bytes:
        """Write a record, and before it the maps in it, and return its place."""
        if isinstance(value, dict):
            value = {key: self._inner(item) for key, item in value.items()}
        encoded = encode(value)
        if encoded not in self._places:
            self._places[encoded] = len(self.content)
            self.content += encoded
        return self._places[encoded].to_bytes(4, "big")

    def _inner(self, value: Any) -> Any:
        if isinstance(value, dict):
            return pointer(int.from_bytes(self.add(value), "big"))
        return [self._inner(item) for item in value] if isinstance(value, list) else value


class _Tree:
    def __init__(self) -> None:
        self._nodes: list[list[Link]] = [[None, None]]

    def insert(self, bits: Sequence[int], link: Link) -> None:
        *way, last = bits
        self._nodes[self.node_at(way)][last] = link

    def node_at(self, bits: Iterable[int]) -> int:
        """Return the node under these bits; where a record covers them, both halves of the new nodes have it."""
        node = 0
        for bit in bits:
            link = self._nodes[node][bit]
            if not isinstance(link, int):
                self._nodes.append([link, link])
                link = self._nodes[node][bit] = len(self._nodes) - 1
            node = link
        return node

    def links(self) -> list[tuple[int, int]]:
        return [(self._number(left), self._number(right)) for left, right in self._nodes]

    def _number(self, link: Link) -> int:
        if isinstance(link, bytes):
            return len(self._nodes) + 16 + int.from_bytes(link, "big")
        return len(self._nodes) if link is None else link
