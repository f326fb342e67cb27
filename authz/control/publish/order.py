"""What goes over the signer's socket: u32 length (big-endian), then msgpack.

control plane -> signer    Order         the changes of a layer since `base`, or all of its entries
                           Attest        where the chain stands, which it has signed last
signer -> control plane    Signed        the file, and the parts that it requires
                           NeedsAll      it does not stand at `base`: send the newest signed files, or all entries, with
                                         the changes since
                           Refused       it breaks a limit, the chain or the serial
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

import msgspec

from authz.control.model.records import Change

if TYPE_CHECKING:
    import socket

MAX_MESSAGE: Final = 1 << 30  # bytes
_LENGTH: Final = struct.Struct(">I")


class SignedFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files that the signer signed before, to go on from.

    Attributes:
        chain: Of the layer's changes up to the head's serial.
    """

    head: bytes
    parts: list[bytes]
    chain: str


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A layer is to be signed.

    Attributes:
        serial: Of the new file, and the sequence of the last change.
        chain: Hash up to it.
        base: The sequence that `changes` continue from.
        entries, documents: JSON; None: what the signer has, with `changes`.
        files: What `changes` continue, where the signer has nothing.
    """

    layer: str
    serial: int
    chain: str
    base: int
    changes: list[Change]
    entries: list[str] | None = None
    documents: dict[str, str] | None = None
    files: SignedFiles | None = None


class Attest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Where the chain stands is to be signed, for a checkpoint.

    Attributes:
        time: Microseconds, of the newest change.
    """

    layer: str
    sequence: int
    time: int
    chain: str


class PartFile(msgspec.Struct, frozen=True):
    """A part that the file requires.

    Attributes:
        digest: Of its manifest.
        content: None: it was sent with a file before.
    """

    serial: int
    digest: str
    content: bytes | None


class Signed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The signed file.

    Attributes:
        entries: How many are in it and its parts.
        warnings: For people.
    """

    content: bytes
    entries: int
    parts: list[PartFile] = []
    warnings: list[str] = []


class Attested(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The signed checkpoint: a DSSE envelope as JSON."""

    envelope: str


class NeedsAll(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The signer stands elsewhere than at `base`.

    Attributes:
        signed: The serial that it signed last; 0: none.
        whole: It takes all entries only, and no files.
    """

    signed: int = 0
    whole: bool = False


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Why the signer does not sign."""

    code: str
    message: str


Answer = Signed | Attested | NeedsAll | Refused
_ENCODE = msgspec.msgpack.Encoder().encode
_ORDERS: Final[msgspec.msgpack.Decoder[Order | Attest]] = msgspec.msgpack.Decoder(Order | Attest)
_ANSWERS: Final[msgspec.msgpack.Decoder[Answer]] = msgspec.msgpack.Decoder(Answer)


def send(connection: socket.socket, message: Order | Attest | Answer) -> None:
    """Send one message. Raises OSError."""
    data = _ENCODE(message)
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive_order(connection: socket.socket) -> Order | Attest | None:
    """Return the next order; None: the other side has closed. Raises OSError and msgspec.DecodeError."""
    data = _receive(connection)
    return None if data is None else _ORDERS.decode(data)


def receive_answer(connection: socket.socket) -> Answer:
    """Return the answer. Raises OSError if the signer is gone."""
    data = _receive(connection)
    if data is None:
        raise ConnectionResetError("the signer has closed")
    return _ANSWERS.decode(data)


def _receive(connection: socket.socket) -> bytes | None:
    header = _exactly(connection, _LENGTH.size)
    if header is None:
        return None
    (length,) = _LENGTH.unpack(header)
    if length > MAX_MESSAGE:
        raise OSError(f"found a message of {length} bytes, expected at most {MAX_MESSAGE}")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            return None
        data += part
    return bytes(data)
