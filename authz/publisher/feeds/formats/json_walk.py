"""How a JSON document of addresses is walked, object by object, and how one is recognised by its keys.

What is not where it should be is skipped with the reason. JSON has no line numbers, but people look for an entry by
line: each is searched for in the text, onwards from the one before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from authz.publisher.feeds.feed import NOTHING
from authz.publisher.feeds.formats.records import columns_of, show, take_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.publisher.feeds.collect import Collector, Columns


class Walk:
    """Takes what a shape's function finds in a document."""

    def __init__(self, content: bytes, collector: Collector) -> None:
        self._content = content
        self._collector = collector
        self._at = 0
        self._line = 1
        self._lost = False

    def records(self, value: object) -> None:
        """Take a list of objects with an entry each."""
        for record in self.list_of(value):
            first = next((v for v in record.values() if isinstance(v, str)), "") if isinstance(record, dict) else ""
            take_record(self._collector, self._line_of(first), record)

    def addresses(self, value: object, columns: Columns) -> None:
        """Take a list of entries, which have these columns in common. None: an empty list."""
        for text in self.list_of(value):
            if isinstance(text, str):
                self._collector.take(self._line_of(text), text, columns)
            else:
                self.skip(text, "an address as text")

    def both(self, value: object, columns: Columns) -> None:
        """Take the lists `ipv4` and `ipv6` of an object."""
        fields = self.object_of(value)
        self.addresses(fields.get("ipv4"), columns)
        self.addresses(fields.get("ipv6"), columns)

    def columns(self, *objects: object, but: str = "") -> Columns:
        """Return what objects say of all entries in them, without the key that has the entries."""
        if not self._collector.filters:
            return NOTHING
        merged = {k: v for fields in objects if isinstance(fields, dict) for k, v in fields.items() if k != but}
        return columns_of(merged)

    def list_of(self, value: object) -> list[Any]:
        """Return a list; an empty one for anything else."""
        if isinstance(value, list):
            return value
        if value is not None:
            self.skip(value, "a list")
        return []

    def objects(self, value: object) -> Iterator[dict[str, Any]]:
        """Yield the objects of a list."""
        for item in self.list_of(value):
            if isinstance(item, dict):
                yield item
            else:
                self.skip(item, "an object")

    def object_of(self, value: object) -> dict[str, Any]:
        """Return an object; an empty one for anything else."""
        if isinstance(value, dict):
            return value
        self.skip(value, "an object")
        return {}

    def skip(self, value: object, expected: str) -> None:
        """Note a value that is not what was expected."""
        self._collector.skip(self._line, f"found {show(value)}, expected {expected}")

    def _line_of(self, text: str) -> int:
        """Return the line of the next `text`, or, where it is written in another way, of the last one found."""
        if not self._lost:
            place = self._content.find(b'"%b"' % text.encode("utf-8", "replace"), self._at)
            if place < 0:
                self._lost = True  # looking for each that follows through to the end would take forever
            else:
                self._line += self._content.count(b"\n", self._at, place)
                self._at = place + 1
        return self._line


class Shape(NamedTuple):
    """One publisher's format.

    Attributes:
        fits: Says whether a document has this shape.
        walk: Takes the entries of a document of this shape.
        example: Such a document in short, for messages.
    """

    fits: Callable[[Any], bool]
    walk: Callable[[Walk, Any], None]
    example: str


def is_object(value: Any, *keys: str) -> bool:
    """Say whether a value is an object that has all these keys."""
    return isinstance(value, dict) and all(key in value for key in keys)


def has_objects(document: Any, name: str, *keys: str) -> bool:
    """Say whether `name` is a list whose first object has one of the keys. An empty list will do."""
    if not is_object(document, name) or not isinstance(document[name], list):
        return False
    first = next(iter(document[name]), None)
    return first is None or (isinstance(first, dict) and not set(keys).isdisjoint(first))


def has_families(value: Any) -> bool:
    """Say whether a value is an object with a list `ipv4` or `ipv6`."""
    return is_object(value) and any(isinstance(value.get(key), list) for key in ("ipv4", "ipv6"))
