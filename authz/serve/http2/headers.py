"""What the header blocks of a connection mean: which call a request is.

A proxy sends the same headers with every call: what they meant is remembered by their bytes, and a dictionary stands
for a decoder. Headers that differ each time (tracing) are read field by field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from authz.errors import StreamFault
from authz.serve.http2.fields import STATIC_NAMES, FieldReader
from authz.serve.http2.frames import PROTOCOL_ERROR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MAX_KNOWN: Final = 32  # blocks that are remembered
_MAX_BLOCK: Final = 1024  # bytes of a block that is remembered
_NAME_BYTES: Final = bytes(c for c in range(0x21, 0x7F) if not chr(c).isupper() and c != 0x3A)  # RFC 9113, 8.2.1
_WANTED: Final = frozenset(
    {b":method", b":scheme", b":path", b"content-type", b"content-length", b"te", b"grpc-timeout"}
)
_NEEDED: Final = frozenset({b":method", b":scheme", b":path"})
_PSEUDO: Final = _NEEDED | {b":authority"}
_OF_A_CONNECTION: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}
)
_USUAL: Final = frozenset(name for name in STATIC_NAMES if name[:1] != b":") - _OF_A_CONNECTION
_GRPC: Final = b"application/grpc"
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TABLE_SIZES: Final = frozenset(bytes([first]) for first in range(0x21, 0x40))  # not 0
_SIZE_UPDATE, _SIZE_UPDATE_MASK = 0x20, 0xE0  # how a block begins that changes the size of the table


class CallHead(NamedTuple):
    """What of a request's header fields counts.

    Attributes:
        length: Its content-length; None if there is none.
        timeout: Seconds after which nobody waits for the answer; None: not said.
        too_large: There were more fields than we take.
    """

    method: bytes
    path: bytes
    content_type: bytes
    length: int | None
    timeout: float | None = None
    too_large: bool = False

    @property
    def grpc(self) -> bool:
        """Whether it is a call of gRPC."""
        kind = self.content_type
        return self.method == b"POST" and (kind == _GRPC or kind.startswith((_GRPC + b"+", _GRPC + b";")))


H = TypeVar("H")


class HeaderBlocks(Generic[H]):
    """Reads the header blocks of one connection, in the order in which they come.

    Args:
        use: What is made of a head, once.

    Attributes:
        known: What was made of blocks, by their bytes. It is cleared whenever equal blocks may have another meaning.
        cost: What the last block cost to read, in frames.
    """

    def __init__(self, use: Callable[[CallHead], H]) -> None:
        self.known: dict[bytes, H] = {}
        self.cost = 0
        self._use = use
        self._reader = FieldReader(_WANTED)
        self.offer_taken = self._reader.offer_taken

    def read(self, block: bytes, *, cut: bool = False) -> H:
        """Return what is made of the head of a request.

        Args:
            block: The header block.
            cut: Whether this is only its beginning, the rest being too large.

        Raises:
            ConnectionFault: The block is broken.
            StreamFault: Its fields are not those of a request.
        """
        items, too_large, changed = self._fields(block, cut=cut)
        made = self._use(head_of(items, too_large=too_large))
        if not (changed or too_large) and block[0] & _SIZE_UPDATE_MASK != _SIZE_UPDATE and len(block) <= _MAX_BLOCK:
            if len(self.known) >= _MAX_KNOWN:
                self.known.clear()
            self.known[block] = made
        return made

    def read_trailers(self, block: bytes) -> None:
        """Read a block whose values do not matter. Raises ConnectionFault, and StreamFault where it is no trailers."""
        items, _, _ = self._fields(block)
        if not all(_is_name(name) for name, _ in items):
            raise StreamFault(PROTOCOL_ERROR, "trailers that HTTP/2 does not have")

    def skip(self, block: bytes) -> None:
        """Read a block for the sake of the table alone. Raises ConnectionFault."""
        self._fields(block)

    def may_be_cut(self, beginning: bytes) -> bool:
        """Return whether a block that begins so can change no table, but for its size: its end need not be read."""
        no_table = self._reader.max_size == 0 or beginning[:1] == b"\x20"  # here the peer says so
        return no_table and beginning[1:2] not in _TABLE_SIZES

    def _fields(self, block: bytes, *, cut: bool = False) -> tuple[list[tuple[bytes, bytes]], bool, bool]:
        """Return the fields of a block, whether they are too large, and whether the block changed the table."""
        before = self._reader.changes
        items, too_large, self.cost = self._reader.read(block, cut=cut)
        changed = self._reader.changes != before
        if changed:
            self.known.clear()
        return items, too_large, changed


def head_of(fields: Iterable[tuple[bytes, bytes]], *, too_large: bool = False) -> CallHead:
    """Return the head that these fields make. Raises StreamFault if they break RFC 9113, 8.2 and 8.3."""
    pseudo: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    for name, value in fields:
        if name.startswith(b":"):
            if plain or name in pseudo or name not in _PSEUDO:
                raise StreamFault(PROTOCOL_ERROR, "a repeated, unknown or misplaced pseudo-header")
            pseudo[name] = value
            continue
        if name not in _USUAL and not _is_name(name):
            raise StreamFault(PROTOCOL_ERROR, "a header that HTTP/2 does not have")
        if (name == b"te" and value != b"trailers") or (name == b"content-length" and plain.get(name, value) != value):
            raise StreamFault(PROTOCOL_ERROR, "an invalid header")
        plain[name] = value
    if not pseudo.keys() >= _NEEDED or not pseudo[b":path"]:
        raise StreamFault(PROTOCOL_ERROR, "no method, scheme or path")
    length = plain.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 20):
        raise StreamFault(PROTOCOL_ERROR, "a content-length that is not a number")
    return CallHead(
        pseudo[b":method"],
        pseudo[b":path"],
        plain.get(b"content-type", b""),
        None if length is None else int(length),
        _timeout(plain.get(b"grpc-timeout")),
        too_large,
    )


def _timeout(value: bytes | None) -> float | None:
    """Return the seconds of a grpc-timeout; None if it is absent or is not one."""
    match = None if value is None else _TIMEOUT.fullmatch(value)
    return None if match is None else int(match[1]) * _SECONDS[match[2]]


def _is_name(name: bytes) -> bool:
    """Return whether this is the name of a field that HTTP/2 has; that of a pseudo-header is not."""
    return bool(name) and not name.translate(None, _NAME_BYTES) and name not in _OF_A_CONNECTION
