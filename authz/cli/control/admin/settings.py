"""`authz control tenants|applications|policy`: who owns which applications, and how these are decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import ask, json_of, segment
from authz.cli.control.common.completion import complete_application
from authz.cli.control.common.shown import print_entry, print_list, reached

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Reason = Annotated[str, typer.Option(help="The reason; kept in history.")]
Wait = Annotated[str | None, typer.Option(metavar="published|enforced", help="Wait until the change is there.")]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="An application, or * for all.", autocompletion=complete_application),
]
tenants = typer.Typer(name="tenants", help="List and set tenants.")
applications = typer.Typer(name="applications", help="List, set and delete the settings of applications.")
policy = typer.Typer(name="policy", help="Show and set feeds, databases, limits and protected networks.")


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    for group in (tenants, applications, policy):
        app.add_typer(group)


@tenants.callback(invoke_without_command=True)
def list_tenants(context: typer.Context, json: Json = False) -> None:
    """List tenants and their applications."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/tenants")
        rows = [(tenant["name"], ", ".join(tenant["applications"]), tenant["created"]) for tenant in known]
        print_list("tenants", known, ("name", "applications", "since"), rows, json=json)


@tenants.command("set", epilog="Example: authz control tenants set team-a --application 'team-a-*'")
def set_tenant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant; made if there is none.")],
    application: Annotated[list[str], typer.Option(help="A name or pattern of its own; may be repeated.")],
    json: Json = False,
) -> None:
    """Create a tenant, or change its applications."""
    done = ask("PUT", f"/v1/tenants/{segment(name)}", {"applications": application})
    print_json(done) if json else print_entry("set", [("name", name), ("applications", ", ".join(application))])


@applications.callback(invoke_without_command=True)
def list_applications(
    context: typer.Context,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As of this time. Default: now.")] = None,
    json: Json = False,
) -> None:
    """List applications and their settings, now or as of a time."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/applications", at=at)
        rows = [
            (each["name"], ", ".join(f"{key}={value}" for key, value in each["settings"].items())) for each in known
        ]
        print_list("applications", known, ("name", "settings"), rows, json=json)


@applications.command("set", epilog="Example: authz control applications set shop --mode block --reason 'goes live'")
def set_application(
    name: Name,
    mode: Annotated[str | None, typer.Option(metavar="off|monitoring|safe_blocking|block")] = None,
    default: Annotated[str | None, typer.Option(metavar="allow|deny", help="For who is on no list.")] = None,
    precedence: Annotated[str | None, typer.Option(metavar="allow_first|deny_first|most_specific")] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host name of it; may be repeated.")] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON with settings, beside these; - for standard input.")
    ] = None,
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Replace the settings of an application."""
    settings: dict[str, Any] = json_of(file, dict) if file is not None else {}
    given = {"mode": mode, "default": default, "precedence": precedence, "hosts": host}
    settings |= {key: value for key, value in given.items() if value is not None}
    done = ask("PUT", f"/v1/applications/{segment(name)}", settings, reason=reason or None, wait=wait)
    print_json(done) if json else print_entry(f"set {name}", [*_serials(done), *reached(done)])


@applications.command("delete", epilog="Example: authz control applications delete shop --reason 'gone'")
def delete_application(name: Name, reason: Reason = "", wait: Wait = None, json: Json = False) -> None:
    """Delete the settings of an application that no entry names."""
    done = ask("DELETE", f"/v1/applications/{segment(name)}", reason=reason or None, wait=wait)
    print_json(done) if json else print_entry(f"deleted {name}", [*_serials(done), *reached(done)])


@policy.callback(invoke_without_command=True)
def show_policy(context: typer.Context, json: Json = False) -> None:
    """Show feeds, databases, limits and protected networks."""
    if context.invoked_subcommand is None:
        content = ask("GET", "/v1/policy")
        rows = [
            (name, each) for name, value in content.items() for each in (value if isinstance(value, list) else [value])
        ]
        print_json(content) if json else print_entry("settings of the policy" if rows else "no settings", rows)


@policy.command("set", epilog="Example: authz control policy set policy.json --reason 'protect the office'")
def set_policy(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON as `control policy --json` prints it; - for stdin.")
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Also if entries deny what is protected; bans of that are ended.")
    ] = False,
    reason: Reason = "",
    wait: Wait = None,
    json: Json = False,
) -> None:
    """Replace feeds, databases, limits and protected networks."""
    forced = "true" if force else None
    done = ask("PUT", "/v1/policy", json_of(file, dict), reason=reason or None, force=forced, wait=wait)
    print_json(done) if json else print_entry("set", [*_serials(done), *reached(done)])


def _serials(done: dict[str, Any]) -> list[tuple[str, object]]:
    return [(f"serial of {layer}", serial) for layer, serial in done["serials"].items()]
