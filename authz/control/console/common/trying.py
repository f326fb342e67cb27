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


class _Nothing(msgspec.Struct, frozen=True):
    pass


def try_entry(asked: Asked, data: EntryInput, changed: str) -> Tried:
    """Try an entry. changed: the id of the one that it would replace; empty: none. Raises Problem."""
    shown: list[Preview] = []

    def use(batch: Batch) -> tuple[int, msgspec.Struct]:
        entry = batch.entry(changed) if changed else None
        shown.append(preview(batch, written_of(data, batch), entry))
        batch.discard()
        return 200, _Nothing()

    layers = layers_of(asked.plane.config.rules())
    asked.plane.mutate(asked.caller, use, layers=layers, force=data.force, foreseen=all_of(data))
    named = Written(**{name: getattr(data, name) for name in (*SUBJECTS, "except_", "applications")})
    return Tried(shown[0], yesterday_of(asked.plane, asked.caller, named))


def try_waiting(asked: Asked, request: dict[str, Any], tenant: str) -> Preview | None:
    """Try what waits for a second person, for the tenant that asked; None: it takes an entry away. Raises Problem."""
    operation = msgspec.convert(request, Operation)
    if isinstance(operation, AddBan):
        content = {name: value for name, value in request["data"].items() if name != "address"}
        operation = AddEntry(msgspec.convert(content | {"networks": [operation.data.address]}, EntryInput))
    if not isinstance(operation, AddEntry | ChangeEntry):
        return None
    wanted, shown = operation, list[Preview]()

    def use(batch: Batch) -> tuple[int, msgspec.Struct]:
        batch.tenant = get_tenant(batch.tx, tenant) or batch.tenant
        if isinstance(wanted, ChangeEntry):
            before = batch.entry(wanted.id)
            shown.append(preview(batch, patched(before, wanted.data, batch), before))
        else:
            shown.append(preview(batch, written_of(wanted.data, batch)))
        batch.discard()
        return 200, _Nothing()

    layers = layers_of(asked.plane.config.rules())
    asked.plane.mutate(
        asked.caller, use, layers=layers, force=wanted.data.force, approved=True, foreseen=foreseen(wanted)
    )  # fmt: skip
    return shown[0]
