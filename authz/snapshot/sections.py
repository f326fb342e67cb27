"""The sections of a snapshot: their names and element types, shared by builder and reader.

`entries.data` and `entries.offset` are the entries, see `authz.snapshot.lazy_entries`. `singles.*` and `templates.*`
are single addresses, see `authz.snapshot.singles`; a file has all of them or none, but for `singles.marks`, which only
a file with many has: a bit for each /24 of IPv4 and for each /48 of IPv6, whose numbers are taken modulo `IPV6_MARKS`
(number n: bit n & 7 of byte n >> 3). `tombstones` are the ids of bans in its parts that are over; a file may lack it.
The others are the index.

The address space of each version is cut at every boundary of every network. A piece is the addresses from its start to
the next start; it has the number of its match set:

    policy       a: 10.0.0.0/8        b: 10.1.0.0/16
    v4.starts    0.0.0.0   10.0.0.0      10.1.0.0             10.2.0.0      11.0.0.0
    v4.sets      0 = {}    1 = {(a,8)}   2 = {(b,16),(a,8)}   1 = {(a,8)}   0 = {}

`v4.directory` has 2^k + 1 positions (k by the number of pieces, from 4 to 18): position i is how many starts have
their top k bits below i, so a look-up bisects between two of them.

An IPv6 start is two arrays of 64 bits. Of the IPv6 space little is in use, and unevenly, so its directory is in two
steps. A part is the addresses with the same top bits (`part_bits`), and `v6.parts` has those in which a piece begins:
the number of the part, and in the low 8 bits k. It is cut into 2^k slots, as many as pieces begin in it or fewer, and
the slots of all parts follow each other. `v6.slots` has two numbers for each: that of the match set, with all bits
inverted, where all addresses of the slot have the same, else the place of the piece that its first address has; and
the place of that of its last address:

    2001:db8:4000::1    part 0x2001 has k = 12: slot 0x0db of its 4096    7, 9: it is in piece 7, 8 or 9

The second one is inverted where one of the starts behind the slot's first address is not the first of a /64. A large
table has two numbers for each piece in `v6.sets`: where it ends, and that of its match set. It ends before a /48, whose
number has 30 bits: bits 18 to 47 of the next start (of the last piece: 0). There the second number of a slot is
inverted where these 30 bits do not tell: where a start is not the first address of a /48, or k is below 2.

`v4.blocks` and `v4.leaves` are a second way to the same answers, without a bisection; both are empty if it would not
be quicker. A leaf is one /24 or some side by side without a start inside; its element is the number of their match set.
A /24 with a start inside is a leaf by itself: bit 31 is set, and the rest is the place of the first such start. Block
i has the 32 /24 of the addresses whose top 19 bits are i. It is the number of the last leaf that begins in it or before
(32 bits), and a bit for each other /24 of it that begins a leaf: bit 32 for the second, bit 62 for the last. For the
address 10.1.2.3 that is /24 number 2 of block 0x0A01_02 >> 5, and there are as many leaves behind its own as there are
ones in bits 34 to 62.

Set n has the members `members.entry[i]` (number of the entry) and `members.length[i]` (prefix bits), longest first, for
i from `sets.offset[n]` up to `sets.offset[n + 1]`. Set 0 is empty.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from authz.errors import Refusal, SnapshotRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Array = memoryview[int]
    Marks = bytearray | memoryview[int]

TYPE_CODES: Final = {"u8": "B", "u32": "I", "u64": "Q"}
SIZES: Final = {"u8": 1, "u32": 4, "u64": 8}

ENTRY_TYPES: Final[dict[str, str]] = {"entries.offset": "u32", "entries.data": "u8"}
INDEX_TYPES: Final[dict[str, str]] = {
    "v4.starts": "u32",
    "v4.sets": "u32",
    "v4.directory": "u32",
    "v4.blocks": "u64",
    "v4.leaves": "u32",
    "v6.starts_high": "u64",
    "v6.starts_low": "u64",
    "v6.sets": "u32",
    "v6.parts": "u32",
    "v6.slots": "u32",
    "sets.offset": "u32",
    "members.entry": "u32",
    "members.length": "u8",
}
SINGLES_TYPES: Final[dict[str, str]] = {
    "singles.v4": "u32",
    "singles.v4_directory": "u32",
    "singles.v6_high": "u64",
    "singles.v6_low": "u64",
    "singles.v6_directory": "u32",
    "singles.expires": "u32",
    "singles.added": "u32",
    "singles.template": "u32",
    "singles.id": "u64",
    "templates.offset": "u32",
    "templates.data": "u8",
}
TOMBSTONES: Final = "tombstones"  # u64
MARKS: Final = "singles.marks"  # u8
MARKS_SIZE: Final = 1 << 21  # bytes
IPV6_MARKS: Final = (1 << 24) - 3  # the greatest prime that is not above the number of bits
BITS_OF_MARKS: Final = tuple(1 << bit for bit in range(8))  # in a byte; quicker than a shift
MIN_FOR_MARKS: Final = 1 << 16  # rows
MIN_DIRECTORY_BITS: Final = 4
MAX_DIRECTORY_BITS: Final = 18  # 1 MiB. A finer one finds no faster: it is more often not in the caches
FEW_PIECES: Final = 1 << 12  # with more, the parts of the IPv6 space are narrower
PART_BITS: Final = 16  # of the number of a part, with more pieces than those
IPV6_ENDS: Final = (1 << 30) - 1  # of the number of a /48, what is kept of the end of a piece
MIN_BITS_FOR_ENDS: Final = 2  # k: all addresses of a slot have the same first 18 bits
MAX_SLOTS: Final = 1 << 18  # of all parts together, for each of which there is one at least: 2 MiB
BLOCKS: Final = 1 << 19  # of v4.blocks
CUT: Final = 1 << 31  # in a leaf: its /24 has a start inside


def directory_bits(directory: Array, name: str) -> int:
    """Return k of a directory of 2^k + 1 positions.

    Args:
        directory: The section.
        name: Its name, for the error.

    Raises:
        SnapshotRefused: `bad_section`: it has another number of positions.
    """
    bits = (len(directory) - 1).bit_length() - 1
    if not MIN_DIRECTORY_BITS <= bits <= MAX_DIRECTORY_BITS or len(directory) != (1 << bits) + 1:
        expected = f"2^k + 1 with k from {MIN_DIRECTORY_BITS} to {MAX_DIRECTORY_BITS}"
        raise bad_section(f"{name}: found {len(directory)} positions, expected {expected}")
    return bits


def bits_for(pieces: int) -> int:
    """Return k for the directory of a table with so many pieces: at most 33 of them for 32 positions.

    A table that has just passed a power of two would double its directory for next to nothing.
    """
    return min(max((pieces * 32 // 33 - 1).bit_length(), MIN_DIRECTORY_BITS), MAX_DIRECTORY_BITS)


def part_bits(pieces: int) -> int:
    """Return how many bits the number of a part of the IPv6 space has, by how many pieces there are."""
    return PART_BITS if pieces > FEW_PIECES else 8


def packed(parts: Iterable[bytes], prefix: str = "entries") -> dict[str, tuple[str, bytes]]:
    """Return two sections for some serialized messages: by name, the element type and the bytes."""
    offsets, contents, end = array("I", [0]), list(parts), 0
    for part in contents:
        end += len(part)
        offsets.append(end)
    return {f"{prefix}.offset": ("u32", offsets.tobytes()), f"{prefix}.data": ("u8", b"".join(contents))}


def bad_section(message: str) -> SnapshotRefused:
    """Return the refusal of a section that cannot be; the message names it and says why."""
    return SnapshotRefused(Refusal.BAD_SECTION, message)


def array_of(sections: Mapping[str, memoryview], name: str, kind: str) -> Array:
    """Return a section as an array, in place.

    Args:
        sections: The bytes of all sections, by name.
        name: Of the section.
        kind: Its element type.

    Raises:
        SnapshotRefused: `bad_section`: it is missing, or its bytes are not a whole number of elements.
    """
    if name not in sections:
        raise bad_section(f"{name}: missing")
    data = sections[name]
    if len(data) % SIZES[kind]:
        raise bad_section(f"{name}: found {len(data)} bytes, expected a multiple of {SIZES[kind]}")
    return data.cast(TYPE_CODES[kind])  # type: ignore[call-overload,no-any-return]  # the code is a plain str
