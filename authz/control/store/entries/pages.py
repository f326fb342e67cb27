"""Pages of entries in the order of a column, for people who look through lists.

A page is made from its neighbour: it begins behind the last row of the one before, so the thousandth costs what the
first does. What a column of the store cannot tell (text, author, application) is looked for row by row, in MAX_LOOKED
rows at most: then the page says how far it came, and the next one goes on from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, LargeBinary, cast, func, select, tuple_

from authz.control.model.records import SUBJECTS, Entry
from authz.control.store.entries.find import Filter, filtered, matches
from authz.control.store.tables import entries

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

MAX_LOOKED: Final = 20_000  # rows that are read for one page
MAX_COUNTED: Final = 100_000
MAX_COUNTED_THEN: Final = 10_000  # as of a time: no index has all that tells, so rows are read
_OWNER: Final = "api"  # of an entry whose JSON names none
_COLUMNS: Final[dict[str, ColumnElement[Any]]] = {
    "changed": entries.c.recorded_from,
    "ends": entries.c.expires,
    "list": entries.c.list,
    "subject": entries.c.subject,
    "reason": entries.c.reason,
    "author": entries.c.author,
    "applications": entries.c.applications,
}
SORTS: Final = {name: column.type.python_type for name, column in _COLUMNS.items()}
Place = tuple[Any, str]  # value of the column, id: where a page ends

_DECODE = msgspec.json.Decoder(Entry).decode


class Search(NamedTuple):
    """What is looked for beside a `Filter`.

    Attributes:
        text: In the reason, the author or whom it names, whatever the case.
        excepting: Those with exceptions only.
        ends_from, ends_before: Seconds; entries without an end have FOREVER.
    """

    text: str = ""
    author: str = ""
    source: str = ""
    ends_from: int | None = None
    ends_before: int | None = None
    excepting: bool = False

    @property
    def by_row(self) -> bool:
        """Whether rows have to be read to tell."""
        return bool(self.text or self.author or self.source or self.excepting)

    def fits(self, entry: Entry) -> bool:
        """Return whether an entry is one of those."""
        if self.excepting and not entry.except_:
            return False
        if self.author and self.author != entry.author:
            return False
        if self.source and self.source not in {entry.owner, entry.origin}:
            return False
        text = self.text.casefold()
        return not text or any(text in field.casefold() for field in _texts(entry))


class Page(NamedTuple):
    """A page.

    Attributes:
        following: Where the next one begins; None: this is the last.
        looked: Rows that were looked at, at most.
    """

    entries: list[Entry]
    following: Place | None
    looked: int


def find_page(
    tx: Connection, wanted: Filter, search: Search, *, sort: str, descending: bool, after: Place | None = None,
    limit: int = 50,
) -> Page:  # fmt: skip
    """Return a page of entries. sort: one of SORTS; equal ones by their id."""
    rows = ordered(wanted, search, tx, sort=sort, descending=descending, after=after)
    some = _likely(tx, rows, wanted, search, descending=descending)
    matching: list[Entry] = []
    last: Place | None = None
    with tx.execute(some.execution_options(yield_per=200)) as chosen:
        for content, place, of in chosen:
            if len(matching) == limit:
                return Page(matching, last, MAX_LOOKED)
            entry = _DECODE(content)
            if matches(entry, wanted) and search.fits(entry):
                matching.append(entry)
                last = (place, of)
    return Page(matching, _last_looked_at(tx, rows), MAX_LOOKED)


def _likely(
    tx: Connection, rows: Select[Any], wanted: Filter, search: Search, *, descending: bool
) -> Select[Any]:  # fmt: skip
    """Return the query for those of the rows that can be wanted, in the same order: the database looks at their JSON.

    To read one here takes ten times as long. What has its default is not in the JSON.
    """
    looked = rows.subquery()
    named = (search.author, search.source, wanted.owner, wanted.origin)
    looks = [_has(tx, looked.c.content, _json(text)) for text in named if text and text != _OWNER]
    if search.excepting:
        looks.append(_has(tx, looked.c.content, '"except":['))
    if wanted.application:  # no application in the JSON: for all
        of_all = ~_has(tx, looked.c.content, '"applications":[')
        looks.append(of_all | _has(tx, looked.c.content, _json(wanted.application)))
    if search.text:
        looks.append(_has_text(tx, looked.c.content, _json(search.text)[1:-1].casefold()))
    order = (looked.c.place.desc(), looked.c.of.desc()) if descending else (looked.c.place, looked.c.of)
    return select(looked).where(*looks).order_by(*order) if looks else rows


def _has_text(tx: Connection, content: ColumnElement[str], folded: str) -> ColumnElement[bool]:
    """Say that a text may occur, whatever the case. What is not ASCII may always: databases fold it otherwise."""
    if tx.dialect.name == "sqlite":
        bytes_of, lower = func.length(cast(content, LargeBinary)), func.lower(content)
    else:
        bytes_of, lower = func.octet_length(content), func.lower(content.collate("C"))
    beyond_ascii = bytes_of != func.length(content)
    return beyond_ascii | _has(tx, lower, folded) if folded.isascii() else beyond_ascii


def _has(tx: Connection, content: ColumnElement[str], part: str) -> ColumnElement[bool]:
    find = func.instr if tx.dialect.name == "sqlite" else func.strpos  # LIKE has signs of its own, and a limit
    return find(content, part) > 0


def _last_looked_at(tx: Connection, rows: Select[Any]) -> Place | None:
    """Return the last place that a page may look at; None: there are fewer."""
    place = rows.with_only_columns(rows.selected_columns.place, rows.selected_columns.of)
    row = tx.execute(place.offset(MAX_LOOKED - 1).limit(1)).first()
    return None if row is None else (row.place, row.of)


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def ordered(
    wanted: Filter, search: Search, tx: Connection, *, sort: str, descending: bool, after: Place | None
) -> Select[tuple[str, Any, str]]:  # fmt: skip
    """Return the query for the rows of a page and what may have to be read for it."""
    column = _COLUMNS[sort]
    query = (
        filtered(tx, wanted._replace(unexpired_at=None))
        .add_columns(column.label("place"), entries.c.id.label("of"))
        .where(*_ends(search))
    )
    if wanted.unexpired_at is not None:
        query = query.where(_unindexed(entries.c.expires) > wanted.unexpired_at)
    if after is not None:
        query = query.where(_behind(column, after, descending=descending))
    if wanted.network is not None:  # found by its keys; the few that there are, are sorted
        column = func.coalesce(column, column)
    order = (column.desc(), entries.c.id.desc()) if descending else (column, entries.c.id)
    return query.order_by(*order).limit(MAX_LOOKED)


def most_counted(wanted: Filter) -> int:
    """Return up to how many entries are counted."""
    return MAX_COUNTED if wanted.at is None else MAX_COUNTED_THEN


def count_page(tx: Connection, wanted: Filter, search: Search) -> int | None:
    """Return how many there are, at most `most_counted`; None if only reading them would tell."""
    if search.by_row or wanted.application or wanted.owner or wanted.origin:
        return None
    counted = filtered(tx, wanted).with_only_columns(entries.c.recorded_to)  # an index has it: no row is read
    some = counted.where(*_ends(search)).limit(most_counted(wanted)).subquery()
    return tx.execute(select(func.count()).select_from(some)).scalar_one()


def count_lists(tx: Connection, tenant: str | None, now: int) -> dict[str, int]:
    """Return how many entries each list has now, at most MAX_COUNTED. now: seconds."""
    return {
        name: count_page(tx, Filter(tenant=tenant, list=name, unexpired_at=now), Search()) or 0
        for name in ("allow", "deny", "gray")
    }


def _texts(entry: Entry) -> list[str]:
    named = [str(value) for name in SUBJECTS for value in getattr(entry, name)]
    return [entry.id, entry.reason, entry.author, entry.origin, *named, *entry.applications]


def _ends(search: Search) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if search.ends_from is not None:
        conditions.append(entries.c.expires >= search.ends_from)
    if search.ends_before is not None:
        conditions.append(entries.c.expires < search.ends_before)
    return conditions


def _unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a column that no index is looked into for: SQLite would rather sort a million rows than filter fifty."""
    return column + 0


def _behind(column: ColumnElement[Any], after: Place, *, descending: bool) -> ColumnElement[bool]:
    here, there = tuple_(column, entries.c.id), tuple_(*after)
    return here < there if descending else here > there
