"""`authz entries`: what is on the lists of a control plane; add, change, delete, and replace what a source says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import all_pages, ask, segment
from authz.cli.control.common.completion import complete_application, complete_entry
from authz.cli.control.common.shown import describe, print_entries, print_entry, print_rows, print_yesterday, reached
from authz.errors import InputError, reason_of

app = typer.Typer(name="entries", help="Show, add, change and delete entries of a control plane.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[str | None, typer.Option(metavar="published|enforced", help="Wait until the change is there.")]
Reason = Annotated[str, typer.Option(help="The reason; kept in history.")]
Many = list[str] | None
Networks = Annotated[
    Many, typer.Option("--network", help="An address, network or range; may be repeated, like the other subjects.")
]
Excepted = Annotated[Many, typer.Option("--except", help="Except this address or network.")]
Hosts = Annotated[Many, typer.Option("--host", help="A host name.")]
Countries = Annotated[Many, typer.Option("--country", help="Two letters, such as KP.")]
Regions = Annotated[Many, typer.Option("--region", help="Of a country, such as UA-43.")]
Continents = Annotated[Many, typer.Option("--continent", help="Two letters, such as EU.")]
Asns = Annotated[list[int] | None, typer.Option("--asn", help="The number of an autonomous system.")]
Sources = Annotated[Many, typer.Option("--source", help="A source type, such as tor.")]
Applications = Annotated[
    Many,
    typer.Option("--application", help="Only for this application. Default: all.", autocompletion=complete_application),
]
EntryId = Annotated[str, typer.Argument(metavar="ID", help="The id of an entry.", autocompletion=complete_entry)]
Force = Annotated[bool, typer.Option("--force", help="Apply it even if it denies your own address.")]
TakeOver = Annotated[bool, typer.Option("--take-over", help="Change it even if it belongs to an import or a feed.")]
Period = Annotated[str | None, typer.Option("--for", metavar="PERIOD", help="Such as 5m, 2h, 7d, or forever.")]
Expires = Annotated[str | None, typer.Option(metavar="TIME", help="End at this time, instead of --for.")]
LinesFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="One address, network or range per line; - for standard input.")
]
OnList = Annotated[str, typer.Option("--list", metavar="allow|deny|gray", help="The list for the entries.")]


@app.callback(invoke_without_command=True, epilog="Example: authz entries --address 203.0.113.9")
def entries(
    context: typer.Context,
    address: Annotated[
        str | None, typer.Option(help="Only entries that cover this address or network, or lie in it.")
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As of this time. Default: now.")] = None,
    on: Annotated[
        str | None, typer.Option("--list", metavar="allow|deny|gray", help="Only entries on this list.")
    ] = None,
    application: Annotated[
        str | None, typer.Option(help="Only entries for this application.", autocompletion=complete_application)
    ] = None,
    origin: Annotated[str | None, typer.Option(help="Only entries from this import, trigger or feed.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries to show.")] = 200,
    json: Json = False,
) -> None:
    """Show the entries of the control plane, now or as of a time."""
    if context.invoked_subcommand is not None:
        return
    wanted = {"address": address, "at": at, "list": on, "application": application, "origin": origin}
    entries = all_pages("/v1/entries", limit, **wanted)
    if json:
        print_json({"entries": entries})
    else:
        print_entries(entries, "no entries")


@app.command(epilog="Example: authz entries show b-272c00006b0a4dd0")
def show(
    entry_id: EntryId,
    json: Json = False,
) -> None:
    """Show one entry in full."""
    entry = ask("GET", f"/v1/entries/{segment(entry_id)}")
    print_json(entry) if json else print_entry(entry_id, describe(entry))


@app.command(epilog="Example: authz entries count --at 2026-12-01T00:00:00Z")
def count(
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As of this time. Default: now.")] = None,
    json: Json = False,
) -> None:
    """Count the entries of each list, now or as of a time."""
    counts = ask("GET", "/v1/counts", at=at)
    if json:
        print_json(counts)
        return
    rows = [(item["list"], item["layer"], item["tenant"], item["entries"]) for item in counts["items"]]
    print_rows(("list", "layer", "tenant", "entries"), rows, "no entries")
    print_entry("in all", [("entries", counts["total"]), ("at", counts["at"])])


@app.command(epilog="Example: authz entries add --list allow --host vpn.example.com --for forever --reason office")
def add(
    on: Annotated[str, typer.Option("--list", metavar="allow|deny|gray", help="The list for the entry.")] = "deny",
    network: Networks = None,
    excepted: Excepted = None,
    host: Hosts = None,
    country: Countries = None,
    region: Regions = None,
    continent: Continents = None,
    asn: Asns = None,
    source: Sources = None,
    application: Applications = None,
    period: Period = None,
    expires: Expires = None,
    starts: Annotated[str | None, typer.Option(metavar="TIME", help="From this time on. Default: now.")] = None,
    warn: Annotated[bool, typer.Option("--warn", help="Only report; do not deny.")] = False,
    reason: Reason = "",
    force: Force = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")] = False,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Add an entry. Without a period it lasts one hour."""
    body = {
        "list": on, "networks": network, "except": excepted, "hosts": host, "countries": country,
        "regions": region, "continents": continent, "asns": asn, "sources": source, "applications": application,
        "period": period, "expires": expires, "starts": starts,
        "action": "warn" if warn else None, "reason": reason, "force": force,
    }  # fmt: skip
    if dry_run:
        _previewed(ask("POST", "/v1/preview", _given(body)), json=json)
    else:
        _told("added", ask("POST", "/v1/entries", _given(body), wait=wait), json=json)


@app.command(epilog="Example: authz entries load addresses.txt --for 7d --application shop")
def load(
    file: LinesFile,
    on: OnList = "deny",
    application: Applications = None,
    period: Period = None,
    expires: Expires = None,
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Add an entry for each line of a file. A refused line does not stop the others."""
    rows = _rows(file, on, application, period, expires, reason)
    done = ask("POST", "/v1/entries/bulk", rows, wait=wait)
    if json:
        print_json(done)
    elif "items" not in done:  # so many that they became a job
        print_entry("a job adds them", [("id", done["id"]), ("see", f"authz control jobs show {done['id']}")])
    else:
        refused = [(row["networks"][0], item["problem"]["detail"])
                   for row, item in zip(rows, done["items"], strict=True) if item["problem"]]  # fmt: skip
        print_entry(f"added {len(rows) - len(refused)} of {len(rows)}", [*refused, *reached(done)])


@app.command(epilog="Example: authz entries change b-272c00006b0a4dd0 --for 7d --reason 'comes back each night'")
def change(
    entry_id: EntryId,
    on: Annotated[str | None, typer.Option("--list", metavar="allow|deny|gray", help="The new list.")] = None,
    network: Networks = None,
    excepted: Excepted = None,
    host: Hosts = None,
    country: Countries = None,
    region: Regions = None,
    continent: Continents = None,
    asn: Asns = None,
    source: Sources = None,
    application: Applications = None,
    period: Period = None,
    expires: Expires = None,
    starts: Annotated[str | None, typer.Option(metavar="TIME", help="From this time on.")] = None,
    action: Annotated[str | None, typer.Option(metavar="block|warn", help="The new action.")] = None,
    reason: Reason = "",
    force: Force = False,
    take_over: TakeOver = False,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Change the given fields of an entry. Refused if somebody else changed the entry in between."""
    body = {
        "list": on, "networks": network, "except": excepted, "hosts": host, "countries": country,
        "regions": region, "continents": continent, "asns": asn, "sources": source, "applications": application,
        "period": period, "expires": expires, "starts": starts, "action": action,
        "reason": reason, "force": force, "take_over": take_over,
    }  # fmt: skip
    path = f"/v1/entries/{segment(entry_id)}"
    seen = ask("GET", path)
    headers = {"If-Match": f'"{seen["id"]}.{seen["version"]}"'}
    _told("changed", ask("PATCH", path, _given(body), headers=headers, wait=wait), json=json)


@app.command(epilog="Example: authz entries delete --origin old-list --expect 312 --reason 'the list is gone'")
def delete(
    entry_id: Annotated[
        str | None,
        typer.Argument(metavar="[ID]", help="The id of an entry; or use a filter.", autocompletion=complete_entry),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="All entries that cover this address or network, or lie in it.")
    ] = None,
    on: Annotated[
        str | None, typer.Option("--list", metavar="allow|deny|gray", help="All entries on this list.")
    ] = None,
    application: Annotated[
        str | None, typer.Option(help="All entries for this application.", autocompletion=complete_application)
    ] = None,
    origin: Annotated[str | None, typer.Option(help="All entries from this import, trigger or feed.")] = None,
    expect: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Delete only if the filter matches exactly N entries.")
    ] = None,
    permanent: Annotated[
        bool, typer.Option("--permanent", help="Also bans without an end; without it only --origin finds these.")
    ] = False,
    reason: Reason = "",
    take_over: TakeOver = False,
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Delete an entry, or all entries that match a filter, if their number is the expected one."""
    rest: dict[str, Any] = {"reason": reason or None, "take_over": "true" if take_over else None, "wait": wait}
    wanted: dict[str, Any] = {"address": address, "list": on, "application": application, "origin": origin}
    filtered = any(value is not None for value in wanted.values())
    if (entry_id is None) is not filtered:
        raise InputError("found no id and no filter, or both, expected one of them", hint="--origin NAME --expect N")
    if entry_id is not None:
        done = ask("DELETE", f"/v1/entries/{segment(entry_id)}", headers={"If-Match": "*"}, **rest)
        _told("deleted", done, json=json)
        return
    if expect is None:
        kept = not permanent and origin is None
        many = sum(not (kept and _is_permanent_ban(each)) for each in all_pages("/v1/entries", **wanted))
        raise InputError(f"--expect: missing, expected how many entries go; the filter finds {many} now")
    forever: dict[str, Any] = {"permanent": "true" if permanent else None}
    done = ask("DELETE", "/v1/entries", expect=expect, **forever, **wanted, **rest)
    if json:
        print_json(done)
    else:
        print_entry(f"deleted {len(done['deleted'])} entries", reached(done))


@app.command(epilog="Example: authz entries replace partner bad-addresses.txt --for 7d --application shop")
def replace(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Name of the list; its entries have this origin.")],
    file: LinesFile,
    on: OnList = "deny",
    application: Applications = None,
    period: Period = None,
    expires: Expires = None,
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Replace the entries of a source by a file, in one change. Entries that are not in the file are deleted."""
    rows = _rows(file, on, application, period, expires, reason)
    done = ask("PUT", f"/v1/sources/{segment(source)}/entries", rows, reason=reason or None, wait=wait)
    if json:
        print_json(done)
        return
    counts = [(name, len(done[name])) for name in ("added", "changed", "deleted", "kept", "skipped")]
    print_entry(f"replaced {source}", [*counts, *reached(done)])


def _rows(
    file: Path, on: str, applications: list[str] | None, period: str | None, expires: str | None, reason: str
) -> list[dict[str, Any]]:
    """Return an entry for each line of a file. Text after a # and empty lines are skipped."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read: {reason_of(error)}") from error
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    body = {"list": on, "applications": applications, "period": period, "expires": expires, "reason": reason}
    return [{"networks": [line], **_given(body)} for line in lines if line]


def _given(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value not in (None, "", False)}


def _is_permanent_ban(entry: dict[str, Any]) -> bool:
    return entry["list"] != "allow" and entry["expires"] is None


def _previewed(shown: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(shown)
        return
    problem = shown["problem"] or {}
    said = [("layer", shown["layer"]), ("addresses", shown["addresses"]), ("refused", problem.get("detail", "")),
            ("waits for approval", shown["approval"])]  # fmt: skip
    print_entry("would be refused" if problem else "would be added", [(name, value) for name, value in said if value])
    print_entries(shown["overlaps"], "no entry names the same addresses")
    print_yesterday(shown["yesterday"])


def _told(what: str, done: dict[str, Any], *, json: bool) -> None:
    if json:
        print_json(done)
    elif "approval" in done:
        print_entry("waits for a second person", [("approval", done["approval"]), ("why", done["detail"])])
    else:
        print_entry(what, [*describe(done), *reached(done)])
