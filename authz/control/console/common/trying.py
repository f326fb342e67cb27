"""What an entry would do, tried without writing it: one that is being written, or waits for a second person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from authz.control.api.common.bodies import EntryInput
from authz.control.api.common.operations import (
    AddBan,
    AddEntry,
    ChangeEntry,
    Operation,
    all_of,
    foreseen,
    patched,
    written_of,
)
from authz.control.api.common.touched import YesterdayBody, yesterday_of
from authz.control.lists.entries import layers_of
from authz.control.lists.preview import Preview, preview
from authz.control.model.records import SUBJECTS, Written
from authz.control.store.access.tokens import get_tenant

if TYPE_CHECKING:
    from authz.control.console.common.session import Asked
    from authz.control.lists.batch import Batch


class Tried(NamedTuple):
    """What an entry would do."""

    preview: Preview
    yesterday: YesterdayBody | None


def try_entry(asked: Asked, data: EntryInput, changed: str) -> Tried:
    """Try an entry. changed: the id of the one that it would replace; empty: none. Raises Problem."""

    def use(batch: Batch) -> Preview:
        entry = batch.entry(changed) if changed else None
        return preview(batch, written_of(data, batch), entry)

    layers = layers_of(asked.plane.config.rules())
    shown = asked.plane.consider(asked.caller, use, layers=layers, force=data.force, foreseen=all_of(data))
    named = Written(**{name: getattr(data, name) for name in (*SUBJECTS, "except_", "applications")})
    return Tried(shown, yesterday_of(asked.plane, asked.caller, named))


def try_waiting(asked: Asked, request: dict[str, Any], tenant: str) -> Preview | None:
    """Try what waits for a second person, for the tenant that asked; None: it takes an entry away. Raises Problem."""
    operation = msgspec.convert(request, Operation)
    if isinstance(operation, AddBan):
        content = {name: value for name, value in request["data"].items() if name != "address"}
        operation = AddEntry(msgspec.convert(content | {"networks": [operation.data.address]}, EntryInput))
    if not isinstance(operation, AddEntry | ChangeEntry):
        return None
    wanted = operation

    def use(batch: Batch) -> Preview:
        batch.tenant = get_tenant(batch.tx, tenant) or batch.tenant
        if isinstance(wanted, ChangeEntry):
            before = batch.entry(wanted.id)
            return preview(batch, patched(before, wanted.data, batch), before)
        return preview(batch, written_of(wanted.data, batch))

    layers = layers_of(asked.plane.config.rules())
    return asked.plane.consider(
        asked.caller, use, layers=layers, force=wanted.data.force, approved=True, foreseen=foreseen(wanted)
    )  # fmt: skip
