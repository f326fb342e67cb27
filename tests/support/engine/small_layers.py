"""Small layers for tests, and a decider over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.publishing.worlds import NOW, load

from authz.addresses import parse_network
from authz.engine.decision.decider import Decider
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import Application
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.publisher.bans.record import Ban
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from support.publishing.worlds import Subject

    from authz.engine.decision.outcome import Outcome
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import ListName

GENERAL = Application("*")
SHOP = Application("shop")


def ban(number: int, address: str, on: ListName = "deny", **fields: Any) -> Ban:
    return Ban(ban_id(number), parse_network(address), on, **fields)


def layer(
    name: str, *subjects: Subject, applications: tuple[Application, ...] = (GENERAL,), serial: int = 1, **more: Any
) -> OpenedSnapshot:
    return load(applications, subjects, serial, layer=name, **more)


def policy(*subjects: Subject, **settings: Any) -> OpenedSnapshot:
    return layer("policy", *subjects, applications=(GENERAL, SHOP._replace(**settings)), serial=7)


def decider(*files: OpenedSnapshot, **settings: Any) -> Decider:
    decider = Decider(Settings(**settings))
    decider.load(Ruleset(files))
    return decider


def check(decider: Decider, address: str, application: str = "shop", now: float = NOW) -> Outcome:
    return decider.check(Request(address, (), application), now)[0]
