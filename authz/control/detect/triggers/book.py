"""The triggers that are at work: those of triggers.yaml, and those that were written by API.

triggers.yaml owns its names: the API changes none of them and adds none of the same name. Where the file later takes a
name that the API had, the file's trigger works, and the other is shown as shadowed until one of the two goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from authz.control.detect.triggers.file import MAX_TRIGGERS, Trigger, TriggersFile, complete, problems
from authz.control.model.problems import Conflict, FieldMistake, Invalid, Missing, Required, Stale
from authz.control.store.access.tokens import note
from authz.control.store.detection.triggers import end_trigger, put_trigger, stored_trigger, stored_triggers
from authz.errors import InvalidDocument, shorten
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.model.records import Actor
    from authz.control.store.detection.triggers import StoredTrigger

Source = Literal["file", "api"]


class KnownTrigger(NamedTuple):
    """A trigger, completed. stored: its version in the store; None for one of triggers.yaml."""

    trigger: Trigger
    source: Source
    stored: StoredTrigger | None = None
    shadowed: bool = False


def known_triggers(tx: Connection, file: TriggersFile) -> list[KnownTrigger]:
    """Return all triggers: first those of the file, then those of the store."""
    own = {trigger.name for trigger in file.triggers}
    known = [KnownTrigger(trigger, "file") for trigger in file.triggers]
    for stored in stored_triggers(tx):
        trigger = parse_trigger(msgspec.json.decode(stored.content), file)
        known.append(KnownTrigger(trigger, "api", stored, trigger.name in own))
    return known


def at_work(known: list[KnownTrigger]) -> tuple[Trigger, ...]:
    """Return what is counted for: all but the shadowed."""
    return tuple(stored.trigger for stored in known if not stored.shadowed)


def parse_trigger(content: dict[str, Any], file: TriggersFile) -> Trigger:
    """Return the trigger that `content` writes, by the rules and keys of triggers.yaml.

    file: names the databases of countries and systems. Raises Invalid with all mistakes, each at its key.
    """
    document = None
    try:
        document = read(Trigger, "trigger", msgspec.json.encode(content).decode())
        if document.content is not None:
            for key, message in problems(document.content, file.databases):
                document.mistake(key, message)
        return complete(document.checked())
    except InvalidDocument as error:
        mistakes = [FieldMistake(_pointer(mistake.key), mistake.message) for mistake in error.mistakes]
        raise Invalid(mistakes) from error


def _pointer(key: str) -> str:
    """Return the JSON pointer (RFC 6901) of a key such as `where.status[1]`."""
    return "/" + key.replace("[", ".").replace("]", "").replace(".", "/") if key != "document" else ""


def write_trigger(
    tx: Connection, file: TriggersFile, actor: Actor, content: dict[str, Any], now: int, *, name: str | None = None,
    version: int | None = None,
) -> KnownTrigger:  # fmt: skip
    """Add a trigger, or (where `name` is given) replace the version that the caller has seen.

    Raises:
        Invalid: The content has mistakes.
        Conflict: The name is taken (`exists`), or triggers.yaml owns it (`owned_by_file`); there are too many.
        Missing: There is no trigger of this name to replace.
        Stale: Somebody else was first.
        Required: `version` is needed.

    """
    trigger = parse_trigger(content, file)
    if name is not None and trigger.name != name:
        raise Invalid([FieldMistake("/name", f"found '{trigger.name}', expected '{name}', as in the path")])
    _check_owner(file, trigger.name)
    before = stored_trigger(tx, trigger.name)
    if name is None and before is not None:
        raise Conflict(f"there is a trigger '{trigger.name}' already", code="exists")
    if name is not None:
        _check_version(before, name, version)
    elif len(stored_triggers(tx)) + len(file.triggers) >= MAX_TRIGGERS:
        raise Conflict(f"there are {MAX_TRIGGERS} triggers, expected fewer", code="too_many")
    text = msgspec.json.encode(content, order="deterministic").decode()
    stored = put_trigger(tx, trigger.name, text, actor.name, now)
    note(tx, actor, "trigger.change" if before else "trigger.add", trigger.name, now, f"version {stored.version}")
    return KnownTrigger(trigger, "api", stored)


def delete_trigger(tx: Connection, file: TriggersFile, actor: Actor, name: str, version: int | None, now: int) -> None:
    """End a trigger; what it has listed stays listed. Raises what `write_trigger` does."""
    _check_owner(file, name)
    _check_version(stored_trigger(tx, name), name, version)
    end_trigger(tx, name, actor.name, now)
    note(tx, actor, "trigger.delete", name, now)


def _check_owner(file: TriggersFile, name: str) -> None:
    if any(trigger.name == name for trigger in file.triggers):
        raise Conflict(f"triggers.yaml has '{name}'", code="owned_by_file", hint="change the file")


def _check_version(before: StoredTrigger | None, name: str, version: int | None) -> None:
    if before is None:
        raise Missing(f"there is no trigger '{shorten(name)}'")
    if version is None:
        raise Required("expected If-Match with the version that is meant", code="if_match")
    if version != before.version:
        raise Stale(
            f"found version {version}, the trigger is at {before.version}",
            extra={"current": msgspec.json.decode(before.content), "version": before.version},
        )
