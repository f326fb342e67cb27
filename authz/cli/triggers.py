"""`authz triggers`: trying triggers on a real log, before they are switched on."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from authz.cli.common.output import out, print_json, table, visible
from authz.errors import AddressError, BadLine, InputError
from authz.times import format_duration, format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.control.detect.counting.detector import Listing
    from authz.control.detect.trial.on_log import Nearest, Trial
    from authz.control.detect.triggers.file import CountRule, Trigger

_SHOWN_APPLICATIONS = 5

app = typer.Typer(name="triggers", help="Check triggers, and try them on a log.", no_args_is_help=True)

TriggersFile = Annotated[Path, typer.Argument(metavar="TRIGGERS", help="triggers.yaml")]


@app.command(epilog="Example: authz triggers check triggers.yaml")
def check(triggers: TriggersFile) -> None:
    """Check a triggers file."""
    from authz.control.detect.triggers.file import read_triggers

    written = read_triggers(triggers).triggers
    out.print(f"{triggers}: {len(written)} {'trigger' if len(written) == 1 else 'triggers'}, no mistake")


@app.command(
    "test", epilog="Example: authz triggers test triggers.yaml /var/log/nginx/access.log --protect 192.0.2.0/24"
)
def try_on_log(
    triggers: TriggersFile,
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A log of nginx, Envoy or authz; - for standard input.")],
    log_format: Annotated[str, typer.Option("--format", help="auto, event, nginx, nginx-json or envoy-json.")] = "auto",
    protect: Annotated[list[str] | None, typer.Option(help="A network that is never listed; may be repeated.")] = None,
    application: Annotated[str, typer.Option(help="The application of lines that name none.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print whom these triggers would have listed, when and why. Nobody is listed."""
    import sys

    from authz.addresses import parse_networks
    from authz.control.detect.logs import FORMATS
    from authz.control.detect.trial.on_log import try_triggers
    from authz.control.detect.triggers.file import read_triggers

    if log_format not in FORMATS:
        raise InputError(f"--format: found '{log_format[:64]}', expected one of {', '.join(FORMATS)}")
    written = read_triggers(triggers)
    try:
        networks = [network for text in protect or () for network in parse_networks(text)]
    except AddressError as error:
        raise InputError(f"--protect: {error.message}", hint=error.hint) from error
    try:
        with nullcontext(sys.stdin.buffer) if str(log) == "-" else log.open("rb") as lines:
            trial = try_triggers(written, lines, log_format, networks, application)
    except OSError as error:
        raise InputError(f"{log}: cannot be read: {error.strerror}") from error
    except BadLine as error:
        raise InputError(f"{log}: line 1 {error}") from error
    if json:
        print_json(trial.as_dict())
    else:
        _show(trial, written.triggers)


def _show(trial: Trial, triggers: Iterable[Trigger]) -> None:
    for listing in trial.listings:
        out.print(visible(_sentence(listing)))
        for event in listing.samples:
            out.print(
                visible(f"    {format_moment(event.time)} {event.method} {event.path} {event.status or ''}".rstrip())
            )
    if not trial.listings:
        out.print("nobody would have been listed")
    rows = [("events", trial.events), ("listings", len(trial.listings))]
    rows += [(f"not listed by {trigger}: {reason}", count) for (trigger, reason), count in trial.suppressed.items()]
    if trial.skipped:
        rows.append((f"lines that cannot be read ({trial.first_skipped})", trial.skipped))
    table("summary", rows)
    for nearest in trial.nearest:
        out.print(visible(_how_near(nearest)))
    for trigger in triggers:
        _hint_at_application(trigger, trial)


def _hint_at_application(trigger: Trigger, trial: Trial) -> None:
    """Say why a trigger found nothing, where that is only because the log names other applications, or none."""
    wanted = trigger.where.application
    if not wanted or not trial.applications or not trial.applications.isdisjoint(wanted):
        return
    named = sorted(name for name in trial.applications if name)[:_SHOWN_APPLICATIONS]
    what = f"names only {', '.join(named)}" if named else "names no application"
    hint = f"hint: {trigger.name} counts the application {' or '.join(wanted)}, and the log {what}"
    out.print(visible(hint if named else f"{hint}; give --application {wanted[0]} if it is of that one"))


def _how_near(nearest: Nearest) -> str:
    """Say how near a trigger that listed nobody came to it."""
    name, count = nearest.trigger.name, nearest.trigger.count
    if nearest.event is None:
        return f"{name}: no request of the log counts"
    when = format_moment(nearest.event.time)
    what, within = _counted(count), format_duration(count.within)
    return f"{name}: at most {nearest.count} {what} within {within}, limit {count.over}: {nearest.network} at {when}"


def _counted(count: CountRule) -> str:
    return f"different values of {count.distinct.removeprefix('param:')}" if count.distinct else "requests"


def _sentence(listing: Listing) -> str:
    trigger, count = listing.trigger, listing.trigger.count
    what = _counted(count)
    until = "for ever" if listing.period is None else f"for {format_duration(listing.period)}"
    where = ", ".join(listing.applications) or "all applications"
    action = "reported" if trigger.then.list == "notify" else f"on the {trigger.then.list} list {until} in {where}"
    return (
        f"{format_moment(listing.time)} {listing.network}: {action}"
        f" by {trigger.name}: {listing.counted} {what} within {format_duration(count.within)}, limit {count.over}"
    )
