"""History: who changed what, when, how and why; the lists as they were; and the same as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from litestar import Response, Router, get

from authz.control.api.common.asking import (
    in_thread,
    parsed_moment,
    parsed_network,
    read_cursor,
    write_cursor,
)
from authz.control.api.common.bodies import history_item
from authz.control.console.common.changing import Notice, notice_of, undoable
from authz.control.console.common.forms import utc
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import HEADERS, page
from authz.control.model.problems import Invalid
from authz.control.model.records import Change
from authz.control.store.ledger.history import Place, Wanted, find_changes

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = 50
MAX_EXPORTED: Final = 100_000  # lines of CSV
COLUMNS: Final = ("time", "action", "id", "actor", "actor_kind", "method", "reason", "tenant", "layer", "serial",
                  "forced", "before", "after")  # fmt: skip
_LEADING: Final = ("\t", "\r", "\n")
_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_CURSOR: msgspec.json.Decoder[Place] = msgspec.json.Decoder(Place)


class Query(NamedTuple):
    """What the address of the page asks for."""

    address: str = ""
    id: str = ""
    actor: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Return what is asked for."""
        query = cls(**{name: given[name].strip() for name in cls._fields if given.get(name, "").strip()})
        return query._replace(since=utc(query.since), until=utc(query.until))

    def address_of(self, path: str = "/history", **more: str) -> str:
        """Return the address of this query."""
        values = {name: value for name, value in (self._asdict() | more).items() if value}
        return path + (f"?{urlencode(values)}" if values else "")

    def wanted(self, tenant: str | None) -> Wanted:
        """Return what is wanted of the store. Raises Invalid."""
        return Wanted(
            tenant=tenant, subject=self.id or None, network=parsed_network(self.address or None),
            begin=parsed_moment(self.since or None, "since"), end=parsed_moment(self.until or None, "until"),
            actor=self.actor or None,
        )  # fmt: skip


@get("/history")
async def show_history(asked: Asker) -> Response[str]:
    """Show changes, newest first."""
    given = asked.request.query_params
    query, mistakes = Query.of(given), {}
    changes, undoing, notice = list[Change](), dict[tuple[str, int], str](), None
    try:
        wanted, before = query.wanted(asked.caller.sees), read_cursor(given.get("after"), _CURSOR)
        changes, undoing, notice = await in_thread(_read, asked, wanted, before, given.get("done", ""))
    except Invalid as error:
        mistakes = {mistake.pointer.lstrip("?"): mistake.detail for mistake in error.mistakes}
    last = changes[PAGE - 1] if len(changes) > PAGE else None
    following = None if last is None else write_cursor((last.time, last.layer, last.sequence))
    return page(asked, "history/changes.html", status=422 if mistakes else 200, query=query, changes=changes[:PAGE],
                following=following, mistakes=mistakes, first="after" not in given, undoing=undoing,
                notice=notice)  # fmt: skip


def _find(asked: Asked, wanted: Wanted, before: Place | None, limit: int) -> list[Change]:
    with asked.plane.store.reading() as tx:
        return find_changes(tx, wanted, before=before, limit=limit)


def _read(
    asked: Asked, wanted: Wanted, before: Place | None, done: str
) -> tuple[list[Change], dict[tuple[str, int], str], Notice | None]:  # fmt: skip
    with asked.plane.store.reading() as tx:
        changes = find_changes(tx, wanted, before=before, limit=PAGE + 1)
        return changes, undoable(asked, tx, changes[:PAGE]), notice_of(tx, asked.caller, done) if done else None


@get("/history.csv")
async def export_history(asked: Asker) -> Response[bytes]:
    """Give the same as CSV, newest first."""
    query = Query.of(asked.request.query_params)
    changes = await in_thread(_find, asked, query.wanted(asked.caller.sees), None, MAX_EXPORTED)
    content = await in_thread(as_csv, changes)
    headers = {**HEADERS, "Content-Disposition": 'attachment; filename="history.csv"'}
    return Response(content.encode(), media_type="text/csv; charset=utf-8", headers=headers)


def as_csv(changes: list[Change]) -> str:
    """Return changes as CSV (RFC 4180). What a spreadsheet would take for a formula gets an apostrophe.

    Some trim what leads, and some know the wide forms of the signs.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for change in changes:
        item = msgspec.to_builtins(history_item(change))
        writer.writerow([_cell(item[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return "" if value is None else msgspec.json.encode(value).decode()
    text = str(value)
    return f"'{text}" if text.startswith(_LEADING) or text.lstrip().startswith(_FORMULA) else text


router: Any = Router("/", route_handlers=[show_history, export_history])
