"""Events: what clients did, of an address, an application, an entry, a time; and as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from litestar import Response, Router, get

from authz.control.api.common.asking import in_thread, parsed_moment, parsed_network, read_cursor, write_cursor
from authz.control.console.common.forms import utc
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import names_of
from authz.control.console.look.render import page
from authz.control.model.problems import FieldMistake, Invalid
from authz.control.store.events.pages import MAX_LOOKED, find_event_page
from authz.control.store.events.search import Place, WantedEvents, client_of, events_came
from authz.control.store.events.writing import DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.control.model.records import Entry

PAGE: Final = 50
_CURSOR: msgspec.json.Decoder[Place] = msgspec.json.Decoder(Place)


class Query(NamedTuple):
    """What the address of the page asks for.

    Attributes:
        live: Newest first, again every two seconds.
    """

    address: str = ""
    application: str = ""
    entry: str = ""
    decision: str = ""
    status: str = ""
    country: str = ""
    reason: str = ""
    since: str = ""
    until: str = ""
    live: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Query:
        """Return what is asked for."""
        query = cls(**{name: given[name].strip() for name in cls._fields if given.get(name, "").strip()})
        decision = query.decision if query.decision in {"allow", "deny"} else ""
        return query._replace(since=utc(query.since), until=utc(query.until), decision=decision)

    def page(self, **other: str) -> str:
        """Return the page's address, with other values."""
        values = {name: value for name, value in (self._asdict() | other).items() if value}
        return "/events" + (f"?{urlencode(values)}" if values else "")

    def wanted(self, patterns: tuple[str, ...] | None) -> WantedEvents:
        """Return what is wanted of the store. Raises Invalid."""
        if self.status and not (self.status.isascii() and self.status.isdigit() and len(self.status) <= 3):
            raise Invalid([FieldMistake("?status", "expected a status such as 403")])
        return WantedEvents(
            parsed_network(self.address or None), self.application or None, self.entry or None, self.decision or None,
            int(self.status) if self.status else None, parsed_moment(self.since or None, "since"),
            parsed_moment(self.until or None, "until"), patterns, self.reason or None, self.country.upper() or None,
        )  # fmt: skip


class Shown(NamedTuple):
    """What the page shows.

    Attributes:
        names: Entries that it refers to.
        looked: How many events were looked at, at most.
    """

    events: list[tuple[str, Any]]
    following: Place | None
    names: dict[str, Entry]
    looked: int

    @property
    def complete(self) -> bool:
        """Whether the page is full, or nothing is left to look at."""
        return self.following is None or len(self.events) == PAGE


@get("/events")
async def show_events(asked: Asker) -> Response[str]:
    """Show events, newest first."""
    asked.caller.need("read")
    given = asked.request.query_params
    query, mistakes, shown = Query.of(given), {}, Shown([], None, {}, MAX_LOOKED)
    try:
        wanted, before = query.wanted(asked.patterns), read_cursor(given.get("after"), _CURSOR)
        shown = await in_thread(_find, asked, wanted, before)
    except Invalid as error:
        mistakes = {mistake.pointer.lstrip("?"): mistake.detail for mistake in error.mistakes}
    following = None if shown.following is None else write_cursor(shown.following)
    return page(asked, "traffic/events.html", status=422 if mistakes else 200, query=query, found=shown,
                following=following, mistakes=mistakes, first="after" not in given)  # fmt: skip


def _find(asked: Asked, wanted: WantedEvents, before: Place | None) -> Shown:
    with asked.plane.store.reading() as tx:
        part = find_event_page(tx, wanted, before=before, limit=PAGE)
        names = names_of(asked, tx, (row.entry for row in part.events))
    return Shown([(client_of(bytes(row.client)), row) for row in part.events], part.following, names, part.looked)


@get("/events/setup")
async def show_setup(asked: Asker) -> Response[str]:
    """Show what makes sidecars send events: a token, and lines for authz.yaml."""
    asked.caller.need("read")
    url = (asked.plane.config.public_url or str(asked.request.base_url)).rstrip("/")
    return page(asked, "traffic/sending.html", url=url, came=await in_thread(events_of_day, asked))


def events_of_day(asked: Asked, *, answered: bool = False) -> bool:
    """Return whether events came in the last day, of applications that the caller may see; see `events_came`."""
    now = asked.plane.store.now()
    with asked.plane.store.reading() as tx:
        return events_came(tx, now - DAY, now, asked.patterns, answered=answered)


router: Any = Router("/", route_handlers=[show_events, show_setup])
