"""Writing PNG pictures: one byte a pixel with a palette, compressed with zlib, nothing else of the format."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from authz.analysis.space import Array

    Colour = tuple[int, int, int]  # red, green, blue: 0 to 255

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # the colour type
_ROWS = 256  # that are compressed at once: 1 MB of the widest picture
_LEVEL = 6  # of zlib: 9 takes three times the time for 1 % fewer bytes


def encode_png(pixels: Array, palette: Sequence[Colour], title: str = "") -> bytes:
    """Return the picture as a PNG file.

    Args:
        pixels: A matrix of places in `palette` (u8, at most 256), rows from the top.
        palette: Colours.
        title: Latin-1 text in the file, for programs that show it.
    """
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _PALETTE, 0, 0, 0)
    chunks = [
        (b"IHDR", header),
        (b"PLTE", bytes(part for colour in palette for part in colour)),
        (b"IDAT", b"".join(_compressed(pixels))),
        (b"IEND", b""),
    ]
    if title:
        chunks.insert(1, (b"tEXt", b"Title\0" + title.encode("latin-1", "replace")))
    return SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def _compressed(pixels: Array) -> Iterator[bytes]:
    """Yield the rows, each behind the number of its filter: 0, for a palette has no gradients to predict."""
    packer = zlib.compressobj(_LEVEL)
    for top in range(0, len(pixels), _ROWS):
        rows = pixels[top : top + _ROWS]
        filtered = np.zeros((rows.shape[0], rows.shape[1] + 1), np.uint8)
        filtered[:, 1:] = rows
        yield packer.compress(filtered.tobytes())
    yield packer.flush()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
