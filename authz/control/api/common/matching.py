"""ETags of entries, and If-Match: who changes an entry says which version was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.model.problems import Required, Stale

if TYPE_CHECKING:
    from authz.control.model.records import Entry


def etag(entry_id: str, version: int) -> str:
    """Return the strong ETag of a version of an entry."""
    return f'"{entry_id}.{version}"'


def check_match(entry: Entry, if_match: str | None, shown: Any, *, required: bool = True) -> None:
    """Raise Required without If-Match, and Stale (with what is there now) where it names another version."""
    now = etag(entry.id, entry.version)
    if if_match is None:
        if required:
            hint = f"send If-Match: {now}, if that is the version you saw"
            raise Required("found no If-Match, expected the ETag of the entry", hint=hint)
        return
    named = {tag.strip() for tag in if_match.split(",")}
    if "*" not in named and now not in named:
        current = msgspec.to_builtins(shown)
        raise Stale(f"the entry is at version {entry.version} now", extra={"etag": now, "current": current})
