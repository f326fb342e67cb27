"""Signed files as they were published, and which sidecar serves which."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from authz.control.store.tables import heads, publications, sidecars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

KEPT_CONTENTS = 16  # files of a layer that are kept whole; of older ones, what they were
LATE = 60_000_000  # microseconds that a sidecar's report may be on its way within and between control planes


class Publication(NamedTuple):
    """A published file.

    Attributes:
        created: Microseconds.
        chain: Hash of the layer's changes up to it.
        entries: Parts included.
        parts: JSON list of the serials of the parts that it requires.
    """

    layer: str
    serial: int
    digest: str
    created: int
    chain: str
    entries: int
    size: int
    parts: str = "[]"

    def part_serials(self) -> list[int]:
        """Return the serials of the parts that it requires."""
        return msgspec.json.decode(self.parts, type=list[int])


class Sidecar(NamedTuple):
    """What a sidecar serves of a layer.

    Attributes:
        refusal: Code.
        since, seen: Microseconds.
        shown: Whether it shows a token.
    """

    name: str
    layer: str
    serial: int
    refusal: str
    since: int
    seen: int
    shown: bool = False


_ROW = tuple(publications.c[name] for name in Publication._fields)
_NEWEST = select(*_ROW).where(publications.c.layer == bindparam("of")).order_by(publications.c.serial.desc()).limit(1)


def add_publication(tx: Connection, publication: Publication, content: bytes) -> None:
    """Keep a file that was signed, and let go of the content of old ones."""
    tx.execute(insert(publications).values(**publication._asdict(), content=content))
    of_layer = publications.c.layer == publication.layer
    # One more is one too many: those before it have lost their content already, however many they are.
    newest = select(publications.c.serial).where(of_layer).order_by(publications.c.serial.desc())
    old = tx.execute(newest.offset(KEPT_CONTENTS).limit(1)).scalar_one_or_none()
    if old is not None:
        tx.execute(update(publications).where(of_layer, publications.c.serial == old).values(content=None))


def newest_publication(tx: Connection, layer: str) -> Publication | None:
    """Return what was published last."""
    row = tx.execute(_NEWEST, {"of": layer}).first()
    return None if row is None else Publication(*row)


def published_serials(tx: Connection) -> dict[str, int]:
    """Return the newest published serial of each layer."""
    serials = {}
    for layer in tx.execute(select(heads.c.layer)).scalars():  # grouping would read all publications there ever were
        newest = select(func.max(publications.c.serial)).where(publications.c.layer == layer)
        serial = tx.execute(newest).scalar_one()
        if serial is not None:
            serials[layer] = serial
    return serials


def list_publications(
    tx: Connection, layer: str | None, *, before: int | None = None, limit: int = 100
) -> list[Publication]:
    """Return publications, newest first. before: microseconds."""
    query = select(*_ROW).order_by(publications.c.created.desc(), publications.c.layer).limit(limit)
    if layer is not None:
        query = query.where(publications.c.layer == layer)
    if before is not None:
        query = query.where(publications.c.created < before)
    return [Publication(*row) for row in tx.execute(query)]


def content_of(tx: Connection, layer: str, serial: int) -> bytes | None:
    """Return a file; None: it is not kept."""
    where = (publications.c.layer == layer) & (publications.c.serial == serial)
    content = tx.execute(select(publications.c.content).where(where)).scalar_one_or_none()
    return None if content is None else bytes(content)


def serial_of_digest(tx: Connection, layer: str, digest: str) -> int | None:
    """Return the serial of the file with this digest."""
    where = (publications.c.layer == layer) & (publications.c.digest == digest)
    serials = tx.execute(select(publications.c.serial).where(where)).scalars()  # the highest, of a few at most: asked
    return max(serials, default=None)  # for it, a database walks from the newest one on


def put_sidecar(tx: Connection, sidecar: Sidecar) -> None:
    """Keep what a sidecar says of itself, unless it has said something later to another control plane."""
    which = (sidecars.c.name == sidecar.name) & (sidecars.c.layer == sidecar.layer)
    known = tx.execute(select(sidecars.c.seen).where(which)).scalar()
    if known is None:
        tx.execute(insert(sidecars).values(**sidecar._asdict()))
    elif not overtaken(sidecar.seen, known):
        tx.execute(update(sidecars).where(which).values(**sidecar._asdict()))


def overtaken(at: int, known: int) -> bool:
    """Return whether a report came after a later one was noted. Both: when they were made, in microseconds.

    A clock that was set back by more than `LATE` does not keep a sidecar from being heard.
    """
    return 0 < known - at < LATE


def list_sidecars(tx: Connection, seen_since: int) -> list[Sidecar]:
    """Return what sidecars serve, those that were seen since a time."""
    query = select(sidecars).where(sidecars.c.seen >= seen_since).order_by(sidecars.c.name, sidecars.c.layer)
    return [Sidecar(*row) for row in tx.execute(query)]


def counted(sidecars: Sequence[Sidecar]) -> list[Sidecar]:
    """Return the sidecars that showed a token; where none did, all."""
    return [sidecar for sidecar in sidecars if sidecar.shown] or [*sidecars]


def forget_sidecar(tx: Connection, name: str, layer: str) -> None:
    """Let go of what a sidecar said of a layer."""
    tx.execute(delete(sidecars).where(sidecars.c.name == name, sidecars.c.layer == layer))


def forget_sidecars(tx: Connection, seen_before: int) -> None:
    """Let go of sidecars that were not seen for long."""
    tx.execute(delete(sidecars).where(sidecars.c.seen < seen_before))


def publication_at(tx: Connection, layer: str, at: int) -> Publication | None:
    """Return what was published last at a time (microseconds)."""
    where = (publications.c.layer == layer) & (publications.c.created <= at)
    row = tx.execute(select(*_ROW).where(where).order_by(publications.c.created.desc()).limit(1)).first()
    return None if row is None else Publication(*row)
