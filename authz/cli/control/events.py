"""`authz control events export`: events of the store as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.control.client import download
from authz.durable import replace_file
from authz.errors import InputError

events = typer.Typer(name="events", help="Export events.")
SUFFIXES = {".parquet": "parquet", ".ndjson": "ndjson", ".jsonl": "ndjson"}


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    app.add_typer(events)


@events.callback()
def _events() -> None:
    pass


@events.command("export", epilog="Example: authz control events export week.parquet --sort client --from -7d")
def export_events(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="FILE.parquet or FILE.ndjson; -: JSON lines to stdout.")],
    since: Annotated[str | None, typer.Option("--from", metavar="TIME", help="RFC 3339, or a period ago: -7d.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="RFC 3339, or a period ago: -1d.")] = None,
    sort: Annotated[str, typer.Option(help="time, or client: an archive that is asked for addresses.")] = "time",
    address: Annotated[str | None, typer.Option(help="Only of this address or network.")] = None,
    application: Annotated[str | None, typer.Option(help="Only of this application.")] = None,
    decision: Annotated[str | None, typer.Option(help="Only allow, or deny.")] = None,
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
