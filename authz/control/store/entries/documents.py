"""Documents of the policy: settings of applications (`application:shop`) and the rest (`settings:policy`).

They are written as changes, like entries, and have the same history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, bindparam, select

from authz.control.model.records import FOREVER
from authz.control.store.tables import documents

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection


# Each change asks for some: making the statement again takes longer than asking.
_NOW: Final = select(documents.c.content).where(documents.c.name == bindparam("of"), documents.c.recorded_to == FOREVER)


def get_document(tx: Connection, name: str, *, at: int | None = None) -> str:
    """Return the JSON of a document that holds at a time (microseconds; None: now); empty: there is none."""
    query = _NOW if at is None else select(documents.c.content).where(documents.c.name == bindparam("of"), _holds(at))
    row = tx.execute(query, {"of": name}).first()
    return "" if row is None else row.content


def find_documents(tx: Connection, prefix: str, *, at: int | None = None) -> dict[str, str]:
    """Return documents by the rest of their name behind `prefix`."""
    named = and_(documents.c.name >= prefix, documents.c.name < prefix + "\U0010ffff")
    rows = tx.execute(select(documents.c.name, documents.c.content).where(named, _holds(at)).order_by(documents.c.name))
    return {row.name.removeprefix(prefix): row.content for row in rows}


def _holds(at: int | None) -> ColumnElement[bool]:
    if at is None:
        return documents.c.recorded_to == FOREVER
    return and_(documents.c.recorded_from <= at, documents.c.recorded_to > at)
