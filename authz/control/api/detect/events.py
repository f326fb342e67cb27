"""`/v1/events`: what clients did. Sidecars, WAFs and log shippers send it; people search it."""

from __future__ import annotations

import functools
import zlib
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import anyio
import anyio.to_thread
import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromQuery, HeaderParameter, QueryParameter

from authz.control.api.common.asking import (
    AnyRequest,
    Asker,
    Covering,
    Cursor,
    Limit,
    in_thread,
    parsed_moment,
    parsed_network,
    plane_of,
    read_cursor,
    write_cursor,
)
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.detect.event import Event, read_event
from authz.control.model.problems import FieldMistake, Invalid, Problem, TooMany
from authz.control.model.records import MICROSECONDS
from authz.control.store.events.pages import find_event_page
from authz.control.store.events.search import (
    Place,
    WantedEvents,
    client_of,
    count_by_country,
    count_by_time,
)
from authz.control.store.events.top import find_busiest
from authz.control.store.events.writing import DAY
from authz.errors import BadLine, shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.control.access.callers import Caller
    from authz.control.plane import ControlPlane

MAX_BATCH: Final = 8 << 20  # bytes, unpacked
MAX_EVENTS: Final = 20_000  # of a batch
MAX_STEPS: Final = 2000  # of a chart
MAX_READ: Final = 4  # batches that are read at once
MAX_UNREAD: Final = 64  # batches that wait for it; a sender that gave up waiting leaves its own there

Encoding = Annotated[str | None, HeaderParameter(name="Content-Encoding", max_length=20, description="gzip, or none.")]
Decision = Literal["allow", "deny"]
Status = Annotated[int | None, QueryParameter(ge=0, le=999, description="Of the answer.")]
From = Annotated[str | None, QueryParameter(name="from", description="Events at or after this time.")]
To = Annotated[str | None, QueryParameter(description="Events before this time.")]
Step = Annotated[int, QueryParameter(ge=1, le=1440, description="Minutes.")]
Country = Annotated[str | None, QueryParameter(pattern="^[A-Z]{2}$", description="Of the client (ISO 3166-1).")]
Top = Annotated[int, QueryParameter(ge=0, le=100, description="How many of the busiest clients to name.")]


class RefusedLine(msgspec.Struct, frozen=True):
    """A line that is no event. line: from 1."""

    line: int
    detail: str


class TakenBody(msgspec.Struct, frozen=True):
    """How many events were taken, and why others were not: the first hundred of them."""

    taken: int
    refused: list[RefusedLine]


@post("", summary="Send events", status_code=202, responses=documented(413, 415, 422, 429))
async def add_events(request: AnyRequest, caller: Asker, content_encoding: Encoding = None) -> Response[TakenBody]:
    """Accept events, one JSON object per line.

    The answer names lines that cannot be read; the others count. A tenant may send events of its own applications only.
    """
    caller.need("events")
    plane = plane_of(request)
    if _threads().statistics().tasks_waiting >= MAX_UNREAD:
        raise TooMany("too many batches wait to be read, expected fewer at a time", code="intake_full")
    body = await request.body()
    taken = await anyio.to_thread.run_sync(_take, plane, caller, body, content_encoding, limiter=_threads())
    return Response(taken, status_code=202)


@functools.cache
def _threads() -> anyio.CapacityLimiter:
    """Return the threads of their own that events are read in: thousands take a while, and Valkey may not answer."""
    return anyio.CapacityLimiter(MAX_READ)


def _take(plane: ControlPlane, caller: Caller, body: bytes, encoding: str | None) -> TakenBody:
    received = plane.store.clock()
    events, refused = _read(caller, _unpacked(body, encoding), received)
    if refused and not events:
        raise Invalid([FieldMistake(f"/{refusal.line}", refusal.detail) for refusal in refused])
    if not plane.intake.put(events, received):
        raise TooMany("too many events wait to be counted, expected fewer at a time", code="intake_full")
    return TakenBody(len(events), refused[:100])


def _read(caller: Caller, content: bytes, received: float) -> tuple[list[Event], list[RefusedLine]]:
    lines = content.splitlines()
    if len(lines) > MAX_EVENTS:
        problem = Problem(f"found {len(lines)} events, expected at most {MAX_EVENTS}", code="too_large")
        problem.status = 413
        raise problem
    events: list[Event] = []
    refused: list[RefusedLine] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                event = read_event(line, received)
            except BadLine as error:
                refused.append(RefusedLine(number, str(error)))
                continue
            if caller.owns(event.application):
                events.append(event)
            else:  # triggers would list clients for another tenant, or for all
                why = f"found the application '{shorten(event.application)}', expected one of '{caller.tenant.name}'"
                refused.append(RefusedLine(number, why))
    return events, refused


def _unpacked(body: bytes, encoding: str | None) -> bytes:
    """Return the bytes of a body; raises Problem if it is packed otherwise, damaged, or too large."""
    if encoding in {None, "", "identity"}:
        return body
    if encoding != "gzip":
        problem = Problem(f"found the encoding '{encoding}', expected gzip or none", code="bad_encoding")
        problem.status = 415
        raise problem
    unpacker = zlib.decompressobj(wbits=31)
    try:
        content = unpacker.decompress(body, MAX_BATCH)
    except zlib.error as error:
        raise Invalid([FieldMistake("", "the body is not gzip")]) from error
    if unpacker.unconsumed_tail or not unpacker.eof:
        problem = Problem(f"found more than {MAX_BATCH} bytes, or an incomplete body", code="too_large")
        problem.status = 413
        raise problem
    return content


class EventBody(msgspec.Struct, frozen=True):
    """What a client did. status: 0 if nobody says. country: of the client (ISO 3166-1), empty if not known."""

    time: str
    client: str
    application: str
    method: str
    host: str
    path: str
    status: int
    decision: str
    entry: str
    attacks: list[str]
    request_id: str
    reason: str
    country: str


class EventsBody(msgspec.Struct, frozen=True):
    """A page of events, newest first. It may have none and a cursor: where few fit, the next page looks further."""

    items: list[EventBody]
    cursor: str | None


class CountBody(msgspec.Struct, frozen=True):
    """How many events of a decision a step of time has. decision: empty if nobody was asked."""

    time: str
    decision: str
    events: int


class CountsBody(msgspec.Struct, frozen=True):
    """Counts for a chart, in order of time; and the clients with the most events, where they were asked for.

    clients_since: where there are more than 20,000 events, clients are counted among the newest, from this time on.
    """

    items: list[CountBody]
    clients: dict[str, int]
    clients_since: str | None


@get("", summary="Search events", responses=documented())
async def list_events(
    request: AnyRequest, caller: Asker, address: Covering = None, application: FromQuery[str | None] = None,
    entry: FromQuery[str | None] = None, decision: FromQuery[Decision | None] = None,
    status: Status = None, reason: FromQuery[str | None] = None, country: Country = None, from_: From = None,
    to: To = None, cursor: Cursor = None, limit: Limit = 100,
) -> EventsBody:  # fmt: skip
    """List events, newest first: of a client or a network, an application, an entry, a reason, a country, a time.

    Continue until there is no cursor: a page looks through at most 20,000 events, so it may be empty.
    """
    caller.need("read")
    plane = plane_of(request)
    wanted = WantedEvents(
        parsed_network(address), application, entry, decision, status, parsed_moment(from_, "from"),
        parsed_moment(to, "to"), visible(caller), reason, country,
    )  # fmt: skip
    return await in_thread(_page, plane, wanted, read_cursor(cursor, _CURSOR), limit)


def _page(plane: ControlPlane, wanted: WantedEvents, before: Place | None, limit: int) -> EventsBody:
    with plane.store.reading() as tx:
        page = find_event_page(tx, wanted, before=before, limit=limit)
    cursor = None if page.following is None else write_cursor(page.following)
    return EventsBody([_body(row) for row in page.events], cursor)


def _body(row: Any) -> EventBody:
    return EventBody(
        micro_moment(row.time), client_of(bytes(row.client)), row.application, row.method, row.host, row.path,
        row.status, row.decision, row.entry, row.attacks.split(",") if row.attacks else [], row.request_id,
        row.reason, row.country,
    )  # fmt: skip


@get("/counts", summary="Counts by time", responses=documented())
async def get_counts(
    request: AnyRequest, caller: Asker, application: FromQuery[str | None] = None, from_: From = None, to: To = None,
    step: Step = 60, top: Top = 0,
) -> CountsBody:  # fmt: skip
    """Count events by time and decision. Without a time: the last day. step: minutes."""
    caller.need("read")
    plane = plane_of(request)
    end = parsed_moment(to, "to") or plane.store.now()
    begin = parsed_moment(from_, "from") or end - DAY
    if not 0 <= end - begin <= MAX_STEPS * step * 60 * MICROSECONDS:
        raise Invalid([FieldMistake("?from", f"found a period of more than {MAX_STEPS} steps, expected fewer")])
    return await in_thread(_counts, plane, caller, application, begin, end, step, top)


def _counts(
    plane: ControlPlane, caller: Caller, application: str | None, begin: int, end: int, step: int, top: int
) -> CountsBody:
    patterns = visible(caller)
    wanted = WantedEvents(application=application, begin=begin, end=end, patterns=patterns)
    with plane.store.reading() as tx:
        counts = count_by_time(tx, begin, end, step, application, patterns)
        busiest = find_busiest(tx, wanted, top) if top else None
    return CountsBody(
        [CountBody(format_moment(time), decision, many) for time, decision, many in counts],
        {} if busiest is None else dict(busiest.clients),
        # A whole second: the event of that moment may be another tenant's.
        None if busiest is None or busiest.since is None else format_moment(busiest.since // MICROSECONDS),
    )


class CountryBody(msgspec.Struct, frozen=True):
    """A country (ISO 3166-1; empty: not known) with its events, and how many of them were denied."""

    country: str
    events: int
    denied: int


class CountriesBody(msgspec.Struct, frozen=True):
    """Countries of clients, those with most denials first."""

    items: list[CountryBody]


@get("/countries", summary="Counts by country", responses=documented())
async def get_countries(
    request: AnyRequest, caller: Asker, application: FromQuery[str | None] = None, from_: From = None, to: To = None
) -> CountriesBody:
    """Count events and denials by the client's country, by whole hours. Without a time: the last day.

    Events have a country where the policy or triggers.yaml names a database in `geo.country`.
    """
    caller.need("read")
    plane = plane_of(request)
    end = parsed_moment(to, "to") or plane.store.now()
    begin = parsed_moment(from_, "from") or end - DAY
    return await in_thread(_countries, plane, caller, application, begin, end)


def _countries(plane: ControlPlane, caller: Caller, application: str | None, begin: int, end: int) -> CountriesBody:
    with plane.store.reading() as tx:
        counts = count_by_country(tx, begin, end, application, visible(caller))
    return CountriesBody([CountryBody(*count) for count in counts])


def visible(caller: Caller) -> tuple[str, ...] | None:
    """Return the patterns of the applications whose events the caller may see; None: all."""
    return None if caller.sees is None else caller.tenant.applications


_CURSOR: msgspec.json.Decoder[Place] = msgspec.json.Decoder(Place)
router: Any = Router("/v1/events", route_handlers=[add_events, list_events, get_counts, get_countries], tags=["events"])
