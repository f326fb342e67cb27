"""Entries and history, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authz.cli.common.output import print_json, say, table, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUBJECTS = ("networks", "hosts", "countries", "regions", "continents", "asns", "sources")


def print_entry(title: str, rows: Iterable[tuple[str, object]]) -> None:
    """Print one thing."""
    table(title, rows)


def reached(made: dict[str, Any]) -> list[tuple[str, object]]:
    """Return how far a change came, where it was waited for."""
    rows: list[tuple[str, object]] = []
    if "published" in made:
        rows.append(("published", "yes" if made["published"] else "not yet"))
    if "enforced" in made:
        behind = ", ".join(made["behind"])
        count = made["sidecars"]
        where = f"by {count} {'sidecar' if count == 1 else 'sidecars'}" if count else "nowhere: no sidecar asks for it"
        rows.append(("enforced", where if made["enforced"] else f"not yet by {behind}"))
    return rows


def print_entries(entries: Sequence[dict[str, Any]], nothing: str) -> None:
    """Print entries as a table."""
    rows = [
        (entry["id"], entry["list"], _subjects(entry), ", ".join(entry["applications"]) or "all",
         entry["expires"] or "forever", entry["author"], entry["reason"])
        for entry in entries
    ]  # fmt: skip
    print_rows(("id", "list", "whom", "applications", "until", "by", "reason"), rows, nothing)


def print_history(changes: Sequence[dict[str, Any]]) -> None:
    """Print changes as a table."""
    rows = [
        (change["time"], change["action"], _subjects(change["after"] or change["before"] or {}) or change["id"],
         change["actor"], change["method"], change["reason"], change["id"], change["layer"], change["serial"])
        for change in changes
    ]  # fmt: skip
    print_rows(("time", "action", "whom", "by", "how", "why", "id", "layer", "serial"), rows, "no changes")


def print_rows(names: Sequence[str], rows: Sequence[Sequence[object]], nothing: str) -> None:
    """Print rows in columns, each in one line of any length, or that there are none: an id must not be cut in two."""
    if not rows:
        say(nothing)
        return
    shown = [list(names), *([visible(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        say("  ".join(f"{value:{width}}" for value, width in zip(row, widths, strict=True)).rstrip())


def print_list(
    name: str, content: Sequence[object], names: Sequence[str], rows: Sequence[Sequence[object]], *, json: bool
) -> None:  # fmt: skip
    """Print what was listed: as rows, or with `json` as `{name: content}`."""
    print_json({name: content}) if json else print_rows(names, rows, f"no {name}")


def print_yesterday(yesterday: dict[str, Any] | None) -> None:
    """Print what a change would have touched of the last day's events; None: it names no clients."""
    if yesterday is None:
        return
    if not yesterday["known"]:
        say(f"no events came since {yesterday['since']}: what it would have touched is not known")
        return
    more = "" if yesterday["complete"] else " at least"
    counts = [(name, yesterday[name]) for name in ("events", "denied", "clients")]
    counts += [(f"in {each['application'] or 'none'}", each["events"]) for each in yesterday["applications"]]
    uncounted = [("not counted", ", ".join(yesterday["uncounted"]))] if yesterday["uncounted"] else []
    print_entry(f"of the events since {yesterday['since']} it would have touched{more}", [*counts, *uncounted])


def describe(entry: dict[str, Any]) -> list[tuple[str, object]]:
    """Return what an entry says, for people: what it does not say is left out."""
    rows: list[tuple[str, object]] = [("id", entry["id"]), ("list", entry["list"])]
    rows += [(name, ", ".join(map(str, entry[name]))) for name in (*SUBJECTS, "except") if entry.get(name)]
    rows += [("applications", ", ".join(entry["applications"]) or "all"), ("action", entry["action"])]
    if entry["starts"]:
        rows.append(("from", entry["starts"]))
    rows.append(("until", entry["expires"] or "forever"))
    rows += [(name, entry[name]) for name in ("reason", "author", "owner", "origin", "layer") if entry[name]]
    if entry.get("serial"):
        rows.append(("serial", entry["serial"]))
    return rows


def _subjects(entry: dict[str, Any]) -> str:
    named = [str(value) for name in SUBJECTS for value in entry.get(name, ())]
    shown = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
    excepted = ", ".join(entry.get("except", ()))
    return f"{shown} but {excepted}" if excepted else shown
