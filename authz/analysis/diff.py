"""The difference of two snapshots: what was written otherwise, and whose decision changes.

Both spaces are laid over each other and cut where either is cut. Each piece then has two match sets, and what these
decide is compared application by application:

    before    192.0.2.0/24 -> {office}            after    192.0.2.0/24 -> {office}
              203.0.113.0/24 -> {}                         203.0.113.0/25 -> {bad}    203.0.113.128/25 -> {}
    shop      203.0.113.0/25 newly denied, 128 addresses: denylisted by bad, was default_allow

An application that only one of the two names is compared with `*` of the other, which decided or will decide for it
(unless the sidecar says `unknown: deny`). Under dry_run every answer is allow; what it would deny is a changed reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from authz.analysis.coverage import Overlay, Tally, changed_coverage
from authz.analysis.decisions import NO_ENTRY, REASONS, Deciding
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from authz.addresses import Network
    from authz.analysis.decisions import SetDecisions
    from authz.analysis.space import Array
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Application, Entry

CHANGES: Final = ("newly_denied", "newly_allowed", "changed_reason")


class Side(NamedTuple):
    """What one snapshot decides.

    Attributes:
        entry: The id of the one that does; None: no list has the address.
    """

    reason: str
    entry: str | None


class ChangedNetwork(NamedTuple):
    """A network whose every address is decided the same way before, and the same way after."""

    network: Network
    before: Side
    after: Side


class Change(NamedTuple):
    """The addresses of one application with one kind of change.

    Attributes:
        largest: The largest networks, IPv4 and then IPv6.
    """

    tally: Tally
    largest: tuple[ChangedNetwork, ...]


class ApplicationDiff(NamedTuple):
    """What changes for one application.

    Attributes:
        before, after: Its name, or `*` where a snapshot does not have it.
    """

    name: str
    before: str
    after: str
    changes: dict[str, Change]  # by the names of CHANGES


class Difference(NamedTuple):
    """An application or entry that was added, removed or changed.

    Attributes:
        fields: What was and what is, by field, where it is in both.
        gained, lost: The addresses that an entry covers now and did not, and the other way round.
    """

    name: str
    fields: dict[str, tuple[Any, Any]]
    gained: Tally = Tally()
    lost: Tally = Tally()


class Written(NamedTuple):
    """What of the applications, or of the entries, is written otherwise; by name or id."""

    added: tuple[Difference, ...]
    removed: tuple[Difference, ...]
    changed: tuple[Difference, ...]


class SnapshotDiff(NamedTuple):
    """All that differs.

    Attributes:
        decisions: By application, in the order of the newer snapshot.
    """

    applications: Written
    entries: Written
    decisions: tuple[ApplicationDiff, ...]

    def counts(self) -> dict[str, int]:
        """Return the counts that a condition may name.

        Of addresses, those in the application that has most of them: one network that is denied in nine applications
        is one network.
        """
        counts: dict[str, int] = {}
        for change in CHANGES:
            tallies = [decision.changes[change].tally for decision in self.decisions]
            counts[change] = max((tally.ipv4 for tally in tallies), default=0)
            counts[f"{change}_ipv6_64s"] = max((tally.ipv6_64s for tally in tallies), default=0)
        for what, written in (("entries", self.entries), ("applications", self.applications)):
            for name, changed in zip(Written._fields, written, strict=True):
                counts[f"{what}_{name}"] = len(changed)
        return counts


COUNTS: Final = tuple(SnapshotDiff(Written((), (), ()), Written((), (), ()), ()).counts())


def compare(
    before: OpenedSnapshot,
    after: OpenedSnapshot,
    *,
    now: float,
    attack: bool = False,
    application: str | None = None,
    top: int = 20,
) -> SnapshotDiff:
    """Compare two snapshots at one time.

    Args:
        before: The old one.
        after: The new one.
        now: Seconds since 1970.
        attack: Whether the requests carry an attack signal.
        application: Only this one's decisions; None: those of all.
        top: How many of the largest networks are kept, for each application, kind of change and version.

    Raises:
        InputError: Neither snapshot has the application.
    """
    laid = [Overlay.of(before, after, version) for version in (4, 6)]
    was, now_is = Deciding(before, now=now, attack=attack), Deciding(after, now=now, attack=attack)
    decisions = []
    for name in _names(before, after, application):
        pair = _application(before, name), _application(after, name)
        changes = _changes(laid, was.of(pair[0]), now_is.of(pair[1]), (before.entries, after.entries), top)
        decisions.append(ApplicationDiff(name, pair[0].name, pair[1].name, changes))
    applications = _written({a.name: a for a in before.applications}, {a.name: a for a in after.applications}, {})
    coverage = changed_coverage(laid, before, after)
    entries = _written({e.id: e for e in before.entries}, {e.id: e for e in after.entries}, coverage)
    return SnapshotDiff(applications, entries, tuple(decisions))


def _names(before: OpenedSnapshot, after: OpenedSnapshot, wanted: str | None) -> list[str]:
    known = list(dict.fromkeys(a.name for loaded in (after, before) for a in loaded.applications))
    if wanted is None:
        return known
    if wanted not in known:
        raise InputError(
            f"found '{shorten(wanted)}', expected an application of one of the snapshots",
            hint=f"they have {', '.join(map(shorten, known))}",
        )
    return [wanted]


def _application(loaded: OpenedSnapshot, name: str) -> Application:
    return loaded.application(name, "") or loaded.general


def _changes(
    laid: Sequence[Overlay],
    was: SetDecisions,
    now_is: SetDecisions,
    entries: tuple[Sequence[Entry], Sequence[Entry]],
    top: int,
) -> dict[str, Change]:
    changes: dict[str, Change] = {}
    kinds = [_kinds(overlay, was, now_is) for overlay in laid]
    for code, name in enumerate(CHANGES, start=1):
        ranges = [overlay.cut.ranges(np.flatnonzero(kind == code)) for overlay, kind in zip(laid, kinds, strict=True)]
        largest = [
            changed
            for overlay, kind in zip(laid, kinds, strict=True)
            for changed in _largest(overlay, np.flatnonzero(kind == code), was, now_is, entries, top)
        ]
        changes[name] = Change(Tally.of(ranges), tuple(largest))
    return changes


def _kinds(laid: Overlay, was: SetDecisions, now_is: SetDecisions) -> Array:
    """Return the kind of change of each piece: 0 for none, else one more than its place in CHANGES."""
    denied, denies = was.denied[laid.before], now_is.denied[laid.after]
    kinds: Array = (was.reasons[laid.before] != now_is.reasons[laid.after]).astype(np.uint8) * 3
    kinds[denies & ~denied] = 1
    kinds[denied & ~denies] = 2
    return kinds


def _largest(
    laid: Overlay,
    pieces: Array,
    was: SetDecisions,
    now_is: SetDecisions,
    entries: tuple[Sequence[Entry], Sequence[Entry]],
    top: int,
) -> list[ChangedNetwork]:
    """Return the largest networks of these pieces, each decided by one entry before, and by one after."""
    if not len(pieces) or not top:
        return []
    before, after = laid.before[pieces], laid.after[pieces]
    keys = _numbered(was.reasons[before], was.entries[before], now_is.reasons[after], now_is.entries[after])
    ranges = laid.cut.ranges(pieces, keys)
    return [
        ChangedNetwork(
            network,
            _side(was, int(laid.before[ranges.piece[place]]), entries[0]),
            _side(now_is, int(laid.after[ranges.piece[place]]), entries[1]),
        )
        for network, place in ranges.largest(top)
    ]


def _numbered(*columns: Array) -> Array:
    """Return one number for each row of the columns: equal ones for equal rows."""
    keys = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        values, places = np.unique(column, return_inverse=True)
        _, keys = np.unique(keys * len(values) + places, return_inverse=True)
    return keys


def _side(decided: SetDecisions, number: int, entries: Sequence[Entry]) -> Side:
    entry = int(decided.entries[number])
    return Side(REASONS[decided.reasons[number]], None if entry == NO_ENTRY else entries[entry].id)


def _written(before: dict[str, Any], after: dict[str, Any], coverage: dict[str, tuple[Tally, Tally]]) -> Written:
    def of(names: Iterable[str]) -> Iterator[Difference]:
        for name in sorted(names):
            fields = _fields(before[name], after[name]) if name in before and name in after else {}
            yield Difference(name, fields, *coverage.get(name, ()))

    changed = tuple(
        difference
        for difference in of(before.keys() & after.keys())
        if difference.fields or difference.name in coverage
    )
    return Written(tuple(of(after.keys() - before.keys())), tuple(of(before.keys() - after.keys())), changed)


def _fields(first: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    pairs = {field: (getattr(first, field), getattr(other, field)) for field in first._fields}
    return {field: pair for field, pair in pairs.items() if pair[0] != pair[1]}
