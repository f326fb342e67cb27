"""`authz control tokens|approvals|publications|feeds|api`: what administrators ask a control plane for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import ask, json_of, segment
from authz.cli.control.common.shown import describe, print_entry, print_rows, print_yesterday, reached
from authz.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
tokens = typer.Typer(name="tokens", help="List, add and revoke tokens of the control plane.")
approvals = typer.Typer(name="approvals", help="List, show, approve and reject changes that wait for a second person.")


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    app.add_typer(tokens)
    app.add_typer(approvals)
    app.command(epilog="Example: authz control publications --json")(publications)
    app.command(epilog="Example: authz control feeds --json")(feeds)
    app.command(epilog="Example: authz control api PUT /v1/policy --data policy.json")(api)


@tokens.callback(invoke_without_command=True)
def list_tokens(context: typer.Context, json: Json = False) -> None:
    """List tokens, without their secrets."""
    if context.invoked_subcommand is not None:
        return
    tokens = ask("GET", "/v1/tokens")
    rows = [(token["id"], token["name"], token["role"], token["tenant"], ", ".join(token["networks"]) or "anywhere",
             "revoked" if token["revoked"] else token["expires"] or "forever") for token in tokens]  # fmt: skip
    _shown({"tokens": tokens}, ("id", "name", "role", "tenant", "from", "until"), rows, "no tokens", json=json)


@tokens.command("add", epilog="Example: authz control tokens add ci --role operator --for 90d --network 192.0.2.0/24")
def add_token(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The holder of the token; shown in history.")],
    role: Annotated[str, typer.Option(help="viewer, operator, editor, approver, admin, sidecar or source.")],
    tenant: Annotated[str | None, typer.Option(help="Default: your own.")] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Accept the token only from this network; may be repeated.")
    ] = None,
    period: Annotated[str | None, typer.Option("--for", metavar="PERIOD", help="Default: forever.")] = None,
    person: Annotated[
        str | None, typer.Option(help="Whose it is, as sign-on names people: nobody approves their own change.")
    ] = None,
    json: Json = False,
) -> None:
    """Create a token. Its secret is shown only once."""
    body = {"name": name, "role": role, "tenant": tenant, "networks": network, "period": period, "person": person}
    made = ask("POST", "/v1/tokens", {key: value for key, value in body.items() if value is not None})
    if json:
        print_json(made)
    else:
        print_entry("the token is shown only now", [("id", made["id"]), ("token", made["secret"])])


@tokens.command("revoke", epilog="Example: authz control tokens revoke t-12ab34cd56ef")
def revoke_token(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a token.")], json: Json = False
) -> None:
    """Revoke a token, and end the sessions that were started with it, at once."""
    done = ask("DELETE", f"/v1/tokens/{segment(token_id)}")
    print_json(done) if json else print_entry("revoked", [("id", done["id"]), ("name", done["name"])])


@approvals.callback(invoke_without_command=True)
def list_approvals(context: typer.Context, json: Json = False) -> None:
    """List changes that wait for a second person."""
    if context.invoked_subcommand is not None:
        return
    approvals = ask("GET", "/v1/approvals", state="waiting")
    rows = [(approval["id"], approval["created"], approval["actor"], approval["why"]) for approval in approvals]
    _shown({"approvals": approvals}, ("id", "since", "by", "why"), rows, "nothing waits", json=json)


@approvals.command("show", epilog="Example: authz control approvals show a-12ab34cd56ef")
def show_approval(approval_id: Annotated[str, typer.Argument(metavar="ID")], json: Json = False) -> None:
    """Show a waiting change, and which of yesterday's events it would have affected."""
    approval = ask("GET", f"/v1/approvals/{segment(approval_id)}")
    if json:
        print_json(approval)
        return
    told = {name: value for name, value in approval["request"].items() if name not in {"type", "data"}}
    told |= approval["request"].get("data", {})
    asked = [(name, approval[name]) for name in ("created", "actor", "why", "state")]
    said = [(name, value) for name, value in told.items() if value not in (None, "", [], False)]
    print_entry(approval_id, [*asked, ("change", approval["request"]["type"]), *said])
    print_yesterday(approval["yesterday"])


@approvals.command("approve", epilog="Example: authz control approvals approve a-12ab34cd56ef")
def approve(approval_id: Annotated[str, typer.Argument(metavar="ID")], json: Json = False) -> None:
    """Approve a waiting change."""
    done = ask("POST", f"/v1/approvals/{segment(approval_id)}/approve")
    print_json(done) if json else print_entry("approved", [*describe(done), *reached(done)])


@approvals.command("reject", epilog="Example: authz control approvals reject a-12ab34cd56ef")
def reject(approval_id: Annotated[str, typer.Argument(metavar="ID")], json: Json = False) -> None:
    """Reject a waiting change."""
    done = ask("POST", f"/v1/approvals/{segment(approval_id)}/reject")
    print_json(done) if json else print_entry("rejected", [("id", approval_id)])


def publications(json: Json = False) -> None:
    """Show what is published, which sidecars have it, and why newer changes are not."""
    published = ask("GET", "/v1/publications", limit=20)
    if json:
        print_json(published)
        return
    rows = [(p["layer"], p["serial"], p["created"], p["entries"], p["size"]) for p in published["items"]]
    print_rows(("layer", "serial", "published", "entries", "bytes"), rows, "nothing is published")
    said = [(s["name"], s["layer"], s["serial"], s["refusal"] or ("behind" if s["behind"] else "up to date"))
            for s in published["sidecars"]]  # fmt: skip
    print_rows(("sidecar", "layer", "serial", "is"), said, "no sidecar has asked lately")
    for layer, problem in published["problems"].items():
        print_entry(f"{layer} is not signed", [("why", problem)])


def feeds(json: Json = False) -> None:
    """Show the feeds that the control plane fetches, how old they are, and what was wrong."""
    feeds = ask("GET", "/v1/feeds")
    rows = [
        (feed["path"], feed["source"], feed["entries"], feed["changed"] or "never", feed["problem"]) for feed in feeds
    ]
    _shown({"feeds": feeds}, ("path", "gives", "entries", "of", "problem"), rows, "no feeds", json=json)


def api(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    path: Annotated[str, typer.Argument(metavar="PATH", help="The path with its query, such as /v1/applications.")],
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="JSON to send; - for standard input.")] = None,
    if_match: Annotated[str | None, typer.Option(metavar="ETAG", help="The version to change; * for any.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, which it does anyhow.")] = True,  # noqa: ARG001  # as of all
) -> None:
    """Send any request to the API, and print the answer."""
    if not path.startswith("/"):
        raise InputError(f"found the path '{path[:64]}', expected one such as /v1/applications")
    body: object = None if data is None else json_of(data, object)
    print_json(ask(method.upper(), path, body, headers={} if if_match is None else {"If-Match": if_match}))


def _shown(content: Any, names: tuple[str, ...], rows: list[tuple[Any, ...]], nothing: str, *, json: bool) -> None:
    print_json(content) if json else print_rows(names, rows, nothing)
