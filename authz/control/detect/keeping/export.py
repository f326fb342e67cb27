"""Events out of the store, however many there are: page after page, as JSON lines or as Parquet.

Each page is a short transaction of its own, so a slow reader holds up neither the store nor its clean-up. Two orders:

    time      as it happened
    client    all events of an address together, which packs best, and is what an archive is asked for
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import orjson

from authz.control.model.records import MICROSECONDS
from authz.control.store.events.search import client_of, next_events
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Row

    from authz.control.store.database import Store
    from authz.control.store.events.search import WantedEvents

Order = Literal["time", "client"]
PAGE: Final = 5000  # events of a transaction
_TEXTS: Final = (
    "country", "application", "method", "host", "path", "decision", "reason", "entry", "payload", "request_id",
)  # fmt: skip


def pages(store: Store, wanted: WantedEvents, order: Order) -> Iterator[Sequence[Row[Any]]]:
    """Give events in pages, the first first. Raises NotReady if the store is away."""
    last: Row[Any] | None = None
    while True:
        with store.reading() as tx:
            rows = next_events(tx, wanted, order, after=last, limit=PAGE)
        if rows:
            yield rows
        if len(rows) < PAGE:
            return
        last = rows[-1]


def as_lines(store: Store, wanted: WantedEvents, order: Order) -> Iterator[bytes]:
    """Give events as JSON lines, as `POST /v1/events` takes them."""
    for rows in pages(store, wanted, order):
        yield b"".join(orjson.dumps(_event(row), option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _event(row: Row[Any]) -> dict[str, Any]:
    values = row._mapping  # noqa: SLF001  # SQLAlchemy's public name
    seconds, rest = divmod(row.time, MICROSECONDS)
    time = f"{format_moment(seconds).removesuffix('Z')}.{rest:06}Z"
    event: dict[str, Any] = {"time": time, "client": client_of(bytes(row.client))}
    event |= {name: values[name] for name in _TEXTS if values[name]}
    if row.status:
        event["status"] = row.status
    if row.attacks:
        event["attacks"] = row.attacks.split(",")
    return event
