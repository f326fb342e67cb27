"""Reading a feed in whatever format it is: what other modules call."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from authz.errors import InputError, shorten
from authz.publisher.feeds.collect import Collector
from authz.publisher.feeds.detect import TEXT_FORMATS, Recognised, recognise
from authz.publisher.feeds.feed import Feed, FeedOptions
from authz.publisher.feeds.files import naming, read_content
from authz.publisher.feeds.formats.json_documents import SHAPES, collect_document, load_document

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMATS", "Feed", "FeedOptions", "read_feed"]

FORMATS = ("auto", *TEXT_FORMATS, *SHAPES)
AUTO = FeedOptions()


def read_feed(path: Path, options: FeedOptions = AUTO) -> Feed:
    """Read a feed; docs/reference/feeds.md shows the formats.

    A file that is empty, or has only comments, is an empty feed; `clean.shrink_guard` refuses one that had entries.

    Args:
        path: The file.
        options: Its format, and which of its entries are taken.

    Returns:
        The feed.

    Raises:
        InputError: The file cannot be read or unpacked, is in another format or in an unknown one, has lines but no
            entry, or lacks what the options ask for. The message begins with the path.
    """
    if options.format not in FORMATS:
        raise InputError(f"format: found '{shorten(options.format)}', expected one of {', '.join(FORMATS)}")
    content = read_content(path)
    with naming(path):
        recognised = recognise(content) if options.format == "auto" else _named(content, options.format)
        collector = Collector(options)
        recognised.collect(collector)
        return collector.feed(recognised.format)


def _named(content: bytes, format_: str) -> Recognised:
    if format_ in TEXT_FORMATS:
        return Recognised(format_, partial(TEXT_FORMATS[format_], content))
    return Recognised(format_, partial(collect_document, load_document(content), content, format_))
