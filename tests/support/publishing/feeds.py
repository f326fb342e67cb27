"""Feeds for tests: written, read, and shown as text."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from authz.publisher.feeds.read_feed import Feed, FeedOptions, read_feed

if TYPE_CHECKING:
    from pathlib import Path


def read_text(folder: Path, content: str | bytes, **options: Any) -> Feed:
    """Read a feed with this content. options: those of `FeedOptions`."""
    path = folder / "feed"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_feed(path, FeedOptions(**options))


def networks(feed: Feed) -> list[str]:
    """Return the networks, IPv4 first, without the length of single addresses."""
    texts = []
    for version, prefixes in feed.networks.items():
        for high, low, length in zip(*(column.tolist() for column in prefixes), strict=True):
            value, bits = (high >> 32, 32) if version == 4 else (high << 64 | low, 128)
            address = ipaddress.IPv4Address(value) if version == 4 else ipaddress.IPv6Address(value)
            texts.append(str(address) if length == bits else f"{address}/{length}")
    return texts
