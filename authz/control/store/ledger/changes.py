"""The one way to write: a batch of changes to one layer, in one transaction.

    head = lock_head(tx, "bans")             # waits for other writers of the layer; from here on we are alone
    ... read what the change depends on ...
    made = append(tx, head, actor, drafts, now)

The head row is locked first, so sequences have no gaps and commit in their order: a reader of `sequence > last` misses
nothing. Times of record never go back, whatever the clock does. Each change's hash covers the hash before it:

    hash(n) = SHA-256(hash(n - 1) as text, line feed, JSON of the change without its hash)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import bindparam, insert, select, update

from authz.control.model.records import MICROSECONDS, Change
from authz.control.store.ledger.chain import FIRST_HASH, chained
from authz.control.store.ledger.follow import follow
from authz.control.store.tables import changes, heads

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

    from authz.control.model.records import Actor, Draft

COLUMNS: Final = tuple(changes.columns[name] for name in Change.__struct_fields__)


# Statements that each change needs are made once: making one takes longer than the question.
_LOCK: Final = (
    select(heads)
    .where(heads.c.layer.in_(bindparam("layers", expanding=True)))
    .order_by(heads.c.layer)
    .with_for_update()
)
_ADD: Final = insert(changes)
_MOVE: Final = update(heads).where(heads.c.layer == bindparam("of"))
_BETWEEN: Final = (
    select(*COLUMNS)
    .where(
        changes.c.layer == bindparam("of"),
        changes.c.sequence > bindparam("after"),
        changes.c.sequence <= bindparam("until"),
    )
    .order_by(changes.c.sequence)
)


class Head(NamedTuple):
    """Where a layer stands.

    Attributes:
        time: Of its newest change, in microseconds.
    """

    layer: str
    sequence: int
    time: int
    hash: str


def add_layer(tx: Connection, layer: str, now: int) -> None:
    """Make the head row of a new layer; a second call is harmless. now: microseconds.

    Sequences begin at the seconds since 1970: if a store was lost and is made again, its serials are still above those
    that sidecars have accepted (docs/decisions/0002).
    """
    if tx.execute(select(heads.c.layer).where(heads.c.layer == layer)).first() is None:
        tx.execute(insert(heads).values(layer=layer, sequence=now // MICROSECONDS, time=0, hash=FIRST_HASH))


def lock_head(tx: Connection, layer: str) -> Head:
    """Wait for other writers of the layer, and return where it stands."""
    return lock_heads(tx, (layer,))[layer]


def lock_heads(tx: Connection, layers: Iterable[str]) -> dict[str, Head]:
    """Wait for other writers of these layers, one after the other by their names, and return where they stand."""
    return {row.layer: Head(*row) for row in tx.execute(_LOCK, {"layers": sorted(set(layers))})}


def go_on_above(tx: Connection, layer: str, serial: int) -> Head:
    """Have the sequences of a layer go on above a serial, where they are not there yet; return where it stands."""
    head = lock_head(tx, layer)
    if serial > head.sequence:
        tx.execute(update(heads).where(heads.c.layer == layer).values(sequence=serial))
    return head._replace(sequence=max(serial, head.sequence))


def read_heads(tx: Connection, layers: Iterable[str] | None = None) -> dict[str, Head]:
    """Return where these layers stand; None: all."""
    wanted = None if layers is None else set(layers)
    return {row.layer: Head(*row) for row in tx.execute(select(heads)) if wanted is None or row.layer in wanted}


def append(tx: Connection, head: Head, actor: Actor, drafts: Sequence[Draft], now: int) -> list[Change]:
    """Write changes behind a locked head, and the entries and documents that follow. now: microseconds."""
    if not drafts:
        return []
    time, made, last = max(now, head.time + 1), [], head.hash
    for number, draft in enumerate(drafts, head.sequence + 1):
        change = Change(
            layer=head.layer, sequence=number, time=time, tenant=actor.tenant, actor=actor.name,
            actor_kind=actor.kind, method=actor.method, request_id=actor.request_id, **draft._asdict(),
        )  # fmt: skip
        last = chained(last, change)
        made.append(msgspec.structs.replace(change, hash=last))
    tx.execute(_ADD, [msgspec.structs.asdict(change) for change in made])
    follow(tx, made)
    tx.execute(_MOVE, {"of": head.layer, "sequence": made[-1].sequence, "time": time, "hash": last})
    return made


def read_changes(tx: Connection, layer: str, after: int, until: int) -> list[Change]:
    """Return the changes of a layer with a sequence above `after`, up to `until`."""
    return list(changes_of(tx.execute(_BETWEEN, {"of": layer, "after": after, "until": until})))


def changes_of(rows: Iterable[Sequence[object]]) -> Iterable[Change]:
    """Return rows of `COLUMNS` as changes."""
    names = Change.__struct_fields__
    return (Change(**dict(zip(names, row, strict=True))) for row in rows)  # type: ignore[arg-type]
