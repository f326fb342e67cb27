"""`authz control triggers|holds`: what lists clients automatically, and whom it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import ask, json_of, segment
from authz.cli.control.common.shown import print_entry, print_list

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a trigger.")]
triggers = typer.Typer(name="triggers", help="List, show, set, try, delete and resume triggers.")
holds = typer.Typer(name="holds", help="List the networks that triggers leave alone, and end a hold.")
TriggerFile = Annotated[Path, typer.Argument(metavar="FILE", help="JSON with the keys of triggers.yaml; - for stdin.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    app.add_typer(triggers)
    app.add_typer(holds)


@triggers.callback(invoke_without_command=True)
def list_triggers(context: typer.Context, json: Json = False) -> None:
    """List the triggers of the control plane, and what came of them."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/triggers")
        if json:
            print_json(known)
            return
        rows = [(each["name"], each["kind"], "stopped" if each["stopped"] else "works") for each in known["items"]]
        print_list("triggers", known["items"], ("name", "kind", "is"), rows, json=False)


@triggers.command("show", epilog="Example: authz control triggers show login-guessing")
def show_trigger(name: Name, json: Json = False) -> None:
    """Show a trigger with its counts."""
    known = ask("GET", f"/v1/triggers/{segment(name)}")
    print_json(known) if json else print_entry(name, known.items())


@triggers.command("versions", epilog="Example: authz control triggers versions login-guessing")
def list_versions(name: Name, json: Json = False) -> None:
    """Show who wrote a trigger, newest first."""
    known = ask("GET", f"/v1/triggers/{segment(name)}/versions")
    rows = [tuple(each[key] or "" for key in ("version", "actor", "since", "until", "ended_by")) for each in known]
    print_list("versions", known, ("version", "by", "since", "until", "ended by"), rows, json=json)


@triggers.command("set", epilog="Example: authz control triggers set login.json")
def set_trigger(file: TriggerFile, json: Json = False) -> None:
    """Add a trigger, or replace the one with this name, unless somebody else changed it in between."""
    content: dict[str, Any] = json_of(file, dict)
    known = {each["name"]: each for each in ask("GET", "/v1/triggers")["items"]}.get(content.get("name", ""))
    if known is None:
        done = ask("POST", "/v1/triggers", content)
    else:
        headers = {"If-Match": f'"{known["name"]}.{known["version"]}"'}
        done = ask("PUT", f"/v1/triggers/{segment(known['name'])}", content, headers=headers)
    print_json(done) if json else print_entry("set", [("name", done["name"]), ("version", done["version"])])


@triggers.command("test", epilog="Example: authz control triggers test login.json")
def try_trigger(file: TriggerFile, json: Json = False) -> None:
    """Show whom a trigger would have listed by the events of the last day. Nobody is listed."""
    trial = ask("POST", "/v1/triggers/test", {"trigger": json_of(file, dict)})
    if json:
        print_json(trial)
        return
    print_entry("trial", [(name, value) for name, value in trial.items() if not isinstance(value, list | dict)])
    for listing in trial.get("listings", ()):
        print_entry("would list", listing.items())
    for nearest in trial.get("nearest", ()):
        print_entry("came nearest", nearest.items())


@triggers.command("resume", epilog="Example: authz control triggers resume login-guessing")
def resume_trigger(name: Name, json: Json = False) -> None:
    """Resume a trigger that its breaker has stopped."""
    done = ask("POST", f"/v1/triggers/{segment(name)}/resume")
    print_json(done) if json else print_entry("goes on", [("name", name)])


@triggers.command("delete", epilog="Example: authz control triggers delete login-guessing")
def delete_trigger(name: Name, json: Json = False) -> None:
    """Delete a trigger; what it has listed stays listed."""
    known = ask("GET", f"/v1/triggers/{segment(name)}")
    ask("DELETE", f"/v1/triggers/{segment(name)}", headers={"If-Match": f'"{name}.{known["version"]}"'})
    print_json({"deleted": name}) if json else print_entry("deleted", [("name", name)])


@holds.callback(invoke_without_command=True)
def list_holds(context: typer.Context, json: Json = False) -> None:
    """List the networks that triggers leave alone after a person deleted an automatic entry."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/holds")["items"]
        rows = [(hold["id"], hold["network"], hold["until"], hold["actor"], hold["only"] or "all") for hold in known]
        print_list("holds", known, ("id", "network", "until", "by", "triggers"), rows, json=json)


@holds.command("end", epilog="Example: authz control holds end b-272c00006b0a4dd0.1.0")
def end_hold(
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a hold.")], json: Json = False
) -> None:
    """Let triggers list the network again."""
    ask("DELETE", f"/v1/holds/{segment(hold_id)}")
    print_json({"ended": hold_id}) if json else print_entry("ended", [("id", hold_id)])
