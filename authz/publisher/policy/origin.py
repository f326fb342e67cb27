"""Where a network of an entry came from: which feed, and which line of it (publisher only).

A snapshot does not keep lines, which would be as many as networks; the feeds are read again, as the policy names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import Network, network_of
from authz.publisher.feeds.feed import Feed, FeedOptions
from authz.publisher.feeds.read import read_feed
from authz.publisher.index.prefixes import masks
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml import read_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from authz.addresses import Address


class Origin(NamedTuple):
    """A line of a feed. network: the longest of the feed that covers the address; line: from 1."""

    source: str
    path: str
    line: int
    network: Network


def origins(policy: Path, sources: Collection[str], address: Address) -> list[Origin]:
    """Return the lines that cover an address, of the policy's feeds for these source types; one for each feed.

    Raises InputError and InvalidDocument.
    """
    found = []
    for written in read_file(PolicyDocument, policy).checked().feeds:
        if written.source in sources:
            options = FeedOptions(written.format, written.where, written.min_count, written.bogons)
            place = find(read_feed(policy.parent / written.path, options), address)
            if place is not None:
                found.append(Origin(written.source, written.path, place[0], place[1]))
    return found


def find(feed: Feed, address: Address) -> tuple[int, Network] | None:
    """Return the line and the network of the longest prefix of a feed that covers the address."""
    prefixes, lines = feed.networks[address.version], feed.lines[address.version]
    aligned = address.value << (96 if address.version == 4 else 0)
    high, low = np.uint64(aligned >> 64), np.uint64(aligned & 0xFFFFFFFFFFFFFFFF)
    for length in sorted(np.unique(prefixes.length).tolist(), reverse=True):
        mask_high, mask_low = masks(length)
        same = (prefixes.high == high & mask_high) & (prefixes.low == low & mask_low) & (prefixes.length == length)
        places = np.flatnonzero(same)
        if len(places):
            return int(lines[places[0]]), network_of(address, length)
    return None
