"""The bytes of a file, unpacked: plain, gzip or xz, told apart by their first bytes, never more than a cap."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Final

from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES: Final = 1 << 30  # packed or not; the largest country database that we met has 8 MB, MaxMind's cities 120 MB
MAX_TEXT: Final = 256 << 20  # bytes, unpacked, for readers of text; 412,000 ranges with names are 24 MB
MAX_XZ_MEMORY: Final = 128 << 20  # bytes; an xz header may ask for 4 GiB, `xz -9` asks for 65 MiB
MAX_XZ_STREAMS: Final = 100  # of one file; each costs a copy of what follows it
_GZIP: Final = b"\x1f\x8b"
_XZ: Final = b"\xfd7zXZ\x00"


def read_unpacked(path: Path, most: int = MAX_BYTES, *, may_be_empty: bool = False) -> bytes:
    """Return the content of the file, unpacked where it is gzip or xz.

    Raises InputError if the file cannot be read, is damaged or cut short, has more than `most` bytes, or is empty
    and must not be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(data) <= most:  # else it is not worth unpacking
        try:
            data = _unpack(data, most)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{path}: damaged or cut short: {shorten(error)}", hint="download it again") from error
    if len(data) > most:
        raise InputError(f"{path}: found more than {most} bytes, expected at most that, unpacked")
    if not data and not may_be_empty:
        raise InputError(f"{path}: found an empty file", hint="download it again")
    return data


def _unpack(data: bytes, most: int) -> bytes:
    if data.startswith(_GZIP):
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
            return unpacked.read(most + 1)
    return _unpack_xz(data, most) if data.startswith(_XZ) else data


def _unpack_xz(packed: bytes, most: int) -> bytes:
    """Unpack all streams of an xz file, but not more than one byte beyond `most`.

    lzma.LZMAFile would neither limit the memory nor mind what follows the last stream.
    """
    unpacked = bytearray()
    for _ in range(MAX_XZ_STREAMS):
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
        unpacked += stream.decompress(packed, most + 1 - len(unpacked))
        if len(unpacked) > most:
            return bytes(unpacked)
        if not stream.eof:
            raise EOFError("the end of the xz stream is missing")
        packed = stream.unused_data.lstrip(b"\0")
        if not packed:
            return bytes(unpacked)
    raise EOFError(f"more than {MAX_XZ_STREAMS} xz streams")
