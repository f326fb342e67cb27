"""What pages of entries read from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from authz.control.model.problems import Missing
from authz.control.model.records import APPLICATION, MICROSECONDS, SETTINGS, Entry
from authz.control.store.entries.documents import find_documents, get_document
from authz.control.store.entries.find import get_entries, get_entry
from authz.engine.model import ANY_APPLICATION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.control.console.common.session import Asked


class Known(NamedTuple):
    """What a form can offer.

    Attributes:
        sources: That a feed gives.
        databases: `country`, `asn`, where the policy has them.
    """

    applications: list[str]
    sources: list[str]
    databases: list[str]


def known_of(asked: Asked) -> Known:
    """Return what the policy knows by name."""
    with asked.plane.store.reading() as tx:
        applications = applications_of(asked, tx)
        settings = msgspec.json.decode(get_document(tx, SETTINGS) or b"{}")
    sources = sorted({feed["source"] for feed in settings.get("feeds", ())})
    databases = [name for name, path in settings.get("geo", {}).items() if path]
    return Known(applications, sources, databases)


def applications_of(asked: Asked, tx: Connection) -> list[str]:
    """Return the names of the applications that the caller may see."""
    return [name for name in find_documents(tx, APPLICATION) if name != ANY_APPLICATION and asked.caller.owns(name)]


def entry_of(asked: Asked, entry_id: str, at: int | None = None) -> Entry:
    """Return an entry. at: as of a time, in microseconds. Raises Missing, also for another tenant's."""
    with asked.plane.store.reading() as tx:
        entry = get_entry(tx, entry_id, at=at)
    if entry is None or asked.caller.sees not in {None, entry.tenant}:
        raise Missing(f"there is no entry '{entry_id[:64]}'", code="not_found")
    return entry


def names_of(asked: Asked, tx: Connection, ids: Iterable[str]) -> dict[str, Entry]:
    """Return the entries that a page refers to and the caller may see, so that it can say whom each names."""
    entries = get_entries(tx, {entry_id for entry_id in ids if entry_id})
    return {entry_id: entry for entry_id, entry in entries.items() if asked.caller.sees in {None, entry.tenant}}


def seconds_of(asked: Asked, at: int | None = None) -> float:
    """Return the time that a page is about, in seconds."""
    return (at or asked.plane.store.now()) / MICROSECONDS
