"""A feed that is one JSON document: which of the known shapes it has, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from authz.errors import InputError, shorten
from authz.publisher.feeds.formats.clouds import CLOUDS
from authz.publisher.feeds.formats.json_lists import LISTS
from authz.publisher.feeds.formats.json_walk import Walk
from authz.publisher.feeds.formats.records import show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.publisher.feeds.collect import Collector
    from authz.publisher.feeds.formats.json_walk import Shape

MAX_DOCUMENT = 32 << 20  # bytes; parsed, a hostile one takes 25 times that. Azure's has 4 MB
SHAPES: Final[Mapping[str, Shape]] = {**CLOUDS, **LISTS}  # in the order in which they are tried


def load_document(content: bytes) -> Any:
    """Return the parsed document. Raises InputError: no JSON, nested too deep, or too long."""
    if len(content) > MAX_DOCUMENT:
        raise InputError(f"found {len(content) >> 20} MiB of JSON, expected at most {MAX_DOCUMENT >> 20}")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InputError(f"found no JSON: {shorten(error)}", hint="it may be cut short; download it again") from error


def shape_of(document: object) -> str | None:
    """Return the name of the document's shape, or None."""
    return next((name for name, shape in SHAPES.items() if shape.fits(document)), None)


def describe(document: object) -> str:
    """Return what a document is, for an error."""
    if isinstance(document, dict):
        return f"a JSON object with the keys {shorten(', '.join(document)) or '(none)'}"
    if isinstance(document, list):
        return f"a JSON array that begins with {show(document[0])}" if document else "an empty JSON array"
    return f"the JSON value {show(document)}"


def collect_document(document: Any, content: bytes, shape: str, collector: Collector) -> None:
    """Read a document of this shape into `collector`. Raises InputError if it has another shape."""
    if not SHAPES[shape].fits(document):
        raise InputError(f"found {describe(document)}, expected the format {shape}: {SHAPES[shape].example}")
    SHAPES[shape].walk(Walk(content, collector), document)
