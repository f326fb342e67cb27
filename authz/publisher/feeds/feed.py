"""What is asked of a feed, and what it gave."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.addresses import Network
    from authz.publisher.index.prefixes import Array, Prefixes

NOTHING: Mapping[str, str] = MappingProxyType({})


class FeedOptions(NamedTuple):
    """How to read a feed.

    format: one of `feeds.read_feed.FORMATS`. where: take only entries that have this value in this column, in all of
    them; columns and values are spelled as in the file. min_count: take only entries with at least this count (0: all).
    bogons: whether networks of special-purpose space (see `authz.publisher.feeds.clean.bogons`) are dropped.
    """

    format: str = "auto"
    where: Mapping[str, str] = NOTHING
    min_count: int = 0
    bogons: Literal["drop", "keep"] = "drop"


class Skipped(NamedTuple):
    """A line that was not taken. line: from 1."""

    line: int
    why: str


class Bogon(NamedTuple):
    """A network that was dropped. line: from 1; what: the special-purpose space that it lies in or contains."""

    line: int
    network: Network
    what: str


class Feed(NamedTuple):
    """What a feed gave.

    networks: by version (4, 6), sorted, each once; those inside others are there, since a decision may ask for the
    longest. taken: entries (an address, network or range each) of which a network was kept. skipped: in the order of
    the file. format: the one that was read. filtered: entries that `where` or `min_count` left out. repeats: networks
    dropped because they came before; nested: networks kept that lie inside others. lines: by version, for each of
    `networks` the line it first stood in, from 1; a JSON document in one line has them all in line 1.
    """

    networks: dict[int, Prefixes]
    taken: int
    skipped: tuple[Skipped, ...]
    format: str
    filtered: int
    repeats: int
    nested: int
    bogons: tuple[Bogon, ...]
    lines: dict[int, Array]

    @property
    def merged(self) -> int:
        """How many networks add no address: repeats, and those inside others."""
        return self.repeats + self.nested
