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

    Attributes:
        format: One of `feeds.read_feed.FORMATS`.
        where: Take only entries that have this value in this column, in all of them; columns and values are spelled as
            in the file.
        min_count: Take only entries with at least this count (0: all).
        bogons: Whether networks of special-purpose space (see `authz.publisher.feeds.clean.bogons`) are dropped.
    """

    format: str = "auto"
    where: Mapping[str, str] = NOTHING
    min_count: int = 0
    bogons: Literal["drop", "keep"] = "drop"


class Skipped(NamedTuple):
    """A line that was not taken.

    Attributes:
        line: From 1.
    """

    line: int
    why: str


class Bogon(NamedTuple):
    """A network that was dropped.

    Attributes:
        line: From 1.
        what: The special-purpose space that it lies in or contains.
    """

    line: int
    network: Network
    what: str


class Feed(NamedTuple):
    """What a feed gave.

    Attributes:
        networks: By version (4, 6), sorted, each once; those inside others are there, since a decision may ask for the
            longest.
        taken: Entries (an address, network or range each) of which a network was kept.
        skipped: In the order of the file.
        format: The one that was read.
        filtered: Entries that `where` or `min_count` left out.
        repeats: Networks dropped because they came before.
        nested: Networks kept that lie inside others.
        lines: By version, for each of `networks` the line it first stood in, from 1; a JSON document in one line has
            them all in line 1.
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
    def is_empty(self) -> bool:
        """Whether nothing was in it: no entry, and nothing that was left out."""
        return not (self.taken or self.skipped or self.filtered or self.bogons)

    @property
    def merged(self) -> int:
        """How many networks add no address: repeats, and those inside others."""
        return self.repeats + self.nested
