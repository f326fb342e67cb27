"""Reads header blocks into fields (HPACK, RFC 7541), in one pass, at a cost that is bounded by the bytes of the block.

We offer a dynamic table of no bytes. A peer that has taken the offer sends blocks that mean the same whatever came
before; until then, or where it never says so, its table is kept here: at most 4096 bytes. Of most fields nobody reads
the value: it is neither decoded nor kept, but for its length where it goes into the table.

    82                          :method POST, of the static table (RFC 7541, appendix A)
    04 05 /Echo                 :path /Echo, its name of the static table
    40 04 test 01 x             test: x, and into the dynamic table
    20                          only first in a block: the table has 0 bytes from now on
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from authz.errors import ConnectionFault
from authz.serve.http2.frames import COMPRESSION_ERROR, DEFAULT_HEADER_TABLE_SIZE, ENHANCE_YOUR_CALM

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_HEADER_LIST: Final = 65536  # bytes of all fields of a call, as HPACK counts them; Envoy forwards at most 60 KiB
MAX_FIELDS: Final = 512  # fields of a call that is answered by its message
_MAX_FIELDS_READ: Final = 4096  # of a call that is answered at all: nobody has as many
_MAX_CODED: Final = 4096  # bytes of a Huffman code that is decoded for a call: 3 ms
_MAX_TEXTS: Final = 256  # texts by their Huffman code that are remembered
_MAX_TEXT: Final = 64  # bytes of a Huffman code that is remembered
_FIELD_OVERHEAD: Final = 32  # bytes that HPACK counts for a field besides its name and value
_LONGEST_CODE: Final = 30  # bits of a character
_INDEXED, _REMEMBERED, _SIZE_UPDATE, _SIZE_UPDATE_MASK = 0x80, 0x40, 0x20, 0xE0  # how a field begins: RFC 7541, 6
_FIELDS_A_FRAME: Final = 16  # fields that cost as much as a frame
_CODED_A_FRAME: Final = 64  # bytes of Huffman code that do


class _Entry(NamedTuple):
    """A field of a table.

    Attributes:
        value: B"" if nobody reads it.
        size: As HPACK counts it.
    """

    name: bytes
    value: bytes
    size: int


_STATIC: Final = (
    _Entry(b"", b"", 0),
    *(_Entry(name, value, len(name) + len(value) + _FIELD_OVERHEAD) for name, value in HeaderTable.STATIC_TABLE),
)
STATIC_NAMES: Final = frozenset(entry.name for entry in _STATIC if entry.name)


class Fields(NamedTuple):
    """What a block holds.

    Attributes:
        items: Names and values in their order; a value that nobody reads is b"".
        too_large: There were more or longer fields than we take; items has the first of them.
        cost: What reading it cost, in frames.
    """

    items: list[tuple[bytes, bytes]]
    too_large: bool
    cost: int


class FieldReader:
    """Reads the blocks of one connection, in the order in which they come.

    Args:
        wanted: The names of the fields whose values are read.

    Attributes:
        changes: How often the dynamic table has changed. Between two changes equal blocks have equal fields.
        max_size: Bytes of the dynamic table that the peer may use, as it said last.
    """

    def __init__(self, wanted: Collection[bytes]) -> None:
        self.changes = 0
        self.max_size = DEFAULT_HEADER_TABLE_SIZE
        self._wanted = frozenset(wanted)
        self._offer = DEFAULT_HEADER_TABLE_SIZE  # the largest size that the peer may name
        self._entries: deque[_Entry] = deque()  # the newest first
        self._size = 0
        self._texts: dict[bytes, bytes] = {}
        self._coded = 0  # bytes of Huffman code decoded for the present block
        self._too_large = False

    def offer_taken(self) -> None:
        """Take no larger table from now on: the peer has acknowledged our settings.

        It must then say so first in its next block (RFC 7541, 4.2). Some forget it, and use 4096 bytes: so do we.
        """
        self._offer = 0

    def read(self, block: bytes, *, cut: bool = False) -> Fields:
        """Return the fields of a block. cut: whether its end is missing. Raises ConnectionFault."""
        self._coded, self._too_large = 0, False
        items: list[tuple[bytes, bytes]] = []
        listed = count = 0
        try:
            position, size = self._resize(block), len(block)
            while position < size:
                field, position = self._field(block, position)
                count += 1
                listed += field.size
                if listed > MAX_HEADER_LIST or count > MAX_FIELDS:
                    self._too_large = True
                    if count > _MAX_FIELDS_READ:
                        raise ConnectionFault(ENHANCE_YOUR_CALM, f"more than {_MAX_FIELDS_READ} header fields")
                elif not self._too_large:
                    items.append((field.name, field.value))
        except IndexError as error:
            if not cut:
                raise ConnectionFault(COMPRESSION_ERROR, "a broken header block") from error
        if position > size and not cut:
            raise ConnectionFault(COMPRESSION_ERROR, "an incomplete header block")
        return Fields(items, self._too_large or cut, count // _FIELDS_A_FRAME + self._coded // _CODED_A_FRAME)

    def _field(self, block: bytes, position: int) -> tuple[_Entry, int]:
        """Return the field at a position, and where it ends."""
        first = block[position]
        if first & _INDEXED:
            number, position = _integer(block, position, 0x7F)
            return self._entry(number), position
        remembered = first & _REMEMBERED
        if not remembered and first & _SIZE_UPDATE:
            raise ConnectionFault(COMPRESSION_ERROR, "a table size update after a field")
        number, position = _integer(block, position, 0x3F if remembered else 0x0F)
        if remembered and self.max_size:
            return self._add(block, position, number)
        if number:
            name = self._entry(number).name
        else:
            name, position = self._text(block, position)
        if name in self._wanted:
            value, position = self._text(block, position)
            return _Entry(name, value, len(name) + len(value) + _FIELD_OVERHEAD), position
        length, position = _integer(block, position, 0x7F)
        return _Entry(name, b"", len(name) + length + _FIELD_OVERHEAD), position + length

    def _text(self, block: bytes, position: int) -> tuple[bytes, int]:
        """Return a string, and where it ends; b"" for one that is too long to be decoded."""
        length, begin = _integer(block, position, 0x7F)
        end = begin + length
        coded = block[begin:end]
        if not block[position] & _INDEXED:  # the same bit says: Huffman code
            return coded, end
        text = self._texts.get(coded)
        if text is None:
            if self._coded + length > _MAX_CODED:
                self._too_large = True
                return b"", end
            text = self._decoded(coded)
            if length <= _MAX_TEXT:
                if len(self._texts) >= _MAX_TEXTS:
                    self._texts.clear()
                self._texts[coded] = text
        return text, end

    def _decoded(self, coded: bytes) -> bytes:
        self._coded += len(coded)
        try:
            return decode_huffman(coded)
        except HPACKError as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a broken Huffman code") from error

    # The dynamic table.

    def _entry(self, number: int) -> _Entry:
        """Return the entry with this index. Raises IndexError."""
        if not number:
            raise IndexError
        return _STATIC[number] if number < len(_STATIC) else self._entries[number - len(_STATIC)]

    def _resize(self, block: bytes) -> int:
        """Take the sizes of the table that a block begins with, and return where its fields begin."""
        position = updates = 0
        while position < len(block) and block[position] & _SIZE_UPDATE_MASK == _SIZE_UPDATE:
            updates += 1
            size, position = _integer(block, position, 0x1F)
            if size > self._offer:
                raise ConnectionFault(COMPRESSION_ERROR, "a table size above the limit")
            if updates > 2:  # RFC 7541, 4.2: the smallest size and the last
                raise ConnectionFault(COMPRESSION_ERROR, "more than two table size updates")
            if size != self.max_size:
                self.max_size = size
                self.changes += 1
                self._evict(size)
        return position

    def _add(self, block: bytes, position: int, number: int) -> tuple[_Entry, int]:
        """Read a field, and put it into the table."""
        if number:
            name = self._entry(number).name
        else:
            name, position, _ = self._whole(block, position)
        value, position, length = self._whole(block, position)
        size = len(name) + length + _FIELD_OVERHEAD
        self.changes += 1
        self._evict(self.max_size - size)
        entry = _Entry(name, value if name in self._wanted else b"", size)
        if size <= self.max_size:
            self._entries.appendleft(entry)
            self._size += size
        return entry, position

    def _whole(self, block: bytes, position: int) -> tuple[bytes, int, int]:
        """Return a string that goes into the table, where it ends, and its length, which the table depends on."""
        length, begin = _integer(block, position, 0x7F)
        end = begin + length
        coded = block[begin:end]
        if not block[position] & _INDEXED:
            return coded, end, length
        shortest = length * 8 // _LONGEST_CODE
        if shortest > self.max_size:  # it empties the table, however long it is
            self._too_large = True
            return b"", end, shortest
        text = self._texts.get(coded)
        if text is None:
            text = self._decoded(coded)
        return text, end, len(text)

    def _evict(self, room: int) -> None:
        """Drop the oldest entries until all that are left have at most so many bytes."""
        while self._entries and self._size > room:
            self._size -= self._entries.pop().size


def _integer(block: bytes, position: int, mask: int) -> tuple[int, int]:
    """Return an integer (RFC 7541, 5.1) whose first byte has these bits for it, and where it ends."""
    number = block[position] & mask
    position += 1
    if number < mask:
        return number, position
    for shift in (0, 7, 14):
        byte = block[position]
        position += 1
        number += (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ConnectionFault(COMPRESSION_ERROR, "too large an integer")
