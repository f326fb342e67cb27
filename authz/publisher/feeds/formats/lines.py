"""Feeds as lines of text: numbered from 1, decoded one by one."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE = 4096  # characters that are looked at; no entry is as long


def text_lines(content: bytes) -> Iterator[tuple[int, str]]:
    r"""Yield the lines with their numbers, without line ends, cut at `MAX_LINE`, blank ones too.

    Bytes that are not UTF-8 are written as \xNN, which no address has.
    """
    for number, line in enumerate(io.BytesIO(content), start=1):
        yield number, decode(line)


def content_lines(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the lines that say something: not blank, and not beginning with `#` or `;`. Spaces around are gone."""
    for number, line in text_lines(content):
        text = line.strip()
        if text and not text.startswith(("#", ";")):
            yield number, text


def decode(line: bytes) -> str:
    """Return a line as text. See `text_lines`."""
    return line[:MAX_LINE].decode("utf-8", "backslashreplace").removesuffix("\n")
