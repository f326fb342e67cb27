"""Following a CrowdSec LAPI: what it decides is banned here too, and ends when it ends there.

    GET /v1/decisions/stream?startup=true      at first, each hour, and after a failure: all that hold
    GET /v1/decisions/stream                   otherwise: what is new, and what ended

Several decisions for one address are one entry, until the last of them ends. Entries belong to `feed`, with the origin
`crowdsec:NAME`. Decisions about others than addresses and networks, and such as the layer of bans may not have, are
counted and passed over.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import msgspec

from authz.addresses import parse_networks
from authz.control.lists.batch import Batch
from authz.control.lists.entries import add, change_period, delete, layers_of
from authz.control.model.problems import Missing, NotReady, Problem
from authz.control.model.records import MAIN_TENANT, MICROSECONDS, Actor, Written
from authz.control.store.access.tokens import get_tenant
from authz.control.store.entries.find import Filter, each_entry
from authz.errors import AddressError, InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from authz.control.config import CrowdSec
    from authz.control.lists.rules.context import ListContext
    from authz.control.model.records import Entry
    from authz.engine.model import ListName

MAX_ANSWER: Final = 256 << 20  # bytes
WHOLE: Final = 3600.0  # seconds after which all decisions are asked for again
DRIFT: Final = 60  # seconds by which an end may differ: it is told as the time that is left
CHUNK: Final = 500  # entries changed in one transaction
_TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
_LISTS: Final[Mapping[str, ListName]] = {"ban": "deny", "captcha": "gray"}
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|us|µs|ns|h|m|s)")
_LOG = logging.getLogger("authz.control.inputs")


class Decision(msgspec.Struct, frozen=True):
    """A decision as a LAPI tells it; other keys are not looked at."""

    id: int
    scope: str
    value: str
    type: str
    duration: str
    scenario: str = ""


class Stream(msgspec.Struct, frozen=True):
    """An answer of the LAPI."""

    new: list[Decision] | None = None
    deleted: list[Decision] | None = None


class Key(NamedTuple):
    """Whom a decision is about, and what it says."""

    network: str
    list: ListName


class Held(NamedTuple):
    """A decision that holds.

    Attributes:
        expires: Seconds since 1970.
    """

    key: Key
    expires: int
    reason: str


class Follower:
    """Follows one LAPI. For one thread."""

    def __init__(self, context: ListContext, config: CrowdSec, transport: httpx.BaseTransport | None = None) -> None:
        self._context = context
        self.config = config
        self._origin = f"crowdsec:{config.name}"
        self._transport = transport
        self._decisions: dict[int, Held] = {}
        self._entries: dict[Key, str] = {}  # ids of what we made
        self._whole_at = 0.0  # when all were asked for; 0: to be asked for

    def round(self) -> int:
        """Ask what is new, and write it; return how many entries were changed. Raises InputError and Problem."""
        now = self._context.store.now() / MICROSECONDS
        whole = not self._whole_at or now - self._whole_at > WHOLE
        asked, self._whole_at = self._whole_at, 0.0  # what goes wrong from here on is mended by asking for all
        stream = self._ask(startup=whole)
        touched = self._take_all(stream, int(now)) if whole else self._take_news(stream, int(now))
        changed = self._write(touched, int(now))
        self._whole_at = now if whole else asked
        return changed

    def _ask(self, *, startup: bool) -> Stream:
        config = self.config
        key = Path(config.key_file).read_text().strip()
        where = f"{config.url}/v1/decisions/stream"
        try:
            with (
                httpx.Client(timeout=_TIMEOUT, transport=self._transport) as client,
                client.stream(
                    "GET", where, params={"startup": str(startup).lower()},
                    headers={"X-Api-Key": key, "User-Agent": "authz"},
                ) as answer,
            ):  # fmt: skip
                if answer.status_code != 200:
                    raise InputError(f"crowdsec {config.name}: found status {answer.status_code}, expected 200",
                                     hint="403: is the key one of `cscli bouncers add`?")  # fmt: skip
                data = bytearray()
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > MAX_ANSWER:
                        raise InputError(f"crowdsec {config.name}: found more than {MAX_ANSWER} bytes")
            return msgspec.json.decode(data or b"{}", type=Stream)
        except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"crowdsec {config.name}: {shorten(error)}") from error

    def _take_all(self, stream: Stream, now: int) -> set[Key]:
        self._decisions = dict(self._held(stream.new or (), now))
        with self._context.store.reading() as tx:
            ours = Filter(tenant=MAIN_TENANT, owner="feed", origin=self._origin)
            self._entries = {_key_of(entry): entry.id for entry in each_entry(tx, ours)}
        return {held.key for held in self._decisions.values()} | self._entries.keys()

    def _take_news(self, stream: Stream, now: int) -> set[Key]:
        touched = set()
        for decision in stream.deleted or ():
            gone = self._decisions.pop(decision.id, None)
            if gone is not None:
                touched.add(gone.key)
        for number, held in self._held(stream.new or (), now):
            self._decisions[number] = held
            touched.add(held.key)
        return touched

    def _held(self, decisions: Iterable[Decision], now: int) -> Iterable[tuple[int, Held]]:
        skipped = 0
        for decision in decisions:
            key, left = _key(decision), _seconds(decision.duration)
            if key is None or left is None or left <= 0:
                skipped += 1
                continue
            yield decision.id, Held(key, now + int(left), decision.scenario)
        if skipped:
            _LOG.info("%s: skipped %d decisions that name no address or have ended", self._origin, skipped)

    def _write(self, touched: set[Key], now: int) -> int:
        """Let the entries of these keys be what the decisions say."""
        wanted: dict[Key, Held] = {}
        for held in self._decisions.values():
            if held.key in touched and held.expires > max(now, wanted[held.key].expires if held.key in wanted else 0):
                wanted[held.key] = held
        keys, changed, refused = sorted(touched), 0, 0
        for start in range(0, len(keys), CHUNK):
            done, bad = self._write_some(keys[start : start + CHUNK], wanted)
            changed, refused = changed + done, refused + bad
        if changed or refused:
            _LOG.info("%s: changed %d entries, %d were refused", self._origin, changed, refused)
        return changed

    def _write_some(self, keys: list[Key], wanted: Mapping[Key, Held]) -> tuple[int, int]:
        context, refused = self._context, 0
        actor = Actor(MAIN_TENANT, self._origin, "import", "import")
        made: dict[Key, str | None] = {}
        with context.signals.writing() as writing:
            tx = writing.tx
            tenant, layers = get_tenant(tx, MAIN_TENANT), layers_of(context.config.rules())
            if tenant is None:
                raise NotReady(f"the store has no tenant '{MAIN_TENANT}'")
            batch = Batch(tx, context.rules, actor, tenant, context.store.now(), layers=layers, approved=True)
            for key in keys:
                try:
                    made[key] = self._put(batch, key, wanted.get(key))
                except NotReady:
                    raise
                except Problem:  # somebody else's entry says it; protected; the layer may not
                    refused += 1
            changes = batch.write()
            writing.tell_changes(changes)
        for key, entry_id in made.items():
            if entry_id is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = entry_id
        return len(changes), refused

    def _put(self, batch: Batch, key: Key, held: Held | None) -> str | None:
        """Return the id of the entry of a key as it is then; None: there is none. Raises Problem."""
        before = self._before(batch, key)
        if held is None:
            if before is not None:
                delete(batch, before, "no longer decided", take_over=True)
            return None
        if before is None:
            written = Written(
                list=key.list, networks=(key.network,), applications=self.config.applications, expires=held.expires,
                reason=held.reason, author=self._origin,
            )  # fmt: skip
            return add(batch, written, layer=batch.rules.bans, owner="feed", origin=self._origin).id
        if before.expires is not None and abs(before.expires - held.expires) > DRIFT:
            batch.own(change_period(batch, before, held.expires, held.reason, take_over=True), "feed")
        return before.id

    def _before(self, batch: Batch, key: Key) -> Entry | None:
        """Return our entry of a key that holds; somebody may have deleted it, or taken it over."""
        entry_id = self._entries.get(key)
        try:
            entry = None if entry_id is None else batch.entry(entry_id)
        except Missing:
            return None
        return entry if entry is not None and entry.owner == "feed" and entry.active(batch.seconds) else None


def _key_of(entry: Entry) -> Key:
    return Key(entry.networks[0], entry.list)


def _key(decision: Decision) -> Key | None:
    """Return whom a decision names; None: no address or network, or a type that we have no list for."""
    on = _LISTS.get(decision.type.lower())
    if on is None or decision.scope.lower() not in {"ip", "range"}:
        return None
    try:
        networks = parse_networks(decision.value)
    except AddressError:
        return None
    if len(networks) != 1:
        return None
    (network,) = networks
    full = network.length == (32 if network.version == 4 else 128)
    return Key(str(network).partition("/")[0] if full else str(network), on)


def _seconds(text: str) -> float | None:
    """Return a duration of Go, such as `3h59m27.5s`; None: it is not one. Below zero it has ended."""
    digits = text.removeprefix("-")
    parts = _DURATION.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if digits != text else seconds
