"""`authz history`, `authz undo`, `authz rollback`: what was on the lists, and going back."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.common.output import print_json
from authz.cli.control import entries
from authz.cli.control.common.client import all_pages, ask
from authz.cli.control.common.shown import print_entries, print_entry, print_history, reached

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Most = Annotated[int, typer.Option("--limit", min=1, help="Maximum number of changes to show.")]
Wait = Annotated[str | None, typer.Option(metavar="published|enforced", help="Wait until the change is there.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(entries.app)
    app.command(epilog="Example: authz history 203.0.113.9 --from 2026-12-01T00:00:00Z")(history)
    app.command(epilog="Example: authz undo 1795837392 --reason 'a mistake'")(undo)
    app.command(epilog="Example: authz rollback 2026-12-01T12:00:00Z --dry-run")(rollback)


def history(
    address: Annotated[
        str | None, typer.Argument(metavar="[ADDRESS]", help="Only changes that concern this address.")
    ] = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="At or after this time.")] = None,
    to: Annotated[str | None, typer.Option(metavar="TIME", help="Before this time.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Show the entries at this time instead of changes.")
    ] = None,
    limit: Most = 100,
    json: Json = False,
) -> None:
    """Show who changed what, when, how and why, newest first."""
    if at is not None:
        entries = all_pages("/v1/entries", limit, address=address, at=at)
        if json:
            print_json({"entries": entries})
        else:
            print_entries(entries, "no entries")
        return
    changes = all_pages("/v1/history", limit, address=address, **{"from": begin, "to": to})
    if json:
        print_json({"changes": changes})
    else:
        print_history(changes)


def undo(
    serial: Annotated[int, typer.Argument(metavar="SERIAL", help="The serial of the change, as `history` shows it.")],
    layer: Annotated[
        str | None, typer.Option(help="The layer of the change. Needed where two layers have a change of this serial.")
    ] = None,
    reason: Annotated[str, typer.Option(help="The reason; kept in history.")] = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Undo one change, unless the entry has been changed since."""
    done = ask("POST", "/v1/undo", {"layer": layer, "serial": serial, "reason": reason}, wait=wait)
    if json:
        print_json(done)
    else:
        print_entry("undone", [("serial", serial), *reached(done)])


def rollback(
    to: Annotated[str, typer.Argument(metavar="TIME|SERIAL", help="The state to restore.")],
    layer: Annotated[str | None, typer.Option(help="Only this layer. Default: all, or bans for a serial.")] = None,
    reason: Annotated[str, typer.Option(help="The reason; kept in history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Restore an earlier state of the lists, under new serials. History keeps everything."""
    target: str | int = int(to) if to.isdigit() else to
    body = {"to": target, "layer": layer, "reason": reason, "dry_run": dry_run}
    done = ask("POST", "/v1/rollback", body, wait=wait)
    if json:
        print_json(done)
        return
    counts = [(name, len(done[name])) for name in ("restored", "changed", "deleted", "skipped")]
    print_entry("would go back" if dry_run else "went back", [*counts, *reached(done)])
    for entry_id, why in done["skipped"].items():
        print_entry(f"skipped {entry_id}", [("why", why)])
