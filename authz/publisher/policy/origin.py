"""Where a network of an entry came from: which feed, and which line of it (publisher only).

A snapshot does not keep lines, which would be as many as networks; the feeds are read again, as the policy names them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import BITS, Network, network_of
from authz.publisher.feeds.read_feed import read_feed
from authz.publisher.index.prefixes import masks
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from authz.addresses import Address
    from authz.publisher.feeds.feed import Feed


class Origin(NamedTuple):
    """A line of a feed.

    Attributes:
        network: The longest of the feed that covers the address.
        line: From 1.
    """

    source: str
    path: str
    line: int
    network: Network


class SourceFeeds:
    """The feeds of a policy for some source types, each read once.

    Raises:
        InputError: A feed cannot be read.
        InvalidDocument: The policy has mistakes.

    """

    def __init__(self, policy: Path, sources: Collection[str]) -> None:
        written = read_file(PolicyDocument, policy).checked().feeds if sources else ()
        self._feeds = [
            (feed, read_feed(policy.parent / feed.path, feed.options)) for feed in written if feed.source in sources
        ]
        self._lines: list[dict[Network, int]] = []  # of each feed, made when they are asked for

    def covering(self, address: Address) -> list[Origin]:
        """Return the lines that cover an address; at most one of each feed."""
        places = ((written, find(feed, address)) for written, feed in self._feeds)
        return [Origin(written.source, written.path, *place) for written, place in places if place is not None]

    def lines_of(self, network: Network) -> list[Origin]:
        """Return the lines that gave this very network; at most one of each feed."""
        if not self._lines:
            self._lines = [_lines_by_network(feed) for _, feed in self._feeds]
        return [
            Origin(written.source, written.path, lines[network], network)
            for (written, _), lines in zip(self._feeds, self._lines, strict=True)
            if network in lines
        ]


def _lines_by_network(feed: Feed) -> dict[Network, int]:
    return {
        Network(version, (high << 64 | low) >> (128 - BITS[version]), length): line
        for version, prefixes in feed.networks.items()
        for high, low, length, line in zip(*(c.tolist() for c in (*prefixes, feed.lines[version])), strict=True)
    }


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
