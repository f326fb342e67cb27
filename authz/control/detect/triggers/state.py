"""Triggers as people see them: what each says, whose it is, and what came of it in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.detect.triggers.book import (
    KnownTrigger,
    delete_trigger,
    known_triggers,
    parse_trigger,
    write_trigger,
)
from authz.control.model.problems import Conflict, Missing
from authz.control.model.records import MICROSECONDS
from authz.control.store.access.tokens import note
from authz.control.store.detection.triggers import resume_trigger, stopped, versions_of
from authz.errors import shorten
from authz.times import format_duration, format_moment

if TYPE_CHECKING:
    from authz.control.detect.counting.detector import Listing
    from authz.control.detect.triggers.file import Trigger
    from authz.control.model.records import Actor
    from authz.control.plane import ControlPlane
    from authz.control.store.detection.triggers import StoredTrigger


class TriedListing(msgspec.Struct, frozen=True):
    """Whom a trigger would have listed, or told of. request: the newest one that counted, such as `POST /login`."""

    network: str
    time: str
    count: int
    request: str


class TriggerState(msgspec.Struct, frozen=True):
    """A trigger and what came of it since the process began. paths: of the requests that it counts; empty: all.

    source: `file` (triggers.yaml, which is changed there only) or `api`. version, changed, actor: of one of the API.
    shadowed: triggers.yaml has one of the same name, which works instead. applications: whose requests it counts;
    empty: all. suppressed: listings that were not made, by reason. stopped: since when its breaker has stopped it.
    content: as it was written by API. newest_tried: the last of those that were only tried or told of, newest first.
    """

    name: str
    kind: str
    over: int
    within: str
    list: str
    period: str
    dry_run: bool
    applications: tuple[str, ...]
    stopped: str | None
    listed: int
    tried: int
    evaluations: int
    suppressed: dict[str, int]
    source: str
    shadowed: bool
    paths: tuple[str, ...] = ()
    version: int | None = None
    changed: str | None = None
    actor: str | None = None
    content: dict[str, Any] | None = None
    newest_tried: tuple[TriedListing, ...] = ()


class TriggerVersion(msgspec.Struct, frozen=True):
    """One version of a trigger. until: null: it holds. ended_by: who wrote the next, or deleted it."""

    version: int
    since: str
    until: str | None
    actor: str
    ended_by: str
    content: dict[str, Any]

    def applications(self) -> tuple[str, ...]:
        """Return whose requests it counted; empty: all."""
        named = self.content.get("where", {}).get("application", ())
        return (named,) if isinstance(named, str) else tuple(named)


def list_states(plane: ControlPlane) -> list[TriggerState]:
    """Return all triggers with their states."""
    with plane.store.reading() as tx:
        known, halted = known_triggers(tx, plane.intake.file), stopped(tx)
    return [_state(plane, stored, halted.get(stored.trigger.name)) for stored in known]


def get_state(plane: ControlPlane, name: str) -> TriggerState:
    """Return the trigger of a name that is at work. Raises Missing."""
    for state in list_states(plane):
        if state.name == name and not state.shadowed:
            return state
    raise Missing(f"there is no trigger '{shorten(name)}'")


def list_versions(plane: ControlPlane, name: str) -> list[TriggerVersion]:
    """Return who wrote what when, the newest first. Raises Missing if the API never had the name."""
    with plane.store.reading() as tx:
        versions = versions_of(tx, name)
    if not versions:
        raise Missing(f"there is no trigger '{shorten(name)}'")
    return [_version(version) for version in versions]


def write(
    plane: ControlPlane, actor: Actor, content: dict[str, Any], *, name: str | None = None, version: int | None = None
) -> TriggerState:
    """Add a trigger, or replace one; it works at once. Raises what `book.write_trigger` does, or `four_eyes`."""
    now = plane.store.now()
    with plane.signals.writing() as writing:
        tx = writing.tx
        _check_four_eyes(parse_trigger(content, plane.intake.file), plane.config.four_eyes.addresses)
        known = write_trigger(tx, plane.intake.file, actor, content, now, name=name, version=version)
        halted = stopped(tx)
        writing.tell("triggers")
    return _state(plane, known, halted.get(known.trigger.name))


def _check_four_eyes(trigger: Trigger, most: int | None) -> None:
    """Raise Conflict where each listing of a trigger would deny more addresses than one person may at once."""
    v4, v6 = trigger.count.lengths()
    count = max(1 << 32 - v4, 1 << max(0, 64 - v6))
    if most is not None and count > most and trigger.then.list == "deny" and not trigger.dry_run:
        detail = f"each listing would deny {count} addresses, more than {most} (four_eyes.addresses)"
        raise Conflict(detail, code="four_eyes", hint="count narrower networks, or write it into triggers.yaml")


def delete(plane: ControlPlane, actor: Actor, name: str, version: int | None) -> None:
    """End a trigger; what it has listed stays listed. Raises what `book.delete_trigger` does."""
    with plane.signals.writing() as writing:
        tx = writing.tx
        delete_trigger(tx, plane.intake.file, actor, name, version, plane.store.now())
        resume_trigger(tx, name)
        writing.tell("triggers")


def resume(plane: ControlPlane, actor: Actor, name: str) -> TriggerState:
    """Let a trigger go on that its breaker has stopped. Raises Missing."""
    get_state(plane, name)
    with plane.signals.writing() as writing:
        tx = writing.tx
        resume_trigger(tx, name)
        note(tx, actor, "trigger.resume", name, plane.store.now())
        writing.tell("triggers")
    return get_state(plane, name)


def _state(plane: ControlPlane, known: KnownTrigger, halted: int | None) -> TriggerState:
    trigger, intake, stored = known.trigger, plane.intake, known.stored
    name, then = trigger.name, trigger.then
    working = next((counting for counting in intake.detector.counting if counting.trigger == trigger), None)
    return TriggerState(
        name=name,
        kind=trigger.kind,
        over=trigger.count.over,
        within=format_duration(trigger.count.within),
        list=then.list,
        period="forever" if then.period is None else format_duration(then.period),
        dry_run=trigger.dry_run,
        applications=trigger.where.application,
        stopped=None if halted is None else format_moment(halted // MICROSECONDS),
        listed=intake.listed[name],
        tried=intake.tried[name],
        evaluations=working.evaluations if working else 0,
        suppressed={reason: n for (of, reason), n in [*intake.detector.suppressed.items()] if of == name},
        source=known.source,
        shadowed=known.shadowed,
        paths=tuple(pattern.text for pattern in trigger.where.path),
        version=stored and stored.version,
        changed=None if stored is None else format_moment(stored.since // MICROSECONDS),
        actor=stored and stored.actor,
        content=None if stored is None else msgspec.json.decode(stored.content),
        newest_tried=tuple(map(_tried, tuple(intake.newest_tried.get(name, ())))),
    )


def _tried(listing: Listing) -> TriedListing:
    newest = listing.samples[-1] if listing.samples else None
    request = f"{newest.method} {newest.path}".strip() if newest else ""
    return TriedListing(listing.network, format_moment(int(listing.time)), listing.counted, request)


def _version(stored: StoredTrigger) -> TriggerVersion:
    return TriggerVersion(
        stored.version, format_moment(stored.since // MICROSECONDS),
        None if stored.until is None else format_moment(stored.until // MICROSECONDS), stored.actor, stored.ended_by,
        msgspec.json.decode(stored.content),
    )  # fmt: skip
