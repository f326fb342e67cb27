"""Header blocks of HTTP/2: which call a request is. HPACK itself is the library hpack's.

A proxy sends the same headers with every call, and HPACK makes the same few bytes of them from the second call on. A
block that left the table of the connection as it was means the same for as long as nobody changes the table, so what it
meant is remembered by its bytes: a dictionary instead of a decoder for all calls but the first two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError

from authz.serve.http2_frames import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    PROTOCOL_ERROR,
    ConnectionFault,
    StreamFault,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_HEADER_LIST: Final = 16384  # bytes of all header fields of a call, as HPACK counts them
_MOST_KNOWN: Final = 32  # blocks that are remembered
_SIZE_UPDATE: Final = 0x20  # how a block begins that changes the size of the table (RFC 7541, 6.3)
_SIZE_UPDATE_MASK: Final = 0xE0
_NEEDED: Final = frozenset({b":method", b":scheme", b":path"})
_PSEUDO: Final = _NEEDED | {b":authority"}
_OF_A_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)


class Head(NamedTuple):
    """What of a request's header fields counts. length: its content-length; None where there is none."""

    method: bytes
    path: bytes
    content_type: bytes
    length: int | None

    @property
    def grpc(self) -> bool:
        """Whether it is a call of gRPC."""
        return self.method == b"POST" and self.content_type.startswith(b"application/grpc")


H = TypeVar("H")


class HeaderBlocks(Generic[H]):
    """Reads the header blocks of one connection, in the order in which they come.

    use: what is made of a head, once. known: what was made of blocks, by their bytes.
    """

    def __init__(self, use: Callable[[Head], H]) -> None:
        self.known: dict[bytes, H] = {}
        self._use = use
        self._decoder = Decoder(MAX_HEADER_LIST)
        self._newest: object = None  # the newest entry of the table, and how many there are: as they were last seen
        self._count = 0

    def read(self, block: bytes) -> H:
        """Return what is made of the head of a request.

        Raises ConnectionFault where the block is broken, and StreamFault where its fields are no request's.
        """
        fields = self._fields(block)
        changed = self._changed()
        if changed:
            self.known.clear()
        made = self._use(head_of(fields))
        if not changed and block[0] & _SIZE_UPDATE_MASK != _SIZE_UPDATE:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[block] = made
        return made

    def skip(self, block: bytes) -> None:
        """Read a block whose fields do not matter, for the sake of the table. Raises ConnectionFault."""
        self._fields(block)
        if self._changed():
            self.known.clear()

    def _fields(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise ConnectionFault(ENHANCE_YOUR_CALM, f"more than {MAX_HEADER_LIST} bytes of headers") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a broken header block") from error

    def _changed(self) -> bool:
        """Return whether the table has changed since the last call: a new entry always comes first."""
        entries = self._decoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        changed = newest is not self._newest or len(entries) != self._count
        self._newest, self._count = newest, len(entries)
        return changed


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
        if name != name.lower() or not name or name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
            raise StreamFault(PROTOCOL_ERROR, "a header that HTTP/2 does not have")
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
