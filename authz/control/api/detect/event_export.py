"""`/v1/events/export`: all events of a time as a file, for an archive or another program."""

from __future__ import annotations

import threading
import weakref
from collections import Counter as Tally
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, Literal

from litestar import Router, get
from litestar.params import FromQuery
from litestar.response import Stream

from authz.control.api.common.asking import AnyRequest, Asker, Covering, parsed_moment, parsed_network, plane_of
from authz.control.api.common.problems import documented
from authz.control.api.detect.events import Country, Decision, From, Status, To, visible
from authz.control.detect.keeping.export import as_lines
from authz.control.model.problems import Problem, TooMany
from authz.control.store.events.search import WantedEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.control.detect.keeping.export import Order
    from authz.control.store.database import Store

Format = Literal["ndjson", "parquet"]
Sort = Literal["time", "client"]
MAX_EXPORTS: Final = 2  # exports of a tenant at a time: each reads as fast as the store gives
_TYPES: Final = {"ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}
_running: Tally[str] = Tally()  # by tenant
_lock = threading.Lock()


@get("/export", summary="Export events", responses=documented(429, 501), sync_to_thread=False)
def export_events(
    request: AnyRequest, caller: Asker, form: FromQuery[Format] = "ndjson", sort: FromQuery[Sort] = "time",
    address: Covering = None, application: FromQuery[str | None] = None, entry: FromQuery[str | None] = None,
    decision: FromQuery[Decision | None] = None, status: Status = None, reason: FromQuery[str | None] = None,
    country: Country = None, from_: From = None, to: To = None,
) -> Stream:  # fmt: skip
    """Return all events of a time as JSON lines or as Parquet (`form`), ordered by time, or by client and time.

    The answer is streamed. If it ends without its last chunk, it is incomplete.
    """
    caller.need("read")
    wanted = WantedEvents(
        parsed_network(address), application, entry, decision, status, parsed_moment(from_, "from"),
        parsed_moment(to, "to"), visible(caller), reason, country,
    )  # fmt: skip
    if form == "parquet" and find_spec("pyarrow") is None:
        problem = Problem("Parquet needs the library pyarrow", code="not_installed", hint="install authz[archive]")
        problem.status = 501
        raise problem
    content = _content(plane_of(request).store, wanted, form, sort)
    _begin(caller.tenant.name, content)
    return Stream(content, media_type=_TYPES[form])


def _begin(tenant: str, content: Iterator[bytes]) -> None:
    """Count an export until nobody holds its content: a caller may go before the first byte was asked for."""
    with _lock:
        if _running[tenant] >= MAX_EXPORTS:
            raise TooMany(f"{MAX_EXPORTS} exports are running, expected fewer at a time", code="too_many_exports")
        _running[tenant] += 1
    weakref.finalize(content, _end, tenant)


def _end(tenant: str) -> None:
    with _lock:
        _running[tenant] -= 1


def _content(store: Store, wanted: WantedEvents, form: Format, order: Order) -> Iterator[bytes]:
    if form == "ndjson":
        return as_lines(store, wanted, order)
    from authz.control.detect.keeping.parquet import as_parquet  # noqa: PLC0415  # needs the extra archive

    return as_parquet(store, wanted, order)


router: Any = Router("/v1/events", route_handlers=[export_events], tags=["events"])
