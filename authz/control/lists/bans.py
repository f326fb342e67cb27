"""The short form: ban one address or network for a time, and end that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.control.lists.entries import add, delete
from authz.control.lists.rules.check import parsed_network
from authz.control.lists.rules.periods import DEFAULT_PERIOD, end_of
from authz.control.model.problems import Missing
from authz.control.model.records import Written

if TYPE_CHECKING:
    from authz.control.lists.batch import Batch
    from authz.control.model.records import Entry
    from authz.engine.model import ListName


def ban(
    batch: Batch, address: str, *, applications: tuple[str, ...] = (), period: str | None = None,
    expires: str | None = None, reason: str = "", list_: ListName = "deny", author: str = "",
) -> Entry:  # fmt: skip
    """Put an address or network on the deny (or gray) list. Raises what `add` does.

    period: such as 2h; without it and `expires` one hour. It goes into the layer of bans, whose limits hold.
    """
    written = Written(
        list=list_,
        networks=(parsed_network(address, "/address"),),
        applications=applications,
        expires=end_of(period, expires, batch.seconds, default=DEFAULT_PERIOD),
        reason=reason,
        author=author or batch.actor.name,
    )
    return add(batch, written, layer=batch.rules.bans)


def unban(batch: Batch, entry_id: str, reason: str = "") -> Entry:
    """End a ban. Raises Missing if the entry is not a ban."""
    entry = batch.entry(entry_id)
    if entry.layer != batch.rules.bans:
        raise Missing(f"'{entry_id}' is not a ban", hint=f"DELETE /v1/entries/{entry_id} deletes it")
    return delete(batch, entry, reason)
