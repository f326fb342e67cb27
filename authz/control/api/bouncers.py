"""What bouncers of CrowdSec are told: the bans that they are to enforce, and what each of them knows already.

Who is on the allow list gets through a bouncer as through a sidecar: what allow entries take out of a ban is not told,
of a banned network the rest is, in the fewest networks. A ban that begins later is told when it begins.

A bouncer that asked before a restart of ours, or whom we do not know, is told all that holds, and what ended within the
last hour: that repeats, and loses nothing.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from authz.addresses import Network, NetworkSet, parse_networks, range_to_networks
from authz.control.lists.rules.guard import spans_without
from authz.control.model.records import APPLICATION, MICROSECONDS, Entry
from authz.control.store.entries.documents import get_document
from authz.control.store.entries.find import Filter, each_entry, ended_between, get_entries
from authz.control.store.ledger.changes import read_changes, read_heads
from authz.control.store.ledger.history import sequence_at
from authz.engine.model import ANY_APPLICATION

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.model.records import Change
    from authz.control.plane import ControlPlane

MAX_BOUNCERS: Final = 1000
MAX_CHANGES: Final = 100_000  # that one answer tells of; the next one goes on
MAX_LOOKS: Final = 1000  # networks of changed allow entries whose bans are asked for one by one
AGAIN: Final = 3600 * MICROSECONDS  # how far back ends are told to who is not known
TOLD: Final = ("deny", "gray")


class Allowed:
    """The allow list, by networks, as it is at some time.

    Args:
        entries: Those that count.
        precedence: Of every application that has none of its own.

    """

    def __init__(self, entries: Iterable[Entry], precedence: str) -> None:
        self.entries = {(entry.id, entry.version): entry for entry in entries if precedence != "deny_first"}
        self._most_specific = precedence == "most_specific"
        self._sets: dict[tuple[frozenset[str], int, int], NetworkSet] = {}

    def left(self, network: Network, applications: Iterable[str]) -> list[Network]:
        """Return what of a banned network is not allowed for all that the ban is for, in the fewest networks."""
        least = network.length if self._most_specific else 0
        key = (frozenset(applications), network.version, least)
        if key not in self._sets:
            self._sets[key] = self._set(*key)
        allowed, version = self._sets[key], network.version
        bounds = allowed.bounds[version]
        place = bisect_right(bounds, network.value)
        if place & 1 == 0 and (place == len(bounds) or bounds[place] > network.last):
            return [network]
        spans = spans_without(NetworkSet([network]), allowed, version)
        return [part for first, end in spans for part in range_to_networks(version, first, end - 1)]

    def _set(self, applications: frozenset[str], version: int, least: int) -> NetworkSet:
        networks: list[Network] = []
        for entry in self.entries.values():
            if entry.applications and not (applications and applications <= set(entry.applications)):
                continue
            named = (n for text in entry.networks for n in parse_networks(text))
            covered = NetworkSet(n for n in named if n.version == version and n.length >= least)
            excepted = NetworkSet(n for text in entry.except_ for n in parse_networks(text))
            for first, end in spans_without(covered, excepted, version):
                networks += range_to_networks(version, first, end - 1)
        return NetworkSet(networks)


def allowed_now(tx: Connection, now: float) -> Allowed:
    """Return the allow list. now: seconds since 1970."""
    every = msgspec.json.decode(get_document(tx, APPLICATION + ANY_APPLICATION) or b"{}")
    entries = each_entry(tx, Filter(list="allow", unexpired_at=int(now)))
    return Allowed((entry for entry in entries if entry.active(now)), every.get("precedence", "allow_first"))


class Told(NamedTuple):
    """A network of a ban, as a bouncer is told of it."""

    entry: Entry
    network: Network


class Known(NamedTuple):
    """What a bouncer knows.

    Attributes:
        serial, time: Up to where it was told.
        waiting: When the bans begin that have not begun by then, by id.
    """

    serial: int
    time: float
    allowed: Allowed
    waiting: Mapping[str, int]


class Bouncers:
    """Up to where each bouncer knows, by its token."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._lock = threading.Lock()

    def last(self, token: str) -> Known | None:
        """Return what a bouncer knows; None: nothing."""
        return self._known.get(token)

    def note(self, token: str, known: Known) -> None:
        """Remember what a bouncer knows."""
        with self._lock:
            if len(self._known) >= MAX_BOUNCERS and token not in self._known:
                self._known.pop(next(iter(self._known)))
            self._known[token] = known


class News(NamedTuple):
    """What a bouncer is told."""

    new: list[Told]
    ended: list[Told]


def news(plane: ControlPlane, tenant: str | None, known: Known | None, *, startup: bool) -> tuple[News, Known]:
    """Return what a bouncer is to be told, and what it knows then. tenant: whose bans; None: all.

    known: None: it is told all.
    """
    layer, now = plane.config.rules().bans, plane.store.now() / MICROSECONDS
    with plane.store.reading() as tx:
        head, allowed = read_heads(tx)[layer].sequence, allowed_now(tx, now)
        again = startup or known is None
        if known is None or startup:
            since = head if startup else max(sequence_at(tx, layer, plane.store.now() - AGAIN), head - MAX_CHANGES)
            before = Known(since, now, allowed, {})
        else:
            head, before = min(head, known.serial + MAX_CHANGES), known
        changes = [
            change for change in read_changes(tx, layer, before.serial, head)
            if ":" not in change.subject and tenant in {None, change.tenant}
        ]  # fmt: skip
        every = Filter(tenant=tenant, layer=layer, unexpired_at=int(now))
        live = each_entry(tx, every) if again else _begun(tx, changes, before, now)
        ended = [
            *(entry for change in changes if (entry := change.entry_before()) and entry.id not in before.waiting),
            *ended_between(tx, tenant, layer, int(before.time), int(now)),
        ]
        told = News([], [part for entry in ended for part in parts(entry, before.allowed)])
        changed = {change.subject for change in changes}
        waiting = {name: starts for name, starts in before.waiting.items() if starts > now and name not in changed}
        for entry in live:
            if entry.starts is not None and entry.starts > now:
                waiting[entry.id] = entry.starts
            else:
                told.new.extend(parts(entry, allowed))
        if not again:
            _tell_moved(tx, every, before, allowed, now, told)
    return told, Known(head, now, allowed, waiting)


def parts(entry: Entry, allowed: Allowed) -> Iterator[Told]:
    """Give what of a ban is to be enforced."""
    if entry.list in TOLD and entry.action == "block":
        for text in entry.networks:
            for network in parse_networks(text):
                yield from (Told(entry, part) for part in allowed.left(network, entry.applications))


def _begun(tx: Connection, changes: Iterable[Change], known: Known, now: float) -> list[Entry]:
    """Return the bans that were added or changed since, and those that have begun."""
    changed = {change.subject: change.entry_after() for change in changes}
    due = get_entries(tx, {name for name, starts in known.waiting.items() if starts <= now and name not in changed})
    entries = [*changed.values(), *due.values()]
    return [entry for entry in entries if entry is not None and (entry.expires is None or entry.expires > now)]


def _tell_moved(tx: Connection, every: Filter, known: Known, allowed: Allowed, now: float, told: News) -> None:
    """Add what is told of bans that did not change themselves, where the allow list did."""
    before, after = known.allowed.entries, allowed.entries
    changed = [entry for key, entry in (before | after).items() if (key in before) != (key in after)]
    texts = [text for entry in changed for text in entry.networks]
    if len(texts) > MAX_LOOKS:
        bans = {entry.id: entry for entry in each_entry(tx, every)}
    else:
        networks = (network for text in texts for network in parse_networks(text))
        bans = {entry.id: entry for network in networks for entry in each_entry(tx, every._replace(network=network))}
    known_by_change = {part.entry.id for part in told.new}
    for entry in bans.values():
        if entry.id not in known_by_change and entry.active(now):
            was, now_is = {*parts(entry, known.allowed)}, {*parts(entry, allowed)}
            told.ended.extend(sorted(was - now_is, key=_place))
            told.new.extend(sorted(now_is - was, key=_place))


def _place(part: Told) -> Network:
    return part.network


BOUNCERS: Final = Bouncers()
