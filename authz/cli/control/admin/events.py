"""`authz control events export`: events of the store as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import all_pages, ask, download
from authz.cli.control.common.completion import complete_application
from authz.cli.control.common.shown import print_list, print_rows
from authz.durable import replace_file
from authz.errors import InputError

events = typer.Typer(name="events", help="Search, count and export events.")
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[str | None, typer.Option("--from", metavar="TIME", help="RFC 3339, or a period ago: -7d.")]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="RFC 3339, or a period ago: -1d.")]
Application = Annotated[str | None, typer.Option(help="Only of this application.", autocompletion=complete_application)]
SUFFIXES = {".parquet": "parquet", ".ndjson": "ndjson", ".jsonl": "ndjson"}


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    app.add_typer(events)


@events.callback(invoke_without_command=True)
def list_events(
    context: typer.Context,
    address: Annotated[str | None, typer.Option(help="Only of this address or network.")] = None,
    application: Application = None,
    entry: Annotated[str | None, typer.Option(help="Only those that this entry decided.")] = None,
    decision: Annotated[str | None, typer.Option(metavar="allow|deny", help="Only these.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of events to show.")] = 100,
    json: Json = False,
) -> None:
    """Show events, newest first."""
    if context.invoked_subcommand is not None:
        return
    wanted = {"address": address, "application": application, "entry": entry, "decision": decision}
    items = all_pages("/v1/events", limit, **wanted, **{"from": _time(since), "to": _time(until)})
    names = ("time", "client", "application", "method", "path", "status", "decision", "entry")
    print_list("events", items, names, [[event[name] or "" for name in names] for event in items], json=json)


@events.command("count", epilog="Example: authz control events count --application shop --from -7d")
def count_events(
    application: Application = None,
    since: Since = None,
    until: Until = None,
    step: Annotated[int, typer.Option(min=1, metavar="MINUTES", help="Count in steps of so many minutes.")] = 60,
    json: Json = False,
) -> None:
    """Count events by time and decision. Without a time: the last day."""
    times: dict[str, Any] = {"from": _time(since), "to": _time(until)}
    counts = ask("GET", "/v1/events/counts", application=application, step=step, **times)
    rows = [(each["time"], each["decision"], each["events"]) for each in counts["items"]]
    print_json(counts) if json else print_rows(("time", "decision", "events"), rows, "no events")


@events.command("countries", epilog="Example: authz control events countries --from -1d")
def count_countries(
    application: Application = None, since: Since = None, until: Until = None, json: Json = False
) -> None:
    """Count events and denials by the client's country. Without a time: the last day."""
    times: dict[str, Any] = {"from": _time(since), "to": _time(until)}
    items = ask("GET", "/v1/events/countries", application=application, **times)["items"]
    rows = [(each["country"] or "not known", each["events"], each["denied"]) for each in items]
    print_list("countries", items, ("country", "events", "denied"), rows, json=json)


@events.command("export", epilog="Example: authz control events export week.parquet --sort client --from -7d")
def export_events(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="FILE.parquet or FILE.ndjson; -: JSON lines to stdout.")],
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="RFC 3339, or a period ago: -7d.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="RFC 3339, or a period ago: -1d.")] = None,
    sort: Annotated[str, typer.Option(help="time, or client: an archive that is asked for addresses.")] = "time",
    address: Annotated[str | None, typer.Option(help="Only of this address or network.")] = None,
    application: Annotated[str | None, typer.Option(help="Only of this application.")] = None,
    decision: Annotated[str | None, typer.Option(help="Only allow, or deny.")] = None,
    json: Json = False,
) -> None:
    """Write all stored events of a time to a file, however many there are.

    An incomplete answer leaves FILE as it was.
    """
    query: dict[str, Any] = {
        "form": _form(file), "sort": sort, "from": _time(since), "to": _time(until), "address": address,
        "application": application, "decision": decision,
    }  # fmt: skip
    if str(file) == "-":
        for piece in download("/v1/events/export", **query):
            sys.stdout.buffer.write(piece)
        return

    def write(into: Any) -> None:
        for piece in download("/v1/events/export", **query):
            into.write(piece)

    try:
        replace_file(file, write)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error
    if json:
        print_json({"file": str(file), "bytes": file.stat().st_size})


def _form(file: Path) -> str:
    if str(file) == "-":
        return "ndjson"
    try:
        return SUFFIXES[file.suffix]
    except KeyError:
        raise InputError(f"{file}: found '{file.suffix}', expected {', '.join(SUFFIXES)}") from None


def _time(text: str | None) -> str | None:
    import time

    from authz.times import format_moment, parse_time_or_period

    return None if text is None else format_moment(parse_time_or_period(text, time.time()))
