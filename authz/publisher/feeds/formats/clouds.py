"""JSON documents in which clouds and content delivery networks publish their networks: AWS, Google, Azure, ..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from authz.publisher.feeds.feed import NOTHING
from authz.publisher.feeds.formats.json_walk import Shape, has_objects, is_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.publisher.feeds.formats.json_walk import Walk


def _aws(walk: Walk, document: dict[str, Any]) -> None:
    walk.records(document.get("prefixes"))
    walk.records(document.get("ipv6_prefixes"))


def _azure(walk: Walk, document: dict[str, Any]) -> None:
    for tag in walk.objects(document["values"]):
        properties = walk.object_of(tag.get("properties"))
        columns = walk.columns(properties, tag, but="addressPrefixes")
        walk.addresses(properties.get("addressPrefixes"), columns)


def _oracle(walk: Walk, document: dict[str, Any]) -> None:
    for region in walk.objects(document["regions"]):
        for cidr in walk.objects(region.get("cidrs")):
            walk.addresses([cidr.get("cidr")], walk.columns(region, cidr, but="cidrs"))


def _cloudflare(walk: Walk, document: dict[str, Any]) -> None:
    walk.addresses(document["result"].get("ipv4_cidrs"), NOTHING)
    walk.addresses(document["result"].get("ipv6_cidrs"), NOTHING)


def _fastly(walk: Walk, document: dict[str, Any]) -> None:
    walk.addresses(document["addresses"], NOTHING)
    walk.addresses(document["ipv6_addresses"], NOTHING)


# In the order in which they are tried.
CLOUDS: Final[Mapping[str, Shape]] = {
    "aws": Shape(
        lambda d: is_object(d, "ipv6_prefixes") or has_objects(d, "prefixes", "ip_prefix"),
        _aws,
        '{"prefixes": [{"ip_prefix": .., "region": .., "service": ..}], "ipv6_prefixes": [..]}',
    ),
    "google": Shape(
        lambda d: has_objects(d, "prefixes", "ipv4Prefix", "ipv6Prefix"),
        lambda walk, d: walk.records(d["prefixes"]),
        '{"prefixes": [{"ipv4Prefix": .., "service": .., "scope": ..}]}',
    ),
    "azure": Shape(
        lambda d: has_objects(d, "values", "properties"),
        _azure,
        '{"values": [{"name": .., "properties": {"region": .., "addressPrefixes": [..]}}]}',
    ),
    "oracle": Shape(
        lambda d: has_objects(d, "regions", "cidrs"),
        _oracle,
        '{"regions": [{"region": .., "cidrs": [{"cidr": .., "tags": [..]}]}]}',
    ),
    "cloudflare": Shape(
        lambda d: is_object(d, "result") and is_object(d["result"], "ipv4_cidrs"),
        _cloudflare,
        '{"result": {"ipv4_cidrs": [..], "ipv6_cidrs": [..]}}',
    ),
    "fastly": Shape(
        lambda d: is_object(d, "addresses", "ipv6_addresses"), _fastly, '{"addresses": [..], "ipv6_addresses": [..]}'
    ),
}
