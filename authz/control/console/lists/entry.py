"""One entry: whom it names, since when and until when, who changed it, what it met; its period and its deletion."""

from __future__ import annotations

from typing import Any, NamedTuple

from litestar import Response, Router, get, post
from litestar.params import FromPath
from sqlalchemy import Row

from authz.control.api.common.asking import in_thread, parsed_moment
from authz.control.api.common.bodies import EntryPatch
from authz.control.api.common.cookies import own_path
from authz.control.api.common.operations import ChangeEntry
from authz.control.console.common.changing import (
    Notice,
    afterwards,
    carry_out,
    deletion,
    notice_of,
    read,
    spread_of,
    take_back,
    undoable,
    written,
)
from authz.control.console.common.forms import PRESETS, FormState, form_of, mistakes_of, period_patch, values_of
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import entry_of, seconds_of
from authz.control.console.look.render import page
from authz.control.model.problems import Missing, Problem
from authz.control.model.records import Change, Entry
from authz.control.store.entries.find import get_entry
from authz.control.store.events.search import WantedEvents, client_of, count_events, events_came, find_events
from authz.control.store.events.writing import DAY
from authz.control.store.ledger.history import Wanted, find_changes

SHOWN = 20  # changes and events
MAX_HITS = 10_000  # that are counted


class About(NamedTuple):
    """All that the page tells.

    Attributes:
        now: The entry as it is now, where the page is of another time.
        last: The entry as it was last, whether or not it is on a list.
        hits: Events of the last day that it decided, at most MAX_HITS.
        came: Whether any events came in the last day.
        undoing: What takes a change back, by its layer and sequence.
    """

    entry: Entry | None
    now: Entry | None
    last: Entry | None
    changes: list[Change]
    events: list[tuple[str, Row[Any]]]
    hits: int
    came: bool
    notice: Notice | None
    undoing: dict[tuple[str, int], str]


@get("/entries/{entry_id:str}")
async def show_entry(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Show an entry, now or as of a time; what is off its list, by its history."""
    given = asked.request.query_params
    at = parsed_moment(given.get("at") or None, "at")
    about = await in_thread(_read, asked, entry_id, at, given.get("done", ""))
    return page(asked, "lists/entry.html", about=about, entry=about.entry, at=at, entry_id=entry_id, most=MAX_HITS,
                seconds=seconds_of(asked, at))  # fmt: skip


def _read(asked: Asked, entry_id: str, at: int | None, done: str) -> About:
    sees = asked.caller.sees
    with asked.plane.store.reading() as tx:
        entry, now = get_entry(tx, entry_id, at=at), get_entry(tx, entry_id)
        changes = find_changes(tx, Wanted(tenant=sees, subject=entry_id), limit=SHOWN)
        if (entry is not None and sees not in {None, entry.tenant}) or (entry is None and not changes):
            raise Missing(f"there is no entry '{entry_id[:64]}'")
        events = find_events(tx, WantedEvents(entry=entry_id, patterns=asked.patterns), limit=SHOWN)
        rows = [(client_of(bytes(row.client)), row) for row in events]
        last = entry or now or (changes[0].entry_after() or changes[0].entry_before() if changes else None)
        notice = notice_of(tx, asked.caller, done) if done else None
        when = asked.plane.store.now()
        came = events_came(tx, when - DAY, when, asked.patterns)
        met = WantedEvents(entry=entry_id, begin=when - DAY, end=when, patterns=asked.patterns)
        hits = count_events(tx, met, MAX_HITS) if rows else 0
        return About(entry, now, last, changes, rows, hits, came, notice, undoable(asked, tx, changes))


@get("/entries/{entry_id:str}/period")
async def period_page(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Show the form that lets an entry end at another time."""
    asked.caller.need("ban")
    entry = await in_thread(entry_of, asked, entry_id)
    return _period(asked, entry, FormState({**form_of(entry).values, "reason": ""}, {}))  # as it is: nothing changes


@post("/entries/{entry_id:str}/period", status_code=200)
async def change_period(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Let an entry end at another time."""
    asked.caller.need("ban")
    form = await asked.form()
    values = values_of(form)
    entry = await in_thread(entry_of, asked, entry_id)
    try:
        data = period_patch(values, take_over=values["take_over"] == "yes")
        seen = f'"{entry_id}.{form.get("seen", "")}"'
        operation = ChangeEntry(entry_id, data, seen, asked.caller.may("edit"))
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return _period(asked, entry, mistakes_of(error, values), status=error.status)
    return afterwards(own_path(str(form.get("back") or f"/entries/{entry_id}")), done, approval)


def _period(asked: Asked, entry: Entry, form: FormState, *, status: int = 200) -> Response[str]:
    return page(asked, "lists/period.html", status=status, entry=entry, form=form, presets=PRESETS,
                seconds=seconds_of(asked))  # fmt: skip


@post("/entries/{entry_id:str}/block", status_code=200)
async def block(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Let an entry that only warned turn away whom it names."""
    asked.caller.need("edit")
    form = await asked.form()
    data = EntryPatch(action="block", reason="it warned until now")
    operation = ChangeEntry(entry_id, data, f'"{entry_id}.{form.get("seen", "")}"', may_edit=True)
    try:
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return page(asked, "problems/problem.html", status=error.status, problem=error, back=f"/entries/{entry_id}")
    return afterwards(f"/entries/{entry_id}", done, approval)


@post("/entries/{entry_id:str}/delete", status_code=200)
async def delete_entry(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Take an entry off its list. The next page offers to take that back."""
    asked.caller.need("ban")
    form = await asked.form()
    operation = deletion(
        asked, entry_id, f'"{entry_id}.{form.get("seen", "")}"', str(form.get("reason", "")),
        take_over=form.get("take_over") == "yes",
    )  # fmt: skip
    back = own_path(str(form.get("back") or "/lists"))
    try:
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return page(asked, "problems/problem.html", status=error.status, problem=error, back=f"/entries/{entry_id}")
    return afterwards(back, done, approval)


@post("/undo", status_code=200)
async def undo(asked: Asker) -> Response[str]:
    """Take back what was just done."""
    asked.caller.need("edit")
    form = await asked.form()
    back = own_path(str(form.get("back") or "/lists"))
    try:
        done = await in_thread(take_back, asked.plane, asked.caller, str(form.get("done", "")))
    except Problem as error:
        return page(asked, "problems/problem.html", status=error.status, problem=error, back=back)
    return afterwards(back, done)


@get("/spread")
async def show_spread(asked: Asker) -> Response[str]:
    """Show how far changes have come: signed, and with which sidecars."""
    done = written(read(asked.request.query_params.get("done", "")))
    spread = await in_thread(spread_of, asked.plane, asked.caller, done)
    return page(asked, "parts/spread.html", spread=spread, done=done)


router: Any = Router(
    "/", route_handlers=[show_entry, period_page, change_period, block, delete_entry, undo, show_spread]
)  # fmt: skip
