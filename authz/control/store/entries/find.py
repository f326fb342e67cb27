"""Asking for entries: by id, by filter, by address; now or as of any time.

at: a time of record in microseconds; None: now. What has expired is not left out here: whether an entry is in its
window is a question of its own (`Entry.active`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import and_, bindparam, func, select, tuple_, union

from authz.addresses import BITS, Address
from authz.control.model.records import FOREVER, Entry
from authz.control.store.entries.network_keys import covering_keys, key_of, keys_inside
from authz.control.store.tables import entries, entry_networks, prefix_lengths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sqlalchemy import ColumnElement, Connection, Select

    from authz.addresses import Network

_DECODE = msgspec.json.Decoder(Entry).decode
_AT_ONCE: Final = 500  # ids in one question
# Rows in the first one: PostgreSQL is asked three times for rows one by one, by a cursor of its own, and once without.
_AT_FIRST: Final = 50
# No index answers a sum. Without it SQLite takes one that begins with recorded_to and reads every entry that holds,
# where the id or the likeness beside it finds one row.
_HOLDS_NOW = entries.c.recorded_to + 0 == FOREVER
_LATEST: Final = select(func.max(entries.c.version)).where(entries.c.id == bindparam("of"))
_LIKE: Final = (
    select(entries.c.content)
    .where(entries.c.likeness == bindparam("like"), _HOLDS_NOW, entries.c.expires > bindparam("now"))
    .limit(1)
)


MAX_ROWS: Final = 20_000  # that are read for one page


class Filter(NamedTuple):
    """What entries are asked for; None: whatever.

    Attributes:
        network: An address (a network of full length) that they cover, or a network that they cover or lie in.
        unexpired_at: Seconds; without what expired before.
    """

    tenant: str | None = None
    layer: str | None = None
    list: str | None = None
    application: str | None = None
    owner: str | None = None
    origin: str | None = None
    network: Network | None = None
    at: int | None = None
    unexpired_at: int | None = None


def get_entry(tx: Connection, entry_id: str, *, at: int | None = None) -> Entry | None:
    """Return the version of an entry that holds; None: there is none."""
    holds = _HOLDS_NOW if at is None else _holds(at)
    row = tx.execute(select(entries.c.content).where(entries.c.id == entry_id, holds)).first()
    return None if row is None else _DECODE(row.content)


def get_entries(tx: Connection, ids: Iterable[str], *, at: int | None = None) -> dict[str, Entry]:
    """Return the entries that hold, by their id; one that is (or was) on no list is left out."""
    holds = _HOLDS_NOW if at is None else _holds(at)
    holding, wanted = dict[str, Entry](), sorted(set(ids))
    for start in range(0, len(wanted), _AT_ONCE):
        some = entries.c.id.in_(wanted[start : start + _AT_ONCE])
        query = select(entries.c.id, entries.c.content).where(some, holds)
        holding |= {row.id: _DECODE(row.content) for row in tx.execute(query)}
    return holding


def changed_since(tx: Connection, at: int, tenant: str | None, layer: str | None, *, limit: int) -> list[str]:
    """Return the ids of entries of which a version began or ended after a time of record, at most `limit`."""
    begun = entries.c.recorded_from > at
    ended = and_(entries.c.recorded_to > at, entries.c.recorded_to < FOREVER)
    queries = [select(entries.c.id).where(when) for when in (begun, ended)]
    for column, value in (("tenant", tenant), ("layer", layer)):
        if value is not None:
            queries = [query.where(entries.c[column] == value) for query in queries]
    return list(tx.execute(union(*queries).limit(limit)).scalars())


def first_version(tx: Connection, entry_id: str) -> Entry | None:
    """Return an entry as it was at first; None: it never was, or that is too long ago to be kept."""
    where = and_(entries.c.id == entry_id, entries.c.version == 1)
    row = tx.execute(select(entries.c.content).where(where)).first()
    return None if row is None else _DECODE(row.content)


def added_since(tx: Connection, network: Network, since: int) -> list[Entry]:
    """Return the first versions of entries that name this very network and were made at `since` or later."""
    named = select(entry_networks.c.id).where(entry_networks.c.key == key_of(network), entry_networks.c.version == 1)
    where = and_(entries.c.id.in_(named), entries.c.version == 1, entries.c.recorded_from >= since)
    return [_DECODE(row.content) for row in tx.execute(select(entries.c.content).where(where))]


def latest_version(tx: Connection, entry_id: str) -> int:
    """Return the highest version that an entry ever had; 0: there never was one."""
    highest: int | None = tx.execute(_LATEST, {"of": entry_id}).scalar_one()
    return highest or 0


def like_entry(tx: Connection, likeness: bytes, now: int) -> Entry | None:
    """Return an entry that says the same and still holds. now: seconds."""
    row = tx.execute(_LIKE, {"like": likeness, "now": now}).first()
    return None if row is None else _DECODE(row.content)


def find_entries(tx: Connection, wanted: Filter, *, after: str = "", limit: int = 100) -> list[Entry]:
    """Return entries by their id, those behind `after`, at most `limit`."""
    query = filtered(tx, wanted).where(entries.c.id > after).order_by(entries.c.id)
    matching: list[Entry] = []
    for entry in _matching(tx, query, wanted):
        matching.append(entry)
        if len(matching) == limit:
            break
    return matching


def find_page_by_id(
    tx: Connection, wanted: Filter, *, after: str = "", limit: int = 100
) -> tuple[list[Entry], str | None]:  # fmt: skip
    """Return entries by their id, those behind `after`, at most `limit`, and the id that the next page begins behind.

    None: there is no other. What only rows tell (application, owner, origin) is looked for among the next `MAX_ROWS`:
    a page may have fewer entries than that, or none, and others may follow.
    """
    query = filtered(tx, wanted).where(entries.c.id > after).order_by(entries.c.id).limit(MAX_ROWS + 1)
    matching: list[Entry] = []
    last = after
    with tx.execute(query.execution_options(yield_per=500)) as rows:
        for number, row in enumerate(rows):
            if number == MAX_ROWS or len(matching) == limit:
                return matching, last
            entry = _DECODE(row.content)
            last = entry.id
            if matches(entry, wanted):
                matching.append(entry)
    return matching, None


def each_entry(tx: Connection, wanted: Filter) -> Iterator[Entry]:
    """Give all entries, by their id."""
    return _matching(tx, filtered(tx, wanted).order_by(entries.c.id), wanted)


def ended_between(tx: Connection, tenant: str | None, layer: str, since: int, until: int) -> list[Entry]:
    """Return the entries that hold and expired after a time, up to another. Both: seconds."""
    expired = and_(entries.c.expires > since, entries.c.expires <= until)
    where = and_(entries.c.recorded_to == FOREVER, expired, entries.c.layer == layer)
    query = select(entries.c.content).where(where if tenant is None else where & (entries.c.tenant == tenant))
    return [_DECODE(row.content) for row in tx.execute(query.order_by(entries.c.expires, entries.c.id))]


def contents_of_layer(tx: Connection, layer: str, at: int, now: int) -> list[str]:
    """Return the JSON of all entries that a layer has at a time of record and that have not expired. now: seconds."""
    where = and_(_holds(at), entries.c.layer == layer, entries.c.expires > now)
    return list(tx.execute(select(entries.c.content).where(where)).scalars())


def count_live(tx: Connection, layer: str, now: int) -> int:
    """Return how many entries of a layer hold and have not expired. now: seconds."""
    where = and_(entries.c.recorded_to == FOREVER, entries.c.expires > now, entries.c.layer == layer)
    return tx.execute(select(func.count()).select_from(entries).where(where)).scalar_one()


def covering_ids(tx: Connection, network: Network) -> Select[tuple[str]]:
    """Return the query for the ids of entries that ever covered the network or lay in it."""
    return select(entry_networks.c.id).where(_touches(tx, network))


def _holds(at: int | None, *, by_index: bool = True) -> ColumnElement[bool]:
    """Say that a version holds. by_index: False: whatever else is asked for is found first, by its keys."""
    if at is None:
        return (entries.c.recorded_to if by_index else entries.c.recorded_to + 0) == FOREVER
    return and_(entries.c.recorded_from <= at, entries.c.recorded_to > at)


def filtered(tx: Connection, wanted: Filter) -> Select[tuple[str]]:
    """Return the query for the content of entries, by all of a filter that columns tell."""
    query = select(entries.c.content).where(_holds(wanted.at, by_index=wanted.network is None))
    for column in ("tenant", "layer", "list"):
        value = getattr(wanted, column)
        if value is not None:
            query = query.where(entries.c[column] == value)
    if wanted.unexpired_at is not None:
        query = query.where(entries.c.expires > wanted.unexpired_at)
    if wanted.network is not None:
        held = entry_networks.c.recorded_to
        holds = held == FOREVER if wanted.at is None else held > wanted.at
        pairs = select(entry_networks.c.id, entry_networks.c.version).where(_touches(tx, wanted.network), holds)
        query = query.where(tuple_(entries.c.id, entries.c.version).in_(pairs))
    return query


def _matching(tx: Connection, query: Select[tuple[str]], wanted: Filter) -> Iterator[Entry]:
    """Give what a query in the order of ids finds and columns cannot tell: few in one question, the rest row by row."""
    first = [_DECODE(row.content) for row in tx.execute(query.limit(_AT_FIRST))]
    yield from (entry for entry in first if matches(entry, wanted))
    if len(first) < _AT_FIRST:
        return
    with tx.execute(query.where(entries.c.id > first[-1].id).execution_options(yield_per=_AT_ONCE)) as rows:
        yield from (entry for row in rows if matches(entry := _DECODE(row.content), wanted))


def matches(entry: Entry, wanted: Filter) -> bool:
    """Return whether an entry is what columns cannot tell."""
    if wanted.application and entry.applications and wanted.application not in entry.applications:
        return False
    return wanted.owner in {None, entry.owner} and wanted.origin in {None, entry.origin}


def _touches(tx: Connection, network: Network) -> ColumnElement[bool]:
    """Say that a network of an entry covers this one or, where this is not a single address, lies in it."""
    lengths: Sequence[int] = tx.execute(select(prefix_lengths.c.length)).scalars().all()
    most = network.length + (96 if network.version == 4 else 0)
    keys = covering_keys(Address(network.version, network.value, ""), [length for length in lengths if length <= most])
    covers = entry_networks.c.key.in_(keys)
    if network.length == BITS[network.version]:
        return covers
    first, last = keys_inside(network)
    return covers | entry_networks.c.key.between(first, last)
