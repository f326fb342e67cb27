"""Header blocks of HTTP/2: which call a request is.

We offer a dynamic table of no bytes, so that a block means the same whatever came before it. A proxy sends the same
headers with every call: what they meant is remembered by their bytes, and a dictionary stands for a decoder. Headers
that differ each time (tracing) are read field by field, and of most fields nothing but the length.

Until a peer has taken our offer it may use a table of 4096 bytes. Such blocks are the library hpack's, and remembered
for as long as nobody changes the table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from authz.errors import ConnectionFault, StreamFault
from authz.serve.http2.frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_HEADER_LIST: Final = 16384  # bytes of all header fields of a call, as HPACK counts them
_MAX_KNOWN: Final = 32  # blocks that are remembered
_MAX_TEXTS: Final = 256  # texts by their Huffman code that are remembered
_MAX_BLOCK: Final = 1024  # bytes of a block that is remembered
_MAX_TEXT: Final = 64  # bytes of a Huffman code that is remembered
_MAX_FIELDS: Final = MAX_HEADER_LIST // 32  # HPACK counts 32 bytes for a field besides its name and value
_STATIC: Final = ((b"", b""), *HeaderTable.STATIC_TABLE)  # RFC 7541, appendix A, from 1 on
_INDEXED, _REMEMBERED, _SIZE_UPDATE = 0x80, 0x40, 0x20  # how a field begins: RFC 7541, 6
_SIZE_UPDATE_MASK: Final = 0xE0
_THREE_UPDATES: Final = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")
_OF_NAMES: Final = bytes(c for c in range(0x21, 0x7F) if not chr(c).isupper() and c != 0x3A)  # RFC 9113, 8.2.1
_READ: Final = frozenset({b":method", b":scheme", b":path", b"content-type", b"content-length", b"te"})
_NEEDED: Final = frozenset({b":method", b":scheme", b":path"})
_PSEUDO: Final = _NEEDED | {b":authority"}
_OF_A_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)

_USUAL: Final = frozenset(name for name, _ in _STATIC if name and name[:1] != b":") - _OF_A_CONNECTION


class Head(NamedTuple):
    """What of a request's header fields counts. length: its content-length; None where there is none."""

    method: bytes
    path: bytes
    content_type: bytes
    length: int | None

    @property
    def grpc(self) -> bool:
        """Whether it is a call of gRPC."""
        kind = self.content_type
        return self.method == b"POST" and (kind == _GRPC or kind.startswith((_GRPC + b"+", _GRPC + b";")))


_GRPC: Final = b"application/grpc"
H = TypeVar("H")


class HeaderBlocks(Generic[H]):
    """Reads the header blocks of one connection, in the order in which they come.

    use: what is made of a head, once. known: what was made of blocks, by their bytes.
    """

    def __init__(self, use: Callable[[Head], H]) -> None:
        self.known: dict[bytes, H] = {}
        self._use = use
        self._decoder = Decoder(MAX_HEADER_LIST)
        # The newest entry of the table, how many there are and how large it may be: as they were last seen.
        self._seen: tuple[object, int, int] = (None, 0, self._decoder.header_table.maxsize)
        self._texts: dict[bytes, bytes] = {}
        self._offer_taken = False

    def offer_taken(self) -> None:
        """Take no larger table from now on: the peer has acknowledged our settings.

        That it says so at the beginning of its next block (RFC 7541, 4.2) is not asked for: some forget it.
        """
        self._offer_taken = True

    def read(self, block: bytes) -> H:
        """Return what is made of the head of a request.

        Raises ConnectionFault where the block is broken, and StreamFault where its fields are no request's.
        """
        fields, changed = self._fields(block)
        made = self._use(head_of(fields))
        if not changed and block[0] & _SIZE_UPDATE_MASK != _SIZE_UPDATE and len(block) <= _MAX_BLOCK:
            if len(self.known) >= _MAX_KNOWN:
                self.known.clear()
            self.known[block] = made
        return made

    def read_trailers(self, block: bytes) -> None:
        """Read a block whose values do not matter. Raises ConnectionFault, and StreamFault where it is no trailers."""
        fields, _ = self._fields(block)
        if not all(_is_name(name) for name, _ in fields):
            raise StreamFault(PROTOCOL_ERROR, "trailers that HTTP/2 does not have")

    def skip(self, block: bytes) -> None:
        """Read a block for the sake of the table alone. Raises ConnectionFault."""
        self._fields(block)

    def _fields(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return the fields of a block, and whether it changed the table. Raises ConnectionFault."""
        resized = block[:1] >= b"\x20" and block[0] & _SIZE_UPDATE_MASK == _SIZE_UPDATE
        if resized and _THREE_UPDATES.match(block):  # RFC 7541, 4.2: the smallest size and the last
            raise ConnectionFault(COMPRESSION_ERROR, "a table of more than two sizes")
        if self._decoder.header_table.maxsize == 0 and (self._offer_taken or not resized):
            return self._plain_fields(block), False
        fields, changed = self._decoded(block), self._changed()
        if changed:
            self.known.clear()
        return fields, changed

    def _decoded(self, block: bytes) -> list[tuple[bytes, bytes]]:
        if self._offer_taken and block and block[0] & _SIZE_UPDATE_MASK == _SIZE_UPDATE and block[0] != _SIZE_UPDATE:
            raise ConnectionFault(COMPRESSION_ERROR, "a table that is larger than we offered")
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"more than {MAX_HEADER_LIST} bytes of headers") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a broken header block") from error

    def _plain_fields(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Read a block that can refer to no table but the static one. Values that nobody reads are left out."""
        fields: list[tuple[bytes, bytes]] = []
        position, size = 0, len(block)
        try:
            while position < size and len(fields) <= _MAX_FIELDS:
                first = block[position]
                if first & _INDEXED:
                    number, position = _integer(block, position, 0x7F)
                    fields.append(_STATIC[number or len(_STATIC)])
                    continue
                if first & _SIZE_UPDATE_MASK == _SIZE_UPDATE:
                    number, position = _integer(block, position, 0x1F)
                    if number or fields:
                        raise ConnectionFault(COMPRESSION_ERROR, "a table that is larger than we offered")
                    continue
                number, position = _integer(block, position, 0x3F if first & _REMEMBERED else 0x0F)
                if number:
                    name = _STATIC[number][0]
                else:
                    name, position = self._text(block, position)
                if name in _READ:
                    value, position = self._text(block, position)
                else:
                    length, position = _integer(block, position, 0x7F)
                    value, position = b"", position + length
                fields.append((name, value))
        except IndexError as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a broken header block") from error
        if len(fields) > _MAX_FIELDS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"more than {MAX_HEADER_LIST} bytes of headers")
        if position > size:
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that is cut")
        return fields

    def _text(self, block: bytes, position: int) -> tuple[bytes, int]:
        """Return a string of a block, and where it ends."""
        length, begin = _integer(block, position, 0x7F)
        coded = block[begin : begin + length]
        if not block[position] & _INDEXED:  # the same bit says: Huffman code
            return coded, begin + length
        text = self._texts.get(coded)
        if text is None:
            try:
                text = decode_huffman(coded)
            except HPACKError as error:
                raise ConnectionFault(COMPRESSION_ERROR, "a broken Huffman code") from error
            if len(coded) <= _MAX_TEXT:
                if len(self._texts) >= _MAX_TEXTS:
                    self._texts.clear()
                self._texts[coded] = text
        return text, begin + length

    def _changed(self) -> bool:
        """Return whether the table has changed since the last call: a new entry always comes first.

        Its size counts too: a block whose new entry finds no room leaves an empty table as it was, a larger one not.
        """
        table = self._decoder.header_table
        entries = table.dynamic_entries
        before = self._seen
        self._seen = now = (entries[0] if entries else None, len(entries), table.maxsize)
        return now[0] is not before[0] or now[1:] != before[1:]


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
    raise ConnectionFault(COMPRESSION_ERROR, "an integer that is too large")


def head_of(fields: Iterable[tuple[bytes, bytes]]) -> Head:
    """Return the head that these fields make. Raises StreamFault where they break RFC 9113, 8.2 and 8.3."""
    pseudo: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    for name, value in fields:
        if name.startswith(b":"):
            if plain or name in pseudo or name not in _PSEUDO:
                raise StreamFault(PROTOCOL_ERROR, "a pseudo-header twice, unknown, or behind others")
            pseudo[name] = value
            continue
        if name not in _USUAL and not _is_name(name):
            raise StreamFault(PROTOCOL_ERROR, "a header that HTTP/2 does not have")
        if (name == b"te" and value != b"trailers") or (name == b"content-length" and plain.get(name, value) != value):
            raise StreamFault(PROTOCOL_ERROR, "a header that cannot be")
        plain[name] = value
    if not pseudo.keys() >= _NEEDED or not pseudo[b":path"]:
        raise StreamFault(PROTOCOL_ERROR, "no method, scheme or path")
    length = plain.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 20):
        raise StreamFault(PROTOCOL_ERROR, "a content-length that is no number")
    return Head(
        pseudo[b":method"],
        pseudo[b":path"],
        plain.get(b"content-type", b""),
        None if length is None else int(length),
    )


def _is_name(name: bytes) -> bool:
    """Return whether this is the name of a field that HTTP/2 has; that of a pseudo-header is not."""
    return bool(name) and not name.translate(None, _OF_NAMES) and name not in _OF_A_CONNECTION
