"""What follows from changes: the versions of entries and documents. Given the same changes, it gives the same rows.

Writing uses it, and so does rebuilding the state from `changes` alone.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import bindparam, insert, text, update

from authz.addresses import parse_networks
from authz.control.model.records import FOREVER, SUBJECTS
from authz.control.store.entries.covered import note_covered
from authz.control.store.entries.network_keys import keys_of
from authz.control.store.tables import documents, entries, entry_networks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from authz.control.model.records import Change, Entry, Written

_END_ENTRY = (
    update(entries)
    .where(entries.c.id == bindparam("of"), entries.c.version == bindparam("was"))
    .values(recorded_to=bindparam("at"))
)
_END_NETWORKS = (
    update(entry_networks)
    .where(entry_networks.c.id == bindparam("of"), entry_networks.c.version == bindparam("was"))
    .values(recorded_to=bindparam("at"))
)
_ADD_ENTRY, _ADD_NETWORK = insert(entries), insert(entry_networks)
MAX_SORTED = 80  # characters of a text that people sort by
_ADD_LENGTH = text("INSERT INTO prefix_lengths (length) VALUES (:length) ON CONFLICT DO NOTHING")


def follow(tx: Connection, made: Sequence[Change]) -> None:
    """Write the versions that begin and end with these changes."""
    ended: list[dict[str, Any]] = []
    begun: list[tuple[Entry, int]] = []
    versions: list[tuple[Entry | None, Entry | None]] = []
    for change in made:
        if ":" in change.subject:
            _follow_document(tx, change)
            continue
        before, after = change.entry_before(), change.entry_after()
        versions.append((before, after))
        if before is not None:
            ended.append({"of": before.id, "was": before.version, "at": change.time})
        if after is not None:
            begun.append((after, change.time))
    if begun:
        tx.execute(_ADD_ENTRY, [entry_row(entry, time) for entry, time in begun])
        networks = [row for entry, _ in begun for row in network_rows(entry)]
        if networks:
            # Without a look first, for which all would wait; sorted, as writers of another layer may add some, too.
            tx.execute(_ADD_LENGTH, [{"length": length} for length in sorted({row["key"][16] for row in networks})])
            tx.execute(_ADD_NETWORK, networks)
    if ended:
        tx.execute(_END_ENTRY, ended)
        tx.execute(_END_NETWORKS, ended)
    if versions:
        note_covered(tx, versions, made[-1].time)


def likeness(entry: Written, tenant: str) -> bytes:
    """Return what two entries share that name the same subjects, on one list, for the same applications."""
    networks = sorted({str(network) for written in entry.networks for network in parse_networks(written)})
    named = {name: sorted(set(getattr(entry, name)), key=str) for name in SUBJECTS if name != "networks"}
    content = [tenant, entry.list, entry.action, networks, named, sorted(set(entry.applications))]
    return hashlib.sha256(msgspec.json.encode(content)).digest()


def sorting(entry: Written) -> dict[str, str]:
    """Return the columns that people sort by: networks by their address, before what is named otherwise."""
    keys = keys_of(entry.networks[:1])
    others = [f"~{name} {value}" for name in SUBJECTS if name != "networks" for value in getattr(entry, name)]
    subject = keys[0].hex() if keys else min(others, default="")
    applications = " ".join(entry.applications)
    columns = {"author": entry.author, "reason": entry.reason, "subject": subject, "applications": applications}
    return {name: text[:MAX_SORTED] for name, text in columns.items()}


def entry_row(entry: Entry, time: int) -> dict[str, Any]:
    """Return the row of a version that begins at a time (microseconds) and holds."""
    return {
        "id": entry.id,
        "version": entry.version,
        "recorded_from": time,
        "recorded_to": FOREVER,
        "layer": entry.layer,
        "tenant": entry.tenant,
        "list": entry.list,
        "expires": FOREVER if entry.expires is None else entry.expires,
        "likeness": likeness(entry, entry.tenant),
        "content": msgspec.json.encode(entry, order="deterministic").decode(),
        **sorting(entry),
    }


def network_rows(entry: Entry) -> list[dict[str, Any]]:
    """Return the rows of the networks of a version that holds."""
    common = {"id": entry.id, "version": entry.version, "recorded_to": FOREVER}
    return [{"key": key, **common} for key in keys_of(entry.networks)]


def _follow_document(tx: Connection, change: Change) -> None:
    name = change.subject
    held = (documents.c.name == name) & (documents.c.recorded_to == FOREVER)
    tx.execute(update(documents).where(held).values(recorded_to=change.time))
    if change.after:
        tx.execute(
            insert(documents).values(
                name=name,
                version=change.sequence,
                recorded_from=change.time,
                recorded_to=FOREVER,
                content=change.after,
            )
        )
