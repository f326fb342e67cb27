"""What the use cases go by: limits of layers, whom nobody may deny, when two people are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.control.lists.rules.guard import FourEyes
from authz.control.lists.rules.limits import Limits
from authz.control.lists.rules.resolved import Resolver
from authz.control.model.problems import FieldMistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.addresses import Network
    from authz.control.model.records import Written

_DATABASES: Final = {"countries": "country", "regions": "country", "continents": "country", "asns": "asn"}


class Known(NamedTuple):
    """What the policy has for resolving subjects.

    Attributes:
        sources: Given by feeds.
        geo: `country`, `asn`.
    """

    sources: frozenset[str] = frozenset()
    geo: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Known:
        """Return what the settings of a policy have."""
        sources = frozenset(feed["source"] for feed in settings.get("feeds", ()))
        return cls(sources, frozenset(name for name, path in settings.get("geo", {}).items() if path))

    def unresolvable(self, entry: Written) -> Iterator[FieldMistake]:
        """Give the subjects of an entry that nothing of the policy gives networks to."""
        for number, source in enumerate(entry.sources):
            if source not in self.sources:
                given = ", ".join(sorted(self.sources)) or "none"
                yield FieldMistake(f"/sources/{number}", f"found '{source}', which no feed gives; given: {given}")
        for name, database in _DATABASES.items():
            if getattr(entry, name) and database not in self.geo:
                yield FieldMistake(f"/{name}", f"found {name}, and the policy names no database in geo.{database}")


class Rules(NamedTuple):
    """What the use cases go by.

    Attributes:
        layers: Limits by name.
        protected: What no entry may deny.
        bans: The layer of `ban`.
        known: What subjects of the first layer can be resolved by.
        resolver: Resolves them.
        counts: How many entries the newest file of a layer has, where that is at hand.
    """

    layers: Mapping[str, Limits]
    protected: tuple[Network, ...] = ()
    four_eyes: FourEyes = FourEyes()
    bans: str = "bans"
    known: Known = Known()
    resolver: Resolver = Resolver({}, None)
    counts: Mapping[str, int] = {}
