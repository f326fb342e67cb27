"""The feeds of a policy that are fetched from the web."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import InputError
from authz.publisher.feeds.fetch.fetch import WantedFeed
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read_file

if TYPE_CHECKING:
    from pathlib import Path


def feeds_to_fetch(policy: Path, *, fresh: bool = True) -> list[WantedFeed]:
    """Return the feeds of a policy that have an address, each path once.

    Args:
        policy: The file; paths are relative to it.
        fresh: Whether a copy that is younger than the interval of its feed is left alone.

    Raises:
        InputError: The policy cannot be read, or gives one path two addresses.
        InvalidDocument: The policy has mistakes.

    """
    wanted: dict[str, WantedFeed] = {}
    for feed in read_file(PolicyDocument, policy).checked().feeds:
        if not feed.url or not feed.path:
            continue
        link = feed.known.link if feed.known is not None and feed.url == feed.known.url else ""
        interval = feed.interval or 0.0 if fresh else 0.0
        # The whole file is compared, not the part of it that one feed takes by `where`.
        options = feed.options._replace(where={}, min_count=0)
        wanted_feed = WantedFeed(feed.url, policy.parent / feed.path, options, feed.max_shrink, interval, link)
        if wanted.setdefault(feed.path, wanted_feed).url != wanted_feed.url:
            raise InputError(f"{policy}: feeds: found two addresses for the path '{feed.path}', expected one")
    return list(wanted.values())
