"""Recognising the format of a feed by its content, never by its name.

A JSON document is recognised by its keys. Of text, the first lines are read in every format that it could be: the one
that takes most of them wins, with fewer lines skipped if two take the same. It must take half of them, so that neither
an error page nor a stray address passes for a feed; a prose header and footer may.
"""

from __future__ import annotations

import io
import itertools
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson

from authz.errors import InputError, shorten
from authz.publisher.feeds.collect import Collector
from authz.publisher.feeds.formats.json_documents import SHAPES, collect_document, describe, load_document, shape_of
from authz.publisher.feeds.formats.lines import decode
from authz.publisher.feeds.formats.plain import collect_plain
from authz.publisher.feeds.formats.proxies import collect_proxies
from authz.publisher.feeds.formats.records import collect_json_lines
from authz.publisher.feeds.formats.tables import collect_csv, collect_geofeed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Collect = Callable[[bytes, Collector], None]

SAMPLE = 200  # lines with content
SAMPLE_LINE = 1 << 16  # bytes; a cut line is not JSON, so this is more than any JSON line has

# In the order of preference: a list of addresses is plain, though it could be a table with one column.
TEXT_FORMATS: dict[str, Collect] = {
    "plain": collect_plain,
    "proxies": collect_proxies,
    "geofeed": collect_geofeed,
    "csv": collect_csv,
    "json-lines": collect_json_lines,
}


class Recognised(NamedTuple):
    """A format, and what reads this content in it."""

    format: str
    collect: Callable[[Collector], None]


def recognise(content: bytes) -> Recognised:
    """Return the format of a content. Raises InputError: no format fits."""
    if b"\0" in content:  # else a tar of lists would be read, without the first line of each
        raise InputError("not recognised: found a NUL byte, expected text", hint="databases and archives are not feeds")
    start = content.lstrip()[:1]
    if start in (b"{", b"["):
        try:
            document = load_document(content)
        except InputError as error:
            # Several documents may still be JSON lines, and [2001:db8::1]:80 a proxy; nothing else begins so. Of JSON
            # that is cut short, any line with an address would fit some other format.
            seen = _seen_line(content) or error.message
            return _text(content, ("json-lines",) if start == b"{" else ("proxies",), seen)
        shape = shape_of(document)
        if shape is not None:
            return Recognised(shape, partial(collect_document, document, content, shape))
        return _text(content, ("json-lines",), f"found {describe(document)}")
    return _text(content, tuple(TEXT_FORMATS), "")


def _text(content: bytes, formats: tuple[str, ...], seen: str) -> Recognised:
    """Return the best of some text formats. seen: what the content looks like, if that has been found out."""
    sample = list(itertools.islice(_content_lines(content), SAMPLE))
    text = b"\n".join(sample)
    tried = [(*_try(text, TEXT_FORMATS[name], len(sample)), -place, name) for place, name in enumerate(formats)]
    taken, unskipped, _, name = max(tried)
    if taken < -unskipped:
        seen = seen or f"the first line is '{shorten(decode(sample[0]))}'"
        best = f"the best format, {name}, reads {taken}" if taken else "none is an entry in any format"
        read = f"of the first {len(sample)} lines, {best}" if len(sample) > 1 else "it is an entry in no format"
        raise InputError(
            f"not recognised: {seen}; {read}",
            hint=f"known formats: {', '.join((*TEXT_FORMATS, *SHAPES))}",
        )
    return Recognised(name, partial(TEXT_FORMATS[name], content))


def _seen_line(content: bytes) -> str:
    """Return what the first of what may be JSON lines is; "" if it is not JSON."""
    try:
        return f"found a line with {describe(orjson.loads(next(_content_lines(content))))}"
    except orjson.JSONDecodeError:
        return ""


def _content_lines(content: bytes) -> Iterator[bytes]:
    """Yield the lines that say something, without spaces around them, cut at `SAMPLE_LINE`."""
    for line in (whole[:SAMPLE_LINE].strip() for whole in io.BytesIO(content)):
        if line and not line.startswith((b"#", b";")):
            yield line


def _try(text: bytes, collect: Collect, lines: int) -> tuple[int, int]:
    """Return how many entries a format takes, and minus how many lines it skips."""
    collector = Collector()
    try:
        collect(text, collector)
        taken, skipped = collector.so_far()
    except InputError:
        return 0, -lines
    return taken, -skipped
