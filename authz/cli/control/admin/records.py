"""`authz control audit|checkpoints|jobs|sessions|notifications`: what the control plane has written down of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from authz.cli.common.output import print_json
from authz.cli.control.common.client import all_pages, ask, segment
from authz.cli.control.common.shown import print_entry, print_list

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Most = Annotated[int, typer.Option("--limit", min=1, max=1000, help="Maximum number of rows to show.")]
jobs = typer.Typer(name="jobs", help="List jobs, and show one.")
sessions = typer.Typer(name="sessions", help="List the sessions of people, and end one.")


def register(app: typer.Typer) -> None:
    """Add the commands to `authz control`."""
    app.command(epilog="Example: authz control audit --from 2026-12-01T00:00:00Z")(audit)
    app.command(epilog="Example: authz control checkpoints --json > checkpoints.json")(checkpoints)
    app.command(epilog="Example: authz control notifications --channel ops")(notifications)
    app.add_typer(jobs)
    app.add_typer(sessions)


def audit(
    begin: Annotated[str | None, typer.Option("--from", metavar="TIME", help="At or after this time.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this token or person did.")] = None,
    limit: Most = 100,
    json: Json = False,
) -> None:
    """Show who did what to tokens, tenants, sessions and approvals, newest first."""
    notes = all_pages("/v1/audit", limit, from_=begin, actor=actor)
    rows = [(note["time"], note["actor"], note["action"], note["subject"], note["detail"]) for note in notes]
    print_list("notes", notes, ("time", "by", "action", "of", "detail"), rows, json=json)


def checkpoints(
    layer: Annotated[str | None, typer.Option(help="Only of this layer.")] = None, limit: Most = 100, json: Json = False
) -> None:
    """Show signed checkpoints of history, newest first. --json prints what `control check --checkpoints` reads."""
    known = ask("GET", "/v1/checkpoints", layer=layer, limit=limit)
    if json:
        print_json(known)
        return
    rows = [(each["layer"], each["sequence"], each["hash"]) for each in known]
    print_list("checkpoints", known, ("layer", "serial", "hash"), rows, json=False)


def notifications(
    channel: Annotated[str | None, typer.Option(help="Only of this channel.")] = None,
    limit: Most = 100,
    json: Json = False,
) -> None:
    """Show the channels and recent messages: sent, waiting or dropped, and why."""
    known = ask("GET", "/v1/notifications", channel=channel, limit=limit)
    if json:
        print_json(known)
        return
    print_list("channels", known["channels"], ("channel",), [(each["name"],) for each in known["channels"]], json=False)
    rows = [(each["created"], each["channel"], each["topic"], each["state"], each["text"]) for each in known["items"]]
    print_list("messages", known["items"], ("time", "channel", "topic", "is", "text"), rows, json=False)


@jobs.callback(invoke_without_command=True)
def list_jobs(context: typer.Context, json: Json = False) -> None:
    """List the jobs of the last week, newest first."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/jobs")
        rows = [
            (job["id"], job["created"], job["state"], f"{job['done']} of {job['total']}", job["why"]) for job in known
        ]
        print_list("jobs", known, ("id", "since", "is", "rows", "why"), rows, json=json)


@jobs.command("show", epilog="Example: authz control jobs show j-12ab34cd56ef")
def show_job(job_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a job.")], json: Json = False) -> None:
    """Show how far a job is, and the rows that were refused."""
    job = ask("GET", f"/v1/jobs/{segment(job_id)}")
    if json:
        print_json(job)
        return
    print_entry(job_id, [(name, job[name]) for name in ("state", "total", "done", "added", "created", "finished")])
    print_entry("refused", [(f"row {row['row']}", row["detail"]) for row in job["refused"]])


@sessions.callback(invoke_without_command=True)
def list_sessions(context: typer.Context, json: Json = False) -> None:
    """List the sessions of people that hold."""
    if context.invoked_subcommand is None:
        known = ask("GET", "/v1/sessions")
        rows = [
            (each["id"], each["name"], each["role"], each["address"], each["seen"], each["expires"]) for each in known
        ]
        print_list("sessions", known, ("id", "who", "role", "from", "seen", "until"), rows, json=json)


@sessions.command("end", epilog="Example: authz control sessions end s-12ab34cd56ef")
def end_session(
    session_id: Annotated[str, typer.Argument(metavar="ID", help="The id of a session.")], json: Json = False
) -> None:
    """End a session at once."""
    ask("DELETE", f"/v1/sessions/{segment(session_id)}")
    print_json({"ended": session_id}) if json else print_entry("ended", [("id", session_id)])
