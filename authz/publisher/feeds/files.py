"""Opening a feed: unpacked, text, with one kind of line end, within its caps."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from authz.errors import InputError
from authz.publisher.feeds.decompress import read_unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_CONTENT = 256 << 20  # bytes, packed or not; 1 M lines of a BGP table are 18 MB
MAX_LINES = 10_000_000  # two lines for each network that a feed may have
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
    content = read_unpacked(path, MAX_CONTENT, may_be_empty=True)
    for magic, what in _REFUSED.items():
        if content.startswith(magic):
            raise InputError(f"{path}: found {what}, expected UTF-8 text, or such text packed with gzip or xz")
    content = content.removeprefix(_UTF8_MARK)
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content.count(b"\n") > MAX_LINES:
        raise InputError(f"{path}: found more than {MAX_LINES:,} lines, expected at most that many")
    return content
