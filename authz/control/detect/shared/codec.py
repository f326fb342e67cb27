"""Events as bytes: msgpack, a row an event, in the order of Event's fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from authz.addresses import parse_address
from authz.control.detect.event import Event

if TYPE_CHECKING:
    from collections.abc import Iterable


class _Row(NamedTuple):
    time: float
    client: str
    application: str
    method: str
    host: str
    path: str
    status: int
    attacks: tuple[str, ...]
    payload: str
    decision: str
    entry: str
    request_id: str
    warnings: tuple[str, ...]
    reason: str = ""  # a process of an older version, which shares the streams for a while, writes none


_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODER: Final = msgspec.msgpack.Decoder(list[_Row])


def pack(events: Iterable[Event]) -> bytes:
    """Return events as bytes. A lone surrogate, which no UTF-8 has, becomes a question mark."""
    rows = [(event.time, event.client.text, *event[2:]) for event in events]
    try:
        return _ENCODE(rows)
    except UnicodeEncodeError:
        return _ENCODE([[_plain(value) for value in row] for row in rows])


def unpack(content: bytes) -> list[Event]:
    """Return the events of `pack`. Raises msgspec.DecodeError and AddressError for other bytes."""
    return [Event(row.time, parse_address(row.client), *row[2:]) for row in _DECODER.decode(content)]


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value
