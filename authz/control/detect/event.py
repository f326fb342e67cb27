"""One request, in the one form that every source is turned into: sidecars, access logs, a WAF.

Every text in it may be an outsider's. It is cut to a length here, once, so that nothing behind can be bloated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from authz.addresses import Address, try_parse_address
from authz.errors import BadLine, BadValue, shorten
from authz.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_EVENT: Final = 65536  # bytes of an event as JSON; a longer one is refused unread
MAX_PATH: Final = 2048  # characters of a path with its query that are kept
MAX_TOKEN: Final = 256  # characters of every other text
MAX_ATTACKS: Final = 16
WAF_SIGNAL: Final = "signal"  # the type of an attack of which only the signal is known
SIGNALLED: Final = frozenset({"attack", "graylisted_attack"})  # reasons of decisions by the signal


class Event(NamedTuple):
    """What a client did.

    Attributes:
        time: Seconds since 1970, as its source says.
        client: Who did it.
        application: As the proxy names it; "" if nobody says.
        method: Of the request, in capitals; "" if nobody says.
        host: Of the request, without a port.
        path: With its query, as the client wrote it.
        status: The answer's; 0 if nobody says.
        attacks: Types of attacks that a WAF saw, such as `sqli`.
        payload: What the WAF found malicious, or a digest of it; "" where it does not say.
        decision: `allow` or `deny`; "" if nobody was asked.
        entry: The id of the entry that decided.
        request_id: Of the request; "" if there is none.
        warnings: Ids of `warn` entries that would have denied it.
        reason: Why it was decided so, in the words of the decision log.

    """

    time: float
    client: Address
    application: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    status: int = 0
    attacks: tuple[str, ...] = ()
    payload: str = ""
    decision: str = ""
    entry: str = ""
    request_id: str = ""
    warnings: tuple[str, ...] = ()
    reason: str = ""


class WrittenEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as JSON. Keys that are not known here are passed over: sources may say more than we count."""

    client: str
    time: float | str | None = None
    application: str | None = None
    method: str | None = None
    host: str | None = None
    path: str | None = None
    status: int | None = None
    attacks: list[str] = []
    payload: str | None = None
    decision: str | None = None
    entry: str | None = None
    reason: str | None = None
    request_id: str | None = None
    warnings: list[str] = []


_make: Final = tuple.__new__  # a third of the cost of a named tuple's own constructor
_DECODER: Final = msgspec.json.Decoder(WrittenEvent)


def read_event(line: bytes, received: float) -> Event:
    """Return the event of one line of JSON.

    Args:
        line: At most MAX_EVENT bytes.
        received: Seconds since 1970; the time of an event that names none.

    Raises:
        BadLine: It is too long, no JSON, of another shape, or names no address.

    """
    if len(line) > MAX_EVENT:
        raise BadLine(f"found {len(line)} bytes, expected at most {MAX_EVENT}")
    try:
        written = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(shorten(error)) from error
    return make_event(written, received)


def make_event(written: WrittenEvent, received: float) -> Event:
    """Return the event of a decoded one. The parameters and errors are those of `read_event`."""
    client = try_parse_address(written.client)
    if client is None:
        raise BadLine(f"client: found '{shorten(written.client)}', expected an IPv4 or IPv6 address")
    status = written.status or 0
    if not 0 <= status <= 999:
        raise BadLine(f"status: found {shorten(status)}, expected a number from 100 to 599")
    return _make(Event, (
        _time(written.time, received),
        client,
        _name(written.application),
        (written.method or "")[:MAX_TOKEN].upper(),
        (written.host or "")[:MAX_TOKEN],
        (written.path or "")[:MAX_PATH],
        status,
        _attacks(written),
        (written.payload or "")[:MAX_TOKEN],
        (written.decision or "")[:MAX_TOKEN],
        _name(written.entry),
        (written.request_id or "")[:MAX_TOKEN],
        tuple(map(_name, written.warnings[:MAX_ATTACKS])) if written.warnings else (),
        (written.reason or "")[:MAX_TOKEN],
    ))  # fmt: skip


def as_json(event: Event) -> Mapping[str, Any]:
    """Return an event as `read_event` takes it, without what it does not say."""
    values = event._asdict() | {"client": event.client.text}
    return {name: value for name, value in values.items() if name == "time" or value not in {"", 0, ()}}


def _time(written: float | str | None, received: float) -> float:
    if written is None:
        return received
    seconds: float
    if isinstance(written, str):
        try:
            seconds = parse_moment(written)
        except BadValue as error:
            raise BadLine(f"time: {error.message}") from error
    else:
        seconds = written
    if not 0 <= seconds < 1e11:  # also refuses NaN; the year 5138
        raise BadLine(f"time: found {shorten(written)}, expected seconds since 1970")
    return float(seconds)  # JSON has whole seconds as int, which counters would not know as a time


def _attacks(written: WrittenEvent) -> tuple[str, ...]:
    """Return what a WAF saw; where only a sidecar says that there was a signal of one, WAF_SIGNAL."""
    if written.attacks:
        return tuple(text[:MAX_TOKEN] for text in written.attacks[:MAX_ATTACKS])
    return (WAF_SIGNAL,) if written.reason in SIGNALLED else ()


def _name(text: str | None) -> str:
    """Return what a store is asked for: PostgreSQL takes no NUL."""
    return "" if text is None else text[:MAX_TOKEN].replace("\0", "")
