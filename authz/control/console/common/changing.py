"""Changes from a page: several operations in one change, and what the next page says of it.

The next page is told by its address, `?done=bans.17-19`, which changes were made; it says from history what they did,
whether every sidecar has them, and offers to take them back. So the message can be loaded again, and holds no secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from authz.control.access.approvals import ask_approval
from authz.control.api.common.operations import (
    AddBan,
    DeleteEntry,
    EndBan,
    Operation,
    forced,
    foreseen,
    layers_of,
    perform,
)
from authz.control.console.look.render import see_other
from authz.control.lists.entries import layers_of as layers_of_lists
from authz.control.lists.undo import can_be_undone, still_undoable, undo, would_be_again
from authz.control.model.problems import FieldMistake, Invalid, Missing, NeedsApproval
from authz.control.model.records import MICROSECONDS, Change
from authz.control.store.ledger.changes import read_changes
from authz.control.store.ledger.history import get_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from litestar import Response
    from sqlalchemy import Connection

    from authz.control.access.callers import Caller
    from authz.control.console.common.session import Asked
    from authz.control.lists.batch import Batch
    from authz.control.plane import ControlPlane

MAX_DONE: Final = 1000  # changes that one message is about
_PART: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.(\d{1,18})-(\d{1,18})")


class Made(NamedTuple):
    """Changes that were made to a layer: sequences `first` to `last`."""

    layer: str
    first: int
    last: int


class Notice(NamedTuple):
    """What a page says of changes that were just made.

    Attributes:
        undo: What takes them back; empty: nothing can.
    """

    done: str
    changes: list[Change]
    more: int
    undo: str


class Spread(NamedTuple):
    """How far changes have come.

    Attributes:
        behind: Sidecars that do not have them.
    """

    published: bool
    sidecars: int
    behind: list[str]
    problem: str


def carry_out(plane: ControlPlane, caller: Caller, operations: Sequence[Operation]) -> tuple[str, str]:
    """Do operations in one change. Return what was done, for `done=`, and the id of an approval that it waits for.

    One operation may wait for a second person; several may not. Raises Problem; then nothing was done.
    """
    rules = plane.config.rules()
    made: list[Made] = []

    def use(batch: Batch) -> tuple[int, msgspec.Struct]:
        before = {layer: batch.serial(layer) for layer in layers}
        body = [perform(batch, operation)[1] for operation in operations][-1]
        made.extend(Made(layer, before[layer] + 1, serial) for layer, serial in batch.serials().items())
        return 200, body

    layers = {layer for operation in operations for layer in layers_of(operation, rules)}
    try:
        force = any(map(forced, operations))
        plane.mutate(caller, use, layers=layers, force=force, foreseen=foreseen(*operations))
    except NeedsApproval as why:
        if len(operations) > 1:
            raise
        request = msgspec.json.encode(operations[0]).decode()
        with plane.store.writing() as tx:
            return "", ask_approval(tx, caller, why.message, request, plane.store.now())
    return written(made), ""


def need_for(caller: Caller, operation: Operation) -> None:
    """Raise Forbidden where the role may not do this."""
    caller.need("ban" if isinstance(operation, AddBan | EndBan) else "edit")


def take_back(plane: ControlPlane, caller: Caller, done: str) -> str:
    """Undo changes, the newest first; return what that did."""
    made = read(done)
    if not {span.layer for span in made} <= {layer.name for layer in plane.config.layers}:
        raise Missing("there is no such layer")
    again: list[Made] = []

    def use(batch: Batch) -> tuple[int, msgspec.Struct]:
        before = {span.layer: batch.serial(span.layer) for span in made}
        for span in reversed(made):
            for sequence in range(span.last, span.first - 1, -1):
                change = get_change(batch.tx, span.layer, sequence)
                if change is not None and can_be_undone(change):
                    undo(batch, span.layer, sequence)
        again.extend(Made(layer, before[layer] + 1, serial) for layer, serial in batch.serials().items())
        return 200, _NOTHING

    before = [(span.layer, sequence) for span in made for sequence in range(span.first, span.last + 1)]
    layers = {*layers_of_lists(plane.config.rules()), *(span.layer for span in made)}
    plane.mutate(caller, use, layers=layers, foreseen=lambda tx: would_be_again(tx, before))
    return written(again)


class _Nothing(msgspec.Struct, frozen=True):
    pass


_NOTHING: Final = _Nothing()


def written(made: Sequence[Made]) -> str:
    """Return changes as an address carries them."""
    return ",".join(f"{span.layer}.{span.first}-{span.last}" for span in made)


def read(done: str) -> list[Made]:
    """Return the changes of an address. Raises Invalid."""
    spans = []
    for part in done.split(",")[:8]:
        match = _PART.fullmatch(part)
        if match is None or not 0 <= int(match[3]) - int(match[2]) < MAX_DONE:
            raise Invalid([FieldMistake("?done", "found no changes, expected such as bans.17-19")])
        spans.append(Made(match[1], int(match[2]), int(match[3])))
    return spans


def notice_of(tx: Connection, caller: Caller, done: str, shown: int = 5) -> Notice | None:
    """Return what to say of changes; None: there is nothing to say, or not to this caller."""
    try:
        made = read(done)
    except Invalid:
        return None
    changes = [
        change
        for span in made  # one question for each: who writes the address says how many changes it names
        for change in read_changes(tx, span.layer, span.first - 1, span.last)
        if caller.sees in {None, change.tenant}
    ]
    told = [change for change in changes if ":" not in change.subject] or changes
    if not told:
        return None
    can = caller.may("edit") and any(map(can_be_undone, changes))
    return Notice(written(made), told[:shown], max(len(told) - shown, 0), written(made) if can else "")


def notice_by(asked: Asked, done: str) -> Notice | None:
    """Return what to say of changes, asking the store for them."""
    if not done:
        return None
    with asked.plane.store.reading() as tx:
        return notice_of(tx, asked.caller, done)


def undoable(asked: Asked, tx: Connection, changes: Sequence[Change]) -> dict[tuple[str, int], str]:
    """Return what takes back each of some changes that the caller can take back now, by layer and sequence."""
    if not asked.caller.may("edit"):
        return {}
    seconds = asked.plane.store.now() / MICROSECONDS
    made = [Made(change.layer, change.sequence, change.sequence) for change in still_undoable(tx, changes, seconds)]
    return {(span.layer, span.first): written([span]) for span in made}


def spread_of(plane: ControlPlane, caller: Caller, done: str) -> Spread:
    """Return how far changes have come: signed, and with which sidecars.

    Sidecars are named to the main tenant only. Raises Missing.
    """
    made = {span.layer: span.last for span in read(done)}
    if not made.keys() <= {layer.name for layer in plane.config.layers}:
        raise Missing("there is no such layer")
    offers = {layer: plane.offers.get(layer) for layer in made}
    published = all(o is not None and o.publication.serial >= made[layer] for layer, o in offers.items())
    connected = plane.sidecars.counted()
    late = {sidecar.name for sidecar in connected if sidecar.layer in made and sidecar.serial < made[sidecar.layer]}
    refused = [plane.publisher.problems[layer] for layer in made if layer in plane.publisher.problems]
    behind, problems = ["a sidecar"] * len(late), [problem.code for problem in refused]
    if caller.sees is None:
        behind, problems = sorted(late), [problem.message for problem in refused]
    count = len({sidecar.name for sidecar in connected})
    return Spread(published, count, behind, problems[0] if problems else "")


def afterwards(path: str, done: str, approval: str = "") -> Response[str]:
    """Answer with the page after a change: `path`, or what waits for a second person."""
    if approval:
        return see_other(f"/approvals/{approval}")
    return see_other(f"{path}{'&' if '?' in path else '?'}done={done}" if done else path)


def deletion(asked: Asked, entry_id: str, if_match: str | None, reason: str, *, take_over: bool = False) -> Operation:
    """Return the operation by which this caller takes an entry off its list."""
    if asked.caller.may("edit"):
        return DeleteEntry(entry_id, if_match, reason, take_over)
    return EndBan(entry_id, if_match, reason)
