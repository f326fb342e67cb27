"""What a change made different, field by field, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from authz.control.model.records import SUBJECTS, WRITTEN
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.control.model.records import Change, Written

LABELS: Final = {"except_": "except", "expires": "ends", "asns": "ASNs"}
# Reasons of a decision (design section 5), as a sentence goes on after "Allowed: ".
REASONS: Final = {
    "allowlisted": "it is on the allow list",
    "denylisted": "it is on the deny list",
    "graylisted": "it is on the gray list, and the request shows no attack",
    "graylisted_attack": "it is on the gray list, and the request shows an attack",
    "attack": "the request shows an attack",
    "default_allow": "it is on no list, and the default is to allow",
    "default_deny": "it is on no list, and the default is to deny",
}


def changed(change: Change) -> list[tuple[str, str, str]]:
    """Return each field that is different, with what it said before and says now."""
    if ":" in change.subject:
        return _of_documents(change)
    before, after = change.entry_before(), change.entry_after()
    if before is None or after is None:
        return []
    return fields_between(before, after)


def fields_between(before: Written, after: Written) -> list[tuple[str, str, str]]:
    """Return the fields in which two versions of an entry differ."""
    return [
        (LABELS.get(name, name), *_sides(name, getattr(before, name), getattr(after, name)))
        for name in WRITTEN
        if getattr(before, name) != getattr(after, name)
    ]


def _sides(name: str, before: Any, after: Any) -> tuple[str, str]:
    if name in {*SUBJECTS, "except_", "applications"}:
        gone, come = [v for v in before if v not in after], [v for v in after if v not in before]
        if name == "applications" and not (before and after):
            return _texts(before) or "all", _texts(after) or "all"
        return _texts(gone), _texts(come)
    if name in {"starts", "expires"}:
        return format_moment(before), format_moment(after)
    return str(before), str(after)


def _texts(values: list[Any]) -> str:
    return ", ".join(str(value) for value in values)


def _of_documents(change: Change) -> list[tuple[str, str, str]]:
    before = msgspec.json.decode(change.before) if change.before else {}
    after = msgspec.json.decode(change.after) if change.after else {}
    return [
        (name, _json(before.get(name)), _json(after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _json(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
