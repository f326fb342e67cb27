"""What a build is held against before it is signed: the networks that nothing may deny, and the file it replaces.

Each refusal is one line for a person. `--force` writes them into the snapshot, with who forced it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from authz.analysis.coverage import Tally
from authz.analysis.entry_pieces import EntryPieces
from authz.analysis.lockout import would_deny
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.addresses import Network
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry

MAX_LOST = 0.5  # share of the live entries, or of the denied addresses, that a build may lose
MAX_NAMES = 10  # applications or entries that a refusal names


def lockouts(loaded: OpenedSnapshot, protected: Iterable[Network], now: float) -> list[str]:
    """Return where a protected network is denied, now or when a window opens or closes."""
    return [
        f"protected {d.network}: {d.example} is denied in application '{d.application}'"
        f" by {f'entry {d.entry}' if d.entry else d.reason}"
        f"{f' from {format_moment(d.since)} on' if d.since > now else ''}"
        for d in would_deny(loaded, protected, now)
    ]


def losses(loaded: OpenedSnapshot, before: OpenedSnapshot, now: float) -> list[str]:
    """Return what a build has lost against the file that it replaces: a broken policy looks like that.

    Applications: any. Entries and denied addresses: more than `MAX_LOST` of those that count at `now`; what has run out
    since the last build is not lost.
    """
    lost = []
    names = {application.name for application in loaded.applications}
    gone = [application.name for application in before.applications if application.name not in names]
    if gone:
        lost.append(f"loses {_count(len(gone), 'application')}: {_names(gone)}")
    ids = {entry.id for entry in loaded.entries}
    live = [entry.id for entry in before.entries if _counts(entry, now)]
    missing = [name for name in live if name not in ids]
    if len(missing) > MAX_LOST * len(live):
        lost.append(f"loses {len(missing):,} of {_count(len(live), 'entry', 'entries')}: {_names(missing)}")
    lost += _fewer_addresses(denied_addresses(loaded, now), denied_addresses(before, now))
    return lost


def denied_addresses(loaded: OpenedSnapshot, now: float) -> Tally:
    """Return how many addresses an entry of the deny list covers that counts at `now` or later."""
    denying = [e.list == "deny" and e.action == "block" and _counts(e, now) for e in loaded.entries]
    pieces = EntryPieces(loaded)
    of = np.array(denying, np.bool_)[pieces.entries]
    return Tally.of(pieces.ranges(np.unique(pieces.sets[of]).tolist()))


def ended(entries: Iterable[Entry], now: float) -> list[str]:
    """Return a warning for each entry whose window has closed before the build."""
    return [
        f"entry {entry.id} ended at {format_moment(entry.expires)}, before this build: it does nothing"
        for entry in entries
        if not _counts(entry, now)
    ]


def _counts(entry: Entry, now: float) -> bool:
    return entry.expires is None or entry.expires > now


def _fewer_addresses(now: Tally, before: Tally) -> Iterator[str]:
    for left, had, what in (
        (now.ipv4, before.ipv4, ("IPv4 address", "IPv4 addresses")),
        (now.ipv6_64s, before.ipv6_64s, ("IPv6 /64", "IPv6 /64s")),
    ):
        if had - left > MAX_LOST * had:
            fewer = f"{100 * (had - left) / had:.0f} % fewer"
            yield f"the new file denies {_count(left, *what)}, the one that it replaces {had:,}: {fewer}"


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"
