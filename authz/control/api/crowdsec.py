"""`/v1/decisions`: our bans for bouncers of CrowdSec (its LAPI, for bouncers): `X-Api-Key` is a token of ours.

    HEAD /v1/decisions                        whether the key is good
    GET /v1/decisions?ip=203.0.113.9          the decisions for an address, or null
    GET /v1/decisions/stream?startup=true     all that hold: {"new": [...], "deleted": []}
    GET /v1/decisions/stream                  what is new and what ended since this bouncer asked last

Filters are those of CrowdSec; what we have no decisions of, such as countries, finds none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, TypeVar
from weakref import WeakKeyDictionary
from zlib import crc32

import anyio
import anyio.to_thread
import msgspec
from litestar import Router, get, head
from litestar.params import FromQuery, QueryParameter

from authz.addresses import BITS
from authz.control.api.bouncers import BOUNCERS, allowed_now, news, parts
from authz.control.api.common.asking import AnyRequest, caller_of, in_thread, parsed_network, plane_of
from authz.control.api.common.problems import documented
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.find import Filter, each_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from authz.control.access.callers import Caller
    from authz.control.api.bouncers import Told
    from authz.control.plane import ControlPlane

FOREVER: Final = 10 * 365 * 86400  # seconds; bouncers want a duration
ORIGIN: Final = "authz"
MAX_WHOLE: Final = 2  # answers of all bans that are made at once
_LIMITERS: Final[WeakKeyDictionary[ControlPlane, anyio.CapacityLimiter]] = WeakKeyDictionary()
T = TypeVar("T")
_TYPES: Final = {"deny": "ban", "gray": "captcha"}
Names = Annotated[str | None, QueryParameter(description="Some, with commas between them.", max_length=1000)]
Containing = Annotated[str | None, QueryParameter(description="Texts, with commas between them.", max_length=1000)]


class DecisionBody(msgspec.Struct, frozen=True):
    """A decision as CrowdSec writes it. duration: until it ends; below zero where it has ended."""

    id: int
    origin: str
    type: str
    scope: str
    value: str
    duration: str
    scenario: str
    uuid: str


class StreamBody(msgspec.Struct, frozen=True):
    """What is new, and what ended."""

    new: list[DecisionBody]
    deleted: list[DecisionBody]


class Wanted(NamedTuple):
    """Which decisions a bouncer asks for; empty: whichever.

    Attributes:
        containing, without: Texts of scenarios, which are the reasons of our bans.
    """

    scopes: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    containing: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def has(self, decision: DecisionBody) -> bool:
        """Return whether a decision is asked for."""
        return (
            (not self.scopes or decision.scope.lower() in self.scopes)
            and (not self.types or decision.type in self.types)
            and (not self.origins or decision.origin in self.origins)
            and (not self.containing or any(text in decision.scenario for text in self.containing))
            and not any(text in decision.scenario for text in self.without)
        )


async def _bouncer(request: AnyRequest) -> Caller:
    caller = await caller_of(request, request.headers.get("x-api-key", ""))
    if not caller.may("layers"):
        caller.need("read")
    return caller


@head(["/v1/decisions", "/v1/decisions/stream"], summary="Whether a key is good", responses=documented())
async def try_key(request: AnyRequest) -> None:
    """Answer 200 to a bouncer that may ask."""
    await _bouncer(request)


@get("/v1/decisions", summary="Decisions for an address", responses=documented())
async def get_decisions(
    request: AnyRequest,
    ip: FromQuery[str | None] = None,
    range_: Annotated[str | None, QueryParameter(name="range")] = None,
    scope_: Annotated[str | None, QueryParameter(name="scope")] = None,
    value: FromQuery[str | None] = None,
    type_: Annotated[str | None, QueryParameter(name="type")] = None,
    origins: Names = None,
) -> list[DecisionBody] | None:
    """Give the bans that cover an address or network, or all; null if there is none, as CrowdSec does.

    `scope=ip` or `range` with a `value` asks for that; other scopes have none.
    """
    caller = await _bouncer(request)
    plane = plane_of(request)
    named, text = ("range", range_) if ip is None and range_ is not None else ("ip", ip)
    if scope_ is not None:
        if scope_.lower() not in {"ip", "range"}:
            return None
        named, text = (named, text) if value is None else ("value", value)
    network = parsed_network(text, named)
    wanted = Wanted(types=_split(type_), origins=_split(origins))

    def read() -> list[DecisionBody]:
        now = plane.store.now() / MICROSECONDS
        bans = Filter(tenant=caller.sees, layer=plane.config.rules().bans, network=network, unexpired_at=int(now))
        with plane.store.reading() as tx:
            allowed = allowed_now(tx, now)
            told = (told for entry in each_entry(tx, bans) if entry.active(now) for told in parts(entry, allowed))
            if network is not None:
                told = (part for part in told if part.network.overlaps(network))
            return list(filter(wanted.has, _decisions(told, now)))

    return await (_in_turn(plane, read) if network is None else in_thread(read)) or None


@get("/v1/decisions/stream", summary="Decisions since the last time", responses=documented())
async def get_stream(
    request: AnyRequest, startup: FromQuery[Literal["true", "false"]] = "false", scopes: Names = None,
    origins: Names = None, scenarios_containing: Containing = None, scenarios_not_containing: Containing = None,
) -> StreamBody:  # fmt: skip
    """Return what is new and what ended since this bouncer asked last; with startup=true all active bans."""
    caller = await _bouncer(request)
    wanted = Wanted(
        scopes=_split(scopes and scopes.lower()), origins=_split(origins),
        containing=tuple(_split(scenarios_containing)), without=tuple(_split(scenarios_not_containing)),
    )  # fmt: skip
    plane, all_of_it = plane_of(request), startup == "true"
    make = partial(_stream, plane, caller, wanted, startup=all_of_it)
    is_long = all_of_it or BOUNCERS.last(caller.token.id) is None
    return await (_in_turn(plane, make) if is_long else in_thread(make))


async def _in_turn(plane: ControlPlane, make: Callable[[], T]) -> T:
    """Make an answer of all bans: a million are some hundred megabytes, so few at a time are made."""
    if plane not in _LIMITERS:
        _LIMITERS[plane] = anyio.CapacityLimiter(MAX_WHOLE)
    return await anyio.to_thread.run_sync(make, limiter=_LIMITERS[plane])


def _stream(plane: ControlPlane, caller: Caller, wanted: Wanted, *, startup: bool) -> StreamBody:
    told, known = news(plane, caller.sees, BOUNCERS.last(caller.token.id), startup=startup)
    new, ended = _decisions(told.new, known.time), _decisions(told.ended, known.time, ended=True)
    body = StreamBody(list(filter(wanted.has, new)), list(filter(wanted.has, ended)))
    BOUNCERS.note(caller.token.id, known)
    return body


def _decisions(several: Iterable[Told], now: float, *, ended: bool = False) -> Iterator[DecisionBody]:
    for entry, network in several:
        left = FOREVER if entry.expires is None else int(entry.expires - now)
        single = network.length == BITS[network.version]
        value = str(network).partition("/")[0] if single else str(network)
        yield DecisionBody(
            crc32(entry.id.encode()) & 0x7FFFFFFF, ORIGIN, _TYPES[entry.list], "Ip" if single else "Range", value,
            f"{-1 if ended else left}s", entry.reason or "authz", entry.id,
        )  # fmt: skip


def _split(text: str | None) -> frozenset[str]:
    return frozenset(part.strip() for part in (text or "").split(",") if part.strip())


router: Any = Router(
    "/", route_handlers=[try_key, get_decisions, get_stream], tags=["crowdsec"], security=[{"api_key": []}]
)
