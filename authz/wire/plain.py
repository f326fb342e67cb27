"""The encoding of protobuf, by hand: some fields of some messages, for a command that has to be quick.

A ban has to hold soon, and loading protobuf takes longer than all the rest of `authz ban`. Where nobody waits, use the
generated code; property tests compare the two. A field is its number and its value, one after the other
(https://protobuf.dev/programming-guides/encoding):

    field(2, 300)    10 ac 02           number 2 as a varint, 300
    field(1, "ok")   0a 02 6f 6b        number 1 of 2 bytes, "ok"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.errors import BadValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Value = int | str | bytes

_VARINT, _BYTES = 0, 2  # wire types
_FIXED: Final = {1: 8, 5: 4}  # the others that there are, and their bytes
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_MAX_VARINT: Final = 10  # bytes


def field(number: int, value: Value | None) -> bytes:
    """Return a field; nothing for a value of None. A negative number is a two's complement of 64 bits."""
    if value is None:
        return b""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value & _MASK)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data


def plain(number: int, value: Value) -> bytes:
    """Return a field without presence: nothing for 0, false and what is empty."""
    return field(number, value) if value else b""


def repeated(number: int, values: Iterable[Value]) -> bytes:
    """Return a field that stands once for each value."""
    return b"".join([field(number, value) for value in values])


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field, in the order of the bytes.

    Args:
        message: A serialized message.

    Raises:
        BadValue: The bytes are not a message.
    """
    place = 0
    while place < len(message):
        key, place = _read_varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _read_varint(message, place)
            yield number, value
            continue
        size = _FIXED.get(kind, 0)
        if kind == _BYTES:
            size, place = _read_varint(message, place)
        if (not size and kind != _BYTES) or not number or place + size > len(message):
            raise BadValue(f"byte {place}", "a message of protobuf")
        yield number, message[place : place + size]
        place += size


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    value = 0
    for count, byte in enumerate(data[place : place + _MAX_VARINT]):
        value |= (byte & 0x7F) << 7 * count
        if byte < 0x80:
            return value & _MASK, place + count + 1
    raise BadValue(f"byte {place}", "a message of protobuf")
