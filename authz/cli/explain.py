"""`authz explain`: why a request is allowed or denied, step by step."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.deciding import ConfigFile, SnapshotFile, make_request, open_decider, parse_time
from authz.cli.output import fail, moment, out, print_json, table
from authz.errors import InputError, SnapshotRefused

if TYPE_CHECKING:
    from authz.addresses import Address
    from authz.serve.decision import Decider, Outcome


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: authz explain 203.0.113.9 --application shop --peer 10.0.0.1 --config authz.yaml")(
        explain
    )


def explain(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The client's address.")],
    config: ConfigFile,
    snapshot: SnapshotFile = None,
    application: Annotated[str | None, typer.Option(help="As the proxy names it.")] = None,
    peer: Annotated[
        str | None, typer.Option(help="Who connects to the proxy, or unix:. Default: ADDRESS itself.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(help="'Name: value', may be repeated. Default with --peer: ADDRESS, forwarded.")
    ] = None,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Default: now.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show who the client is taken for, each entry that covers the address, and the decision."""
    from authz.addresses import parse_address

    given = parse_address(address)
    try:
        settings, decider = open_decider(config, snapshot)
    except SnapshotRefused as error:
        fail(error, status=1)
    headers = [_header(one) for one in header or ()]
    if peer is not None and not header:
        name = settings.client_address.header
        headers = [(name, f'for="[{given.text}]"' if name == "forwarded" and given.version == 6 else
                    f"for={given.text}" if name == "forwarded" else given.text)]  # fmt: skip
    peer_text = None if peer is not None and peer.startswith("unix:") else peer or given.text
    now = time.time() if at is None else parse_time(at, "--at")
    request = make_request(settings, peer_text, headers, application)
    outcome, client = decider.check(request, now)
    content = {
        "time": moment(now),
        "walk": [step._asdict() for step in decider.steps(request)],
        "decision": outcome.as_dict(client),
        "covering": _covering(decider, outcome, client, now),
    }
    if client is not None and client != given:
        content["note"] = f"the client is {client.text}, not {given.text}"
    if json:
        print_json(content)
    else:
        _show(content)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise InputError(f"--header: found '{text[:64]}', expected 'Name: value'")
    return name.strip(), value.strip()


def _covering(decider: Decider, outcome: Outcome, client: Address | None, now: float) -> list[dict[str, Any]]:
    from authz.addresses import network_of

    if client is None or decider.loaded is None:
        return []
    by_name = {application.name: application for application in decider.loaded.applications}
    application = by_name[outcome.application]
    return [
        {
            "entry": entry.id,
            "list": entry.list,
            "network": str(network_of(client, length)),
            "window": f"{moment(entry.starts, 'always')} to {moment(entry.expires)}",
            "applications": sorted(entry.applications),
            "reason": entry.reason,
            "author": entry.author,
            "verdict": _verdict(application, entry, outcome, now),
        }
        for entry, length in decider.covering(client)
    ]


def _verdict(application: Any, entry: Any, outcome: Outcome, now: float) -> str:
    from authz.policy.decide import only_warns

    if not entry.concerns(application.name):
        return "dropped: not for this application"
    if not entry.active(now):
        return "dropped: out of its window"
    if only_warns(application, entry):
        return "reported as a warning only"
    if entry.id == outcome.entry:
        return "decides"
    if entry.list == "gray" and application.mode != "safe_blocking":
        return f"not looked at in mode {application.mode}"
    return "loses by precedence"


def _show(content: dict[str, Any]) -> None:
    decision = content["decision"]
    colour = "green" if decision["decision"] == "allow" else "red"
    out.print("[bold]who is the client[/bold]")
    for step in content["walk"]:
        out.print(f"  {step['element'] or '(nothing)'}: {step['verdict']}", markup=False)
    out.print("[bold]entries that cover it[/bold]")
    for one in content["covering"]:
        names = ", ".join(one["applications"]) or "all applications"
        by = f"  {one['reason']}  {one['author']}".rstrip()
        out.print(f"  {one['entry']}: {one['list']} {one['network']}, {names}, {one['window']}{by}", markup=False)
        out.print(f"    {one['verdict']}", markup=False)
    if not content["covering"]:
        out.print("  none")
    if "note" in content:
        out.print(f"note: {content['note']}", markup=False)
    table(f"[{colour}]{decision['decision']}[/{colour}]", list(decision.items()))
