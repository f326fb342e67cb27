"""Whether history is whole: the chain of hashes, and the state compared with what follows from the changes alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import create_engine, select

from authz.control.store.ledger.chain import FIRST_HASH, chained
from authz.control.store.ledger.changes import COLUMNS, changes_of, read_heads
from authz.control.store.ledger.checkpoints import SignedCheckpoint, contradiction, list_checkpoints, verified
from authz.control.store.ledger.follow import follow
from authz.control.store.published.publications import newest_publication
from authz.control.store.tables import changes, documents, entries, entry_networks, metadata
from authz.errors import InputError
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from authz.control.config import ControlConfig
    from authz.control.model.records import Change
    from authz.control.store.ledger.changes import Head

_FOLLOWS = (entries, entry_networks, documents)


class Checked(NamedTuple):
    """What was found.

    Attributes:
        problems: Empty: all is well.
    """

    changes: int
    problems: list[str]


def check_store(tx: Connection) -> Checked:
    """Check the chain of every layer, and rebuild the state from the changes in memory."""
    count, problems, whole = 0, list[str](), True
    rebuilt = rebuild_engine()
    try:
        for layer, head in sorted(read_heads(tx).items()):
            last, before = None, FIRST_HASH
            for change in _changes(tx, layer):
                if last is None and chained(FIRST_HASH, change) != change.hash:
                    whole = False  # retention took what was before it
                elif chained(before, change) != change.hash:
                    problems.append(f"layer {layer}: change {change.sequence} does not continue the chain")
                last, before, count = change, change.hash, count + 1
                with rebuilt.begin() as state:
                    follow(state, [change])
            problems += _head_problems(tx, head, last)
        problems += [
            text for checkpoint in list_checkpoints(tx, limit=100_000) if (text := contradiction(tx, checkpoint))
        ]
        if whole:
            with rebuilt.begin() as state:
                problems += _differences(tx, state)
    finally:
        rebuilt.dispose()
    return Checked(count, problems)


def rebuild_engine() -> Engine:
    """Return an empty store in memory."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    return engine


def _changes(tx: Connection, layer: str) -> Iterator[Change]:
    query = select(*COLUMNS).where(changes.c.layer == layer).order_by(changes.c.sequence)
    yield from changes_of(tx.execute(query.execution_options(yield_per=1000)))


def _head_problems(tx: Connection, head: Head, last: Change | None) -> Iterator[str]:
    if last is not None and (last.sequence, last.hash) != (head.sequence, head.hash):
        yield f"layer {head.layer}: the newest change is {last.sequence}, expected {head.sequence}"
    newest = newest_publication(tx, head.layer)
    if newest is not None and newest.serial > head.sequence:
        yield f"layer {head.layer}: serial {newest.serial} is published, expected at most {head.sequence}"


def _differences(tx: Connection, state: Connection) -> Iterator[str]:
    for table in _FOLLOWS:
        found, expected = ({tuple(row) for row in connection.execute(select(table))} for connection in (tx, state))
        for what, rows in (("is not what the changes say", found - expected), ("is missing", expected - found)):
            for row in sorted(rows, key=repr)[:10]:
                yield f"table {table.name}: {row[0]!r} version {row[1]!r} {what}"


def compare_checkpoints(tx: Connection, config: ControlConfig, file: Path) -> list[str]:
    """Return how history differs from checkpoints that were kept elsewhere.

    Args:
        tx: A transaction of the store.
        config: Names the layers and their keys.
        file: The checkpoints, as JSON.

    Raises:
        InputError: The file has no checkpoints, or one is of a layer that control.yaml does not have or not signed by
            its key.
    """
    try:
        kept = msgspec.json.decode(file.read_bytes(), type=list[SignedCheckpoint])
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{file}: found no checkpoints: {error}") from error
    problems = []
    for checkpoint in kept:
        layer = next((layer for layer in config.layers if layer.name == checkpoint.layer), None)
        if layer is None:
            raise InputError(
                f"{file}: found a checkpoint of the layer '{checkpoint.layer}', which control.yaml does not have"
            )
        public = layer.public_key or str(Path(layer.key).with_suffix(".pub"))
        problems.append(contradiction(tx, verified(checkpoint.envelope, [load_public_key(Path(public))])))
    return [problem for problem in problems if problem]
