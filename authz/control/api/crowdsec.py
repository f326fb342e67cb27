"""`/v1/decisions`: our bans for bouncers of CrowdSec (its LAPI, for bouncers): `X-Api-Key` is an API token of authz.

    GET /v1/decisions?ip=203.0.113.9          the decisions for an address, or null
    GET /v1/decisions/stream?startup=true     all that hold: {"new": [...], "deleted": []}
    GET /v1/decisions/stream                  what is new and what ended since this bouncer asked last

A bouncer that asked before a restart of ours, or whom we do not know, gets everything again: that repeats, and loses
nothing.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from zlib import crc32

import msgspec
from litestar import Router, get
from litestar.params import FromQuery, QueryParameter

from authz.addresses import BITS, parse_networks
from authz.control.api.common.asking import AnyRequest, caller_of, in_thread, parsed_network, plane_of
from authz.control.api.common.problems import documented
from authz.control.model.records import MICROSECONDS
from authz.control.store.entries.find import Filter, each_entry
from authz.control.store.ledger.changes import read_changes, read_heads

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.control.access.callers import Caller
    from authz.control.model.records import Entry
    from authz.control.plane import ControlPlane

FOREVER: Final = 10 * 365 * 86400  # seconds; bouncers want a duration
MAX_BOUNCERS: Final = 1000
_TYPES: Final = {"deny": "ban", "gray": "captcha"}


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


class Bouncers:
    """Up to which serial and time each bouncer has asked."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def last(self, token: str) -> tuple[int, float] | None:
        """Return the serial and time up to which a bouncer knows; None: nothing."""
        return self._asked.get(token)

    def note(self, token: str, serial: int, now: float) -> None:
        """Remember up to where a bouncer knows."""
        with self._lock:
            if len(self._asked) >= MAX_BOUNCERS and token not in self._asked:
                self._asked.pop(next(iter(self._asked)))
            self._asked[token] = (serial, now)


BOUNCERS: Final = Bouncers()


async def _bouncer(request: AnyRequest) -> Caller:
    caller = await caller_of(request, request.headers.get("x-api-key", ""))
    if not caller.may("layers"):
        caller.need("read")
    return caller


@get("/v1/decisions", summary="Decisions for an address", responses=documented())
async def get_decisions(
    request: AnyRequest,
    ip: FromQuery[str | None] = None,
    range_: Annotated[str | None, QueryParameter(name="range")] = None,
) -> list[DecisionBody] | None:
    """Return the bans that cover an address or network, or all; null if there is none, as CrowdSec does."""
    caller = await _bouncer(request)
    plane = plane_of(request)
    network = parsed_network(ip or range_, "ip" if ip else "range")

    def read() -> list[DecisionBody]:
        now = plane.store.now() / MICROSECONDS
        wanted = Filter(tenant=caller.sees, layer=plane.config.rules().bans, network=network, unexpired_at=int(now))
        with plane.store.reading() as tx:
            return list(_decisions((e for e in each_entry(tx, wanted) if e.active(now)), now))

    return await in_thread(read) or None


@get("/v1/decisions/stream", summary="Decisions since the last time", responses=documented())
async def get_stream(request: AnyRequest, startup: FromQuery[Literal["true", "false"]] = "false") -> StreamBody:
    """Return what is new and what ended since this bouncer asked last; with startup=true all active bans."""
    caller = await _bouncer(request)
    return await in_thread(_stream, plane_of(request), caller, startup == "true")


def _stream(plane: ControlPlane, caller: Caller, startup: bool) -> StreamBody:
    bans = plane.config.rules().bans
    now = plane.store.now() / MICROSECONDS
    with plane.store.reading() as tx:
        head = read_heads(tx)[bans]
        last = None if startup else BOUNCERS.last(caller.token.id)
        if last is None:
            wanted = Filter(tenant=caller.sees, layer=bans, unexpired_at=int(now))
            stream = StreamBody(list(_decisions(each_entry(tx, wanted), now)), [])
        else:
            changes = read_changes(tx, bans, last[0], head.sequence)
            seen = [c for c in changes if caller.sees in {None, c.tenant} and c.action != "publish"]
            after = {c.subject: c.entry_after() for c in seen}
            gone = [e for c in seen if (e := c.entry_before()) is not None]
            expired = _expired_between(tx, caller, bans, last[1], now)
            new = [e for e in after.values() if e is not None and (e.expires is None or e.expires > now)]
            stream = StreamBody(list(_decisions(new, now)), list(_decisions([*gone, *expired], now, ended=True)))
    BOUNCERS.note(caller.token.id, head.sequence, now)
    return stream


def _expired_between(tx: Any, caller: Caller, bans: str, since: float, now: float) -> list[Entry]:
    wanted = Filter(tenant=caller.sees, layer=bans, unexpired_at=int(since))
    return [e for e in each_entry(tx, wanted) if e.expires is not None and e.expires <= now]


def _decisions(entries: Iterable[Entry], now: float, *, ended: bool = False) -> Iterator[DecisionBody]:
    for entry in entries:
        if entry.list not in _TYPES or entry.action != "block":
            continue
        left = FOREVER if entry.expires is None else int(entry.expires - now)
        for text in entry.networks:
            for network in parse_networks(text):
                single = network.length == BITS[network.version]
                value = str(network).partition("/")[0] if single else str(network)
                yield DecisionBody(
                    crc32(entry.id.encode()) & 0x7FFFFFFF,
                    "authz", _TYPES[entry.list], "Ip" if single else "Range", value,
                    f"{-1 if ended else left}s", entry.reason or "authz", entry.id,
                )  # fmt: skip


router: Any = Router("/", route_handlers=[get_decisions, get_stream], tags=["crowdsec"], security=[{"api_key": []}])
