"""An entry as lines for a person, and as JSON for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.engine.model import Entry


def entry_as_json(entry: Entry) -> dict[str, Any]:
    """Return what JSON can hold. Times are text."""
    content = entry._asdict() | {
        "applications": sorted(entry.applications),
        "subjects": list(entry.subjects),
        "starts": format_moment(entry.starts, "always"),
        "expires": format_moment(entry.expires),
    }
    if "added" in content:
        content["added"] = format_moment(content["added"], "unknown")
    return content


def entry_lines(entry: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of an entry as `entry_as_json` gives it; the first is its id and what it does."""
    warns = " (only warns)" if entry["action"] == "warn" else ""
    where = ", ".join(entry["applications"]) or "all applications"
    yield f"{entry['id']}: {entry['list']}{warns}, {where}"
    window = [f"from {entry['starts']}"] if entry["starts"] != "always" else []
    window += [f"until {entry['expires']}"] if entry["expires"] != "never" else []
    if window:
        yield " ".join(window)
    if entry["subjects"]:
        yield f"names {', '.join(entry['subjects'])}"
    if entry["reason"]:
        yield f"reason: {entry['reason']}"
    if entry["author"]:
        yield f"author: {entry['author']}"
