"""Parts of published files: kept while the newest file of the layer requires them, and for a while after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import delete, insert, select, update

from authz.control.model.records import MICROSECONDS
from authz.control.store.tables import part_contents, parts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection

GRACE: Final = 600 * MICROSECONDS  # that a part stays for sidecars that still read the file before


class Part(NamedTuple):
    """A part of a layer.

    Attributes:
        digest: Of its manifest.
    """

    serial: int
    digest: str


def add_part(tx: Connection, layer: str, part: Part, content: bytes, now: int) -> None:
    """Keep a part that is new. now: microseconds."""
    tx.execute(insert(parts).values(layer=layer, serial=part.serial, digest=part.digest, created=now, dropped=0))
    tx.execute(insert(part_contents).values(layer=layer, serial=part.serial, content=content))


def known_parts(tx: Connection, layer: str) -> set[Part]:
    """Return the parts of a layer that are kept."""
    rows = tx.execute(select(parts.c.serial, parts.c.digest).where(parts.c.layer == layer))
    return {Part(*row) for row in rows}


def require_only(tx: Connection, layer: str, required: Collection[int], now: int) -> None:
    """Note which parts the newest file requires; let go of those that none has required for `GRACE`."""
    of_layer = parts.c.layer == layer
    tx.execute(update(parts).where(of_layer, parts.c.dropped != 0, parts.c.serial.in_(required)).values(dropped=0))
    tx.execute(update(parts).where(of_layer, parts.c.dropped == 0, parts.c.serial.not_in(required)).values(dropped=now))
    old = select(parts.c.serial).where(of_layer, parts.c.dropped != 0, parts.c.dropped < now - GRACE)
    gone = list(tx.execute(old).scalars())
    for table in (part_contents, parts) if gone else ():
        tx.execute(delete(table).where(table.c.layer == layer, table.c.serial.in_(gone)))


def part_content(tx: Connection, layer: str, serial: int) -> bytes | None:
    """Return a part; None: it is not kept."""
    where = (part_contents.c.layer == layer) & (part_contents.c.serial == serial)
    content = tx.execute(select(part_contents.c.content).where(where)).scalar_one_or_none()
    return None if content is None else bytes(content)
