"""Opening a feed: plain, gzip or xz, told apart by their first bytes, never unpacked beyond a cap."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_CONTENT = 256 << 20  # bytes, packed or not; 1 M lines of a BGP table are 18 MB
MAX_LINES = 10_000_000  # two lines for each network that a feed may have
MAX_XZ_MEMORY = 128 << 20  # bytes; an xz header may ask for 4 GiB, `xz -9` asks for 65 MiB
MAX_XZ_STREAMS = 100  # of one file; each costs a copy of what follows it

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\x00"
_UTF8_MARK = b"\xef\xbb\xbf"
_REFUSED = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "a bzip2 file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the path before what is wrong in its content."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error.message}", hint=error.hint) from error


def read_content(path: Path) -> bytes:
    r"""Return what the file says: unpacked, without a byte-order mark, with \n behind every line.

    Raises InputError: cannot be read, damaged, cut short, packed in another way, or longer than `MAX_CONTENT` or
    `MAX_LINES`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONTENT + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) <= MAX_CONTENT:  # else it is not worth unpacking
        content = _unpack(path, content)
    if len(content) > MAX_CONTENT:
        raise InputError(f"{path}: found more than {MAX_CONTENT >> 20} MiB, expected at most that much, unpacked")
    for magic, what in _REFUSED.items():
        if content.startswith(magic):
            raise InputError(f"{path}: found {what}, expected UTF-8 text, or such text packed with gzip or xz")
    content = content.removeprefix(_UTF8_MARK)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content.count(b"\n") > MAX_LINES:
        raise InputError(f"{path}: found more than {MAX_LINES:,} lines, expected at most that many")
    return content


def _unpack(path: Path, content: bytes) -> bytes:
    try:
        if content.startswith(_GZIP):
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacked:
                return unpacked.read(MAX_CONTENT + 1)
        if content.startswith(_XZ):
            return _unpack_xz(content)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        kind = "gzip" if content.startswith(_GZIP) else "xz"
        raise InputError(
            f"{path}: the {kind} file is damaged, cut short or too greedy: {shorten(error)}", hint="download it again"
        ) from error
    return content


def _unpack_xz(packed: bytes) -> bytes:
    """Unpack an xz file, which may be several streams with padding between them.

    Returns more than `MAX_CONTENT` bytes where that much is in it. Raises EOFError and LZMAError.
    """
    unpacked = bytearray()
    for _ in range(MAX_XZ_STREAMS):
        # lzma.LZMAFile would neither limit the memory nor mind what follows the last stream.
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
        unpacked += stream.decompress(packed, MAX_CONTENT + 1 - len(unpacked))
        if len(unpacked) > MAX_CONTENT:
            break
        if not stream.eof:
            raise EOFError("the end of the stream is missing")
        packed = stream.unused_data.lstrip(b"\0")
        if not packed:
            break
    else:
        raise EOFError(f"more than {MAX_XZ_STREAMS} streams")
    return bytes(unpacked)
