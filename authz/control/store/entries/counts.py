"""How many entries each list had at a time: from daily checkpoints, and from what happened since.

    Tuesday 18:00 = Tuesday 00:00 + versions that began since and are live then
                                  - versions live at 00:00 that ended or expired since

So a question costs what happened in a day, however long history is. What was recorded does not change, and so a
checkpoint stays valid. An entry counts from when it was recorded until it is changed, deleted or has expired;
whether its window has begun is no matter.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import and_, func, insert, select

from authz.control.model.records import MICROSECONDS
from authz.control.store.tables import daily_counts, entries

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sqlalchemy import ColumnElement, Connection

DAY: Final = 86400 * MICROSECONDS
_LATE: Final = 3600 * MICROSECONDS  # that a transaction which began before midnight may take


class Group(NamedTuple):
    """What is counted together."""

    tenant: str
    layer: str
    list: str


Counts = Counter[Group]
_DECODE: Final = msgspec.json.Decoder(list[tuple[Group, int]]).decode


def count_at(tx: Connection, at: int) -> Counts:
    """Return how many entries each list had at a time (microseconds), by tenant and layer; none are left out."""
    row = tx.execute(
        select(daily_counts).where(daily_counts.c.day <= at).order_by(daily_counts.c.day.desc()).limit(1)
    ).first()
    return plain_count(tx, at) if row is None else _since(tx, Counter(dict(_DECODE(row.counts))), row.day, at)


def plain_count(tx: Connection, at: int) -> Counts:
    """Return the same by a look at every version there is: before the first checkpoint."""
    version = entries.c
    live = and_(version.recorded_from <= at, version.recorded_to > at, version.expires > at // MICROSECONDS)
    return _counted(tx, live)


def missing_checkpoints(tx: Connection, now: int, most: int = 30) -> list[tuple[int, Counts]]:
    """Return each midnight (UTC) that has no checkpoint yet, with its counts, at most so many. now: microseconds."""
    last = tx.execute(select(func.max(daily_counts.c.day))).scalar_one()
    if last is None:
        first = tx.execute(select(func.min(entries.c.recorded_from))).scalar_one()
        if first is None:
            return []
        last, counts = first // DAY * DAY - DAY, Counts()  # before there was anything
    else:
        counts = count_at(tx, last)
    checkpoints = []
    for day in range(last + DAY, now - _LATE + 1, DAY)[:most]:
        counts = _since(tx, counts, day - DAY, day)
        checkpoints.append((day, counts))
    return checkpoints


def add_checkpoints(tx: Connection, checkpoints: Iterable[tuple[int, Counts]]) -> None:
    """Keep what `missing_checkpoints` gave; those that somebody has kept meanwhile say the same."""
    known = set(tx.execute(select(daily_counts.c.day)).scalars())
    rows = [
        {"day": day, "counts": msgspec.json.encode(sorted(counts.items())).decode()}
        for day, counts in checkpoints
        if day not in known
    ]
    if rows:
        tx.execute(insert(daily_counts), rows)


def _since(tx: Connection, counts: Counts, day: int, at: int) -> Counts:
    """Return the counts of a time, from those of a time before.

    Each condition is looked up by the one index of what it names first: sums have none.
    """
    then, now = day // MICROSECONDS, at // MICROSECONDS
    since, until, expires = entries.c.recorded_from, entries.c.recorded_to, entries.c.expires
    begun = and_(since > day, since <= at, until + 0 > at, expires + 0 > now)
    ended = and_(until > day, until <= at, since + 0 <= day, expires + 0 > then)
    expired = and_(expires > then, expires <= now, since + 0 <= day, until + 0 > at)
    after = Counter(counts)
    after.update(_counted(tx, begun))
    after.subtract(_counted(tx, ended))
    after.subtract(_counted(tx, expired))
    return +after


def _counted(tx: Connection, which: ColumnElement[bool]) -> Counts:
    group: tuple[ColumnElement[Any], ...] = (entries.c.tenant, entries.c.layer, entries.c.list)
    rows = tx.execute(select(*group, func.count()).where(which).group_by(*group))
    return Counter({Group(*row[:3]): row[3] for row in rows})
