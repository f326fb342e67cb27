"""A manifest taken apart: what there is little of as a message, the entries as bytes, each parsed when it is asked for.

100,000 entries as messages or objects would be ten times their bytes, and parsing them in one call would hold the
interpreter, and every request, for as long. So only the outermost fields are walked over here:

    32 0b 0a 03 "bad" 12 04 "deny"      field 6 (entries), wire type 2 (bytes): 11 bytes, a message Entry
    10 07                               field 2 (serial), wire type 0 (varint): 7; joined with others of its kind

See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final, overload

from google.protobuf.message import DecodeError

from authz.wire.snapshot.v1.snapshot_pb2 import Entry, Manifest

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types; groups are nothing that we ever wrote
_ENTRY: Final = Manifest.ENTRIES_FIELD_NUMBER << 3 | _BYTES
_MAX_VARINT: Final = 10  # bytes of a varint


class PackedEntries(Sequence[Entry]):
    """The entries of a payload. Reading one raises DecodeError where its bytes are no Entry."""

    def __init__(self, payload: bytes, starts: array[int], ends: array[int]) -> None:
        self._payload = payload
        self._starts = starts
        self._ends = ends

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Entry]: ...

    def __getitem__(self, number: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        return Entry.FromString(self._payload[self._starts[number] : self._ends[number]])


def unpack(payload: bytes) -> tuple[Manifest, PackedEntries]:
    """Return a serialized Manifest as a message without entries, and its entries.

    Raises DecodeError where it is none; what is inside of an entry is not looked at.
    """
    starts, ends, rest = array("I"), array("I"), bytearray()
    position, size = 0, len(payload)
    try:
        while position < size:
            begin = position
            tag, position = _varint(payload, begin)
            kind = tag & 7
            if kind == _BYTES:
                length, position = _varint(payload, position)
                position += length
            elif kind == _VARINT:
                _, position = _varint(payload, position)
            elif kind in {_FIXED32, _FIXED64}:
                position += 4 if kind == _FIXED32 else 8
            else:
                raise DecodeError("a group, or no wire type")
            if tag == _ENTRY and position <= size:
                starts.append(position - length)
                ends.append(position)
            else:
                rest += payload[begin:position]
    except IndexError as error:
        raise DecodeError("a field is cut off") from error
    if position > size:
        raise DecodeError("a field is cut off")
    return Manifest.FromString(bytes(rest)), PackedEntries(payload, starts, ends)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number that begins at `position`, and where it ends."""
    value = data[position]
    if value < 0x80:
        return value, position + 1
    value &= 0x7F
    for shift in range(7, 7 * _MAX_VARINT, 7):
        position += 1
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
    raise DecodeError("a varint has no end")
