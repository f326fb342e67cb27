"""All entries: search, filters, order, pages, as of any time; and changes to many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
from litestar import Response, Router, get, post

from authz.control.api.common.asking import in_thread, parsed_moment, read_cursor, write_cursor
from authz.control.api.common.bodies import EntryPatch
from authz.control.api.common.cookies import own_path
from authz.control.api.common.operations import ChangeEntry, Operation
from authz.control.console.common.changing import MAX_DONE, Notice, afterwards, carry_out, deletion, notice_of
from authz.control.console.common.forms import utc
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import applications_of
from authz.control.console.look.render import page, see_other
from authz.control.lists.rules.check import network_mistakes
from authz.control.model.problems import Conflict, FieldMistake, Invalid, Problem
from authz.control.model.records import FOREVER, MICROSECONDS
from authz.control.store.entries.find import Filter
from authz.control.store.entries.pages import SORTS, Page, Place, Search, count_page, find_page, most_counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.engine.model import ListName

from authz.addresses import parse_network

PAGE: Final = 50
MAX_PICKED: Final = 200  # rows that one change of the page is about: one transaction, and one undo
MAX_LOOKS: Final = 10  # pages of MAX_LOOKED rows that a change of all that fits looks through
EXCEPTIONS: Final = "exceptions"
LISTS: Final[tuple[ListName, ...]] = ("deny", "allow", "gray")
ENDS: Final = {"": "any time", "hour": "within an hour", "day": "within a day", "week": "within a week",
               "never": "never", "ended": "have ended"}  # fmt: skip
_WITHIN: Final = {"hour": 3600, "day": 86400, "week": 7 * 86400}
_CURSORS: Final = {
    sort: msgspec.json.Decoder(tuple[kind, str])  # type: ignore[valid-type]  # of the column
    for sort, kind in SORTS.items()
}
_NAMES: Final = ("list", "only", "q", "application", "author", "source", "ends", "sort", "at")


class Query(NamedTuple):
    """What the address of the page asks for. Each name is one of its query."""

    list: str = ""
    only: str = ""
    q: str = ""
    application: str = ""
    author: str = ""
    source: str = ""
    ends: str = ""
    sort: str = "-changed"
    at: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Return what is asked for; what is not known is left out."""
        query = cls(**{name: given[name].strip() for name in _NAMES if given.get(name, "").strip()})
        query = query._replace(at=utc(query.at))
        known_sort = query.sort.removeprefix("-") in SORTS
        query = query._replace(
            list=query.list if query.list in LISTS else "",
            only=query.only if query.only == EXCEPTIONS else "",
            ends=query.ends if query.ends in ENDS else "",
            sort=query.sort if known_sort else "-changed",
        )
        # What ends soon is shown in the order of its ends, unless another is asked for.
        return query._replace(sort="ends") if query.ends and query.sort == "-changed" else query

    def address(self, **other: str) -> str:
        """Return the page's address, with other values."""
        values = self._replace(**other)._asdict()
        default = Query()._asdict()
        rest = {name: value for name, value in values.items() if value != default[name]}
        return "/lists" + (f"?{urlencode(rest)}" if rest else "")

    def sorted_by(self, column: str) -> str:
        """Return the address that sorts by a column; a second time the other way round."""
        return self.address(sort=f"-{column}" if self.sort == column else column)

    def order(self, column: str) -> str:
        """Return how a column is sorted, in the word of ARIA."""
        if self.sort.removeprefix("-") != column:
            return "none"
        return "descending" if self.sort.startswith("-") else "ascending"

    @property
    def filters(self) -> bool:
        """Whether anything is left out."""
        return any((self.q, self.application, self.author, self.source, self.ends))


class Listed(NamedTuple):
    """What the page shows.

    Attributes:
        total: How many entries fit, at most `most`; None: not counted.
    """

    page: Page
    total: int | None
    most: int
    applications: list[str]
    notice: Notice | None


@get("/lists")
async def show_lists(asked: Asker) -> Response[str]:
    """Show entries."""
    given = asked.request.query_params
    query = Query.of(given)
    mistake, listed = "", Listed(Page([], None, 0), 0, 1, [], None)
    try:
        cursor = read_cursor(given.get("after"), _CURSORS[query.sort.removeprefix("-")])
        listed = await in_thread(_find, asked, query, cursor, given.get("done", ""))
    except Invalid as error:
        mistake = error.mistakes[0].detail
    following = None if listed.page.following is None else write_cursor(listed.page.following)
    return page(
        asked, "lists/listing.html", status=422 if mistake else 200, query=query, listed=listed, mistake=mistake,
        following=following, ends_choices=ENDS, lists=LISTS,
        at=None if mistake else parsed_moment(query.at or None, "at"),
        first="after" not in given, most=MAX_DONE, seconds=asked.plane.store.now() / MICROSECONDS,
    )  # fmt: skip


def _find(asked: Asked, query: Query, after: Place | None, done: str) -> Listed:
    at = parsed_moment(query.at or None, "at")
    now = (at or asked.plane.store.now()) // MICROSECONDS
    wanted, search = wanted_by(query, asked.caller.sees, at, now)
    with asked.plane.store.reading() as tx:
        entries = find_page(tx, wanted, search, sort=query.sort.removeprefix("-"),
                          descending=query.sort.startswith("-"), after=after, limit=PAGE)  # fmt: skip
        count, notice = count_page(tx, wanted, search), notice_of(tx, asked.caller, done) if done else None
        return Listed(entries, count, most_counted(wanted), applications_of(asked, tx), notice)


def wanted_by(query: Query, tenant: str | None, at: int | None, now: int) -> tuple[Filter, Search]:
    """Return what a query wants of the store. now: seconds. Raises Invalid for a network with bits behind its mask."""
    network = None
    text = query.q
    if text and _is_network(text):
        mistakes = list(network_mistakes((text,), ""))
        if mistakes:
            raise Invalid([FieldMistake("?q", mistakes[0].detail)])
        network, text = parse_network(text), ""
    wanted = Filter(
        tenant=tenant, list=query.list or None, application=query.application or None, network=network, at=at,
        unexpired_at=None if query.ends == "ended" else now,
    )  # fmt: skip
    begin, end = _window(query.ends, now)
    return wanted, Search(text, query.author, query.source, begin, end, excepting=query.only == EXCEPTIONS)


def _window(ends: str, now: int) -> tuple[int | None, int | None]:
    if ends == "ended":
        return None, now
    if ends == "never":
        return FOREVER, None
    return None, now + _WITHIN[ends] if ends in _WITHIN else None


def _is_network(text: str) -> bool:
    head = text.partition("/")[0]
    return bool(head) and (head.count(".") == 3 or ":" in head) and not head.strip("0123456789abcdefABCDEF.:")


@post("/lists/change", status_code=200)
async def change_many(asked: Asker) -> Response[str]:
    """Delete entries, or let them end at another time: all that are picked, or none."""
    form = await asked.form()
    picked = [str(entry_id) for entry_id in form.getall("pick", [])]
    back = own_path(str(form.get("back", "/lists")))
    try:
        if len(picked) > MAX_PICKED:
            raise Invalid([FieldMistake("pick", f"found {len(picked)} rows, expected at most {MAX_PICKED}")])
        if form.get("all") == "yes":
            picked = await in_thread(_all_that_fit, asked, back)
        if not picked:
            return see_other(back)
        operations = [
            _operation(asked, entry_id, str(form.get("do", "")), str(form.get("reason", ""))) for entry_id in picked
        ]
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, operations)
    except Problem as error:
        return page(asked, "problems/problem.html", status=error.status, problem=error, back=back)
    return afterwards(back, done, approval)


def _all_that_fit(asked: Asked, address: str) -> list[str]:
    """Return the entries of all pages of a list, with their versions. Raises Conflict if they are too many."""
    query = Query.of(dict(parse_qsl(urlsplit(address).query)))
    now = asked.plane.store.now() // MICROSECONDS
    wanted, search = wanted_by(query._replace(at=""), asked.caller.sees, None, now)
    fitting: list[str] = []
    after: Place | None = None
    with asked.plane.store.reading() as tx:
        for _ in range(MAX_LOOKS):
            part = find_page(tx, wanted, search, sort="changed", descending=True, after=after, limit=MAX_DONE + 1)
            fitting += [f"{entry.id}.{entry.version}" for entry in part.entries]
            after = part.following
            if after is None or len(fitting) > MAX_DONE:
                break
    if after is not None or len(fitting) > MAX_DONE:
        raise Conflict(
            f"more entries match than can be changed at once, at most {MAX_DONE:,}", code="too_many",
            hint="use filters to match fewer, or use the API: POST /v1/entries/delete takes up to 10,000",
        )  # fmt: skip
    return fitting


@post("/lists/delete", status_code=200)
async def delete_one(asked: Asker) -> Response[str]:
    """Delete the entry of a row."""
    form = await asked.form()
    back = own_path(str(form.get("back", "/lists")))
    try:
        operation = _operation(asked, str(form.get("only", "")), "delete", str(form.get("reason", "")))
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return page(asked, "problems/problem.html", status=error.status, problem=error, back=back)
    return afterwards(back, done, approval)


def _operation(asked: Asked, picked: str, what: str, reason: str) -> Operation:
    entry_id, _, version = picked.rpartition(".")
    seen = f'"{entry_id}.{version}"'
    asked.caller.need("ban")
    if what == "delete":
        return deletion(asked, entry_id, seen, reason)
    data = EntryPatch(period=what.removeprefix("period:"), reason=reason)
    return ChangeEntry(entry_id, data, seen, asked.caller.may("edit"))


router: Any = Router("/", route_handlers=[show_lists, change_many, delete_one])
