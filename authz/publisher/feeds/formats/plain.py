"""Plain lists: an address, network or range a line; `#` and `;` start comments, columns may follow.

    192.0.2.7
    192.0.2.0/24 ; SBL123                  Spamhaus
    192.0.2.7<TAB>10                       ipsum: the number of lists that have it, for `min_count`
    192.0.2.1 - 192.0.2.9
    2001:0db8:0000:0000:0000:0000:0000:0001

A second address on a line is refused: it may be the end of a range, or another entry, and guessing wrong either blocks
too many or too few. Start and end columns are for `authz.publisher.feeds.formats.tables`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.addresses import try_parse_address
from authz.errors import shorten
from authz.publisher.feeds.collect import Collector
from authz.publisher.feeds.fast_ipv4 import parse_bare_lines
from authz.publisher.feeds.feed import Feed, FeedOptions, Skipped
from authz.publisher.feeds.files import naming, read_content
from authz.publisher.feeds.formats.lines import MAX_LINE, decode, text_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["MAX_LINE", "Feed", "Skipped", "collect_plain", "parse_plain", "read_plain"]

CHUNK = 1 << 20  # bytes that are read at once; the arrays for them take some 30 times that
_MAX_COUNT_DIGITS = 9


def read_plain(path: Path) -> Feed:
    """Read a plain list as it is, bogons included; `feeds.read_feed.read_feed` is for all formats and options.

    Raises InputError if the file cannot be read, or has lines but no address in any of them: that is a broken
    download or another format, and must not be taken for an empty feed.
    """
    collector = Collector(FeedOptions(bogons="keep"))
    content = read_content(path)
    with naming(path):
        collect_plain(content, collector)
        return collector.feed("plain")


def parse_plain(lines: Iterable[str]) -> Feed:
    """Read a plain list from its lines, bogons included, one by one."""
    collector = Collector(FeedOptions(bogons="keep"))
    for number, line in enumerate(lines, start=1):
        _take_line(collector, number, line[:MAX_LINE])
    return collector.feed("plain")


def collect_plain(content: bytes, collector: Collector) -> None:
    """Read a plain list into `collector`."""
    if collector.filters:
        for number, line in text_lines(content):
            _take_line(collector, number, line)
        return
    for first, chunk in _chunks(content):
        if len(chunk) > 2 * CHUNK:  # the last line of it is huge, and so would be the arrays
            for number, line in text_lines(chunk):
                _take_line(collector, first + number - 1, line)
            continue
        bare = parse_bare_lines(chunk)
        collector.take_bare(bare.values, bare.lengths, bare.lines + first)
        for line, start, end in zip(*(c.tolist() for c in (bare.others, bare.starts, bare.ends)), strict=True):
            _take_line(collector, first + line, decode(chunk[start:end]))


def _chunks(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines, with a newline behind each, about `CHUNK` bytes together, and the number of the first."""
    start, number = 0, 1
    while start < len(content):
        end = content.find(b"\n", start + CHUNK) + 1 or len(content)
        chunk = content[start:end]
        yield number, chunk if chunk.endswith(b"\n") else chunk + b"\n"
        number += chunk.count(b"\n")
        start = end


def _take_line(collector: Collector, number: int, line: str) -> None:
    words = line.partition("#")[0].partition(";")[0].split(None, 4)
    if not words:
        return
    entry, *columns = _close_up(words) if "-" in line else words
    second = columns[0] if columns else ""
    if _is_address(second):
        why = f"found a second address '{shorten(second)}', expected one entry a line"
        collector.skip(number, f"{why} (start and end columns are read from CSV)")
    else:
        collector.take(number, entry, count=_count(second))


def _close_up(words: list[str]) -> list[str]:
    """Make one word of a range with spaces: "a - b", "a -b" or "a- b"."""
    if words[1:2] == ["-"]:
        return ["".join(words[:3]), *words[3:]]
    if words[0].endswith("-") or (len(words) > 1 and words[1].startswith("-")):
        return ["".join(words[:2]), *words[2:]]
    return words


def _is_address(text: str) -> bool:
    return ("." in text or ":" in text) and try_parse_address(text.partition("/")[0].partition("-")[0]) is not None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_COUNT_DIGITS else None
