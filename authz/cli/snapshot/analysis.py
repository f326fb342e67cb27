"""`authz snapshot diff`, `lint` and `map`: what a snapshot would do, before it does it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.open_decider import parse_time
from authz.cli.common.output import err, out, print_json, visible
from authz.errors import InputError, SnapshotRefused, shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.addresses import Network
    from authz.analysis.lint import Finding
    from authz.analysis.map.picture import Map
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Application

File = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
At = Annotated[str | None, typer.Option("--at", metavar="TIME", help="The time of the decisions. Default: now.")]
Attack = Annotated[bool, typer.Option("--attack", help="Assume that every request carries an attack signal.")]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        metavar="PUB",
        help="Refuse files without a signature by one of these. Default: accept any file.",
    ),
]

MAX_ROWS = 20  # of each code, for a person; --json has all


def register(app: typer.Typer) -> None:
    """Add the commands to `authz snapshot`."""
    example = "Example: authz snapshot"
    app.command(epilog=f"{example} diff old.snapshot new.snapshot --fail-if 'newly_denied > 1000000'")(diff)
    app.command(epilog=f"{example} lint lists.snapshot --config authz.yaml --protected 192.0.2.0/24")(lint)
    app.command(name="map", epilog=f"{example} map lists.snapshot -o shop.png --application shop")(draw)


def diff(
    before: Annotated[Path, typer.Argument(metavar="OLD", help="The current snapshot.")],
    after: Annotated[Path, typer.Argument(metavar="NEW", help="The new snapshot.")],
    application: Annotated[str | None, typer.Option(metavar="NAME", help="Only decisions of this application.")] = None,
    at: At = None,
    attack: Attack = False,
    fail_if: Annotated[
        str | None, typer.Option(metavar="CONDITION", help="Exit status 1 if it is true: 'newly_denied > 1000000'.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many of the largest networks to show, of each kind.", min=0)] = 20,
    trusted_key: TrustedKeys = None,
    json: Json = False,
) -> None:
    """Show what another snapshot changes: entries, applications and decisions.

    Exit status 0, or 1 if the condition of --fail-if is true.
    """
    from authz.analysis.conditions import parse_condition
    from authz.analysis.diff import COUNTS, compare
    from authz.analysis.report import diff_as_json, diff_as_text

    try:
        condition = None if fail_if is None else parse_condition(fail_if, COUNTS)
    except InputError as error:
        raise InputError(f"--fail-if: {error.message.removeprefix('condition: ')}", hint=error.hint) from error
    now = time.time() if at is None else parse_time(at, "--at")
    was, is_now = _load(before, trusted_key), _load(after, trusted_key)
    with err.status("comparing"):
        difference = compare(was, is_now, now=now, attack=attack, application=application, top=top)
    counts = difference.counts()
    holds = condition is not None and condition.holds(counts)
    if json:
        snapshots = {"before": _about(before, was), "after": _about(after, is_now), "time": format_moment(now)}
        told = None if condition is None else {"text": str(condition), "holds": holds}
        print_json({**snapshots, "attack": attack, **diff_as_json(difference), "condition": told})
    else:
        _show_about(before, was)
        _show_about(after, is_now)
        out.print(f"decisions at {format_moment(now)}{', with an attack signal' if attack else ''}")
        for line in diff_as_text(difference):
            out.print(visible(line))
        if condition is not None:
            out.print(f"the condition {'holds' if holds else 'does not hold'}: {condition}")
    if holds:
        raise typer.Exit(1)


def lint(
    file: File,
    config: Annotated[
        Path | None, typer.Option("--config", help="The configuration of the sidecar, for its trusted_proxies.")
    ] = None,
    protected: Annotated[
        list[str] | None, typer.Option(metavar="NETWORK", help="A network that nothing may deny; may be repeated.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit status 1 for any finding, not only for errors.")] = False,
    at: At = None,
    trusted_key: TrustedKeys = None,
    json: Json = False,
) -> None:
    """Find probable mistakes: entries without effect, contradictions, self-lockouts.

    Exit status 0, or 1 if there is an error.
    """
    from authz.addresses import parse_networks
    from authz.analysis.lint import lint as lint_snapshot

    own = [network for text in protected or () for network in parse_networks(text)]
    proxies = [] if config is None else _trusted_proxies(config)
    now = time.time() if at is None else parse_time(at, "--at")
    loaded = _load(file, trusted_key)
    with err.status("looking"):
        findings = lint_snapshot(loaded, now=now, trusted_proxies=proxies, protected=own)
    counts = {s: sum(finding.severity == s for finding in findings) for s in ("error", "warning", "notice")}
    if json:
        content = [
            {"severity": finding.severity, **finding._asdict(), "example": finding.example or None}
            for finding in findings
        ]
        print_json({**_about(file, loaded), "time": format_moment(now), "counts": counts, "findings": content})
    else:
        _show_findings(findings)
        some = [_plural(count, severity) for severity, count in counts.items() if count]
        out.print(", ".join(some) or f"good: {file} has nothing to find fault with")
    if counts["error"] or (strict and findings):
        raise typer.Exit(1)


def draw(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="The picture: a name that ends in .png or .svg.")],
    application: Annotated[str, typer.Option(metavar="NAME", help="The application whose decisions are drawn.")] = "*",
    against: Annotated[
        Path | None, typer.Option(metavar="OLD", help="Draw the difference from this snapshot to FILE.")
    ] = None,
    at: At = None,
    attack: Attack = False,
    order: Annotated[
        int, typer.Option(help="At 12, a pixel is a /24. Each step less has a quarter of the pixels.")
    ] = 12,
    trusted_key: TrustedKeys = None,
    json: Json = False,
) -> None:
    """Draw IPv4 as a picture, coloured by decision, or by change.

    The picture follows a Hilbert curve: a network is one square, or two side by side. Its map is 2^order pixels wide.
    """
    from authz.analysis.decisions import Deciding
    from authz.analysis.map.drawing import draw_png
    from authz.analysis.map.picture import decision_map, difference_map
    from authz.analysis.map.svg import draw_svg

    if output.suffix not in {".png", ".svg"}:
        raise InputError(f"--output: found '{shorten(output)}', expected a name that ends in .png or .svg")
    now = time.time() if at is None else parse_time(at, "--at")
    loaded = _load(file, trusted_key)
    deciding = Deciding(loaded, now=now, attack=attack)
    notes = [_line_about(file, loaded)]
    if against is None:
        picture = decision_map(deciding, _application(loaded, application), order=order)
    else:
        old = _load(against, trusted_key)
        _application(loaded, application, old)
        picture = difference_map(Deciding(old, now=now, attack=attack), deciding, application, order=order)
        notes = [f"from {_line_about(against, old)}", f"to {notes[0]}"]
    notes.append(f"decisions at {format_moment(now)}{', with an attack signal' if attack else ''}")
    picture = picture._replace(notes=(*notes, *picture.notes))
    _write(output, draw_png(picture) if output.suffix == ".png" else draw_svg(picture).encode())
    if json:
        legend = [{"class": row.label, "colour": "#{:02x}{:02x}{:02x}".format(*row.colour), "amount": row.amount}
                  for row in picture.legend if row.amount]  # fmt: skip
        print_json({"file": str(output), "application": application, "time": format_moment(now), "legend": legend})
    else:
        _show_legend(output, picture)


def _load(file: Path, keys: list[Path] | None) -> OpenedSnapshot:
    """Open a snapshot, whoever signed it unless there are keys. Raises SnapshotRefused and InputError."""
    from authz.publisher.whole_layer import open_whole
    from authz.snapshot.signing.keys import load_public_key

    trusted = [load_public_key(path) for path in keys or ()]
    try:
        return open_whole(file, trusted or None, now=time.time())
    except SnapshotRefused as error:
        raise error.copy(file) from error


def _application(loaded: OpenedSnapshot, name: str, other: OpenedSnapshot | None = None) -> Application:
    known = {a.name: a for version in (other, loaded) if version is not None for a in version.applications}
    if name not in known:
        names = ", ".join(map(shorten, known))
        raise InputError(f"--application: found '{shorten(name)}', expected one of {names}")
    return known[name]


def _trusted_proxies(config: Path) -> list[Network]:
    from authz.serve.config.config import load_config

    trusted = load_config(config, os.environ).client_address.trusted_proxies
    return [network for networks in trusted for network in networks]


def _write(path: Path, data: bytes) -> None:
    from authz.durable import replace_file

    try:
        replace_file(path, lambda file: file.write(data))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _about(file: Path, loaded: OpenedSnapshot) -> dict[str, Any]:
    made = format_moment(loaded.created)
    return {"file": str(file), "serial": loaded.serial, "created": made, "digest": loaded.digest}


def _line_about(file: Path, loaded: OpenedSnapshot) -> str:
    return f"{file.name}, serial {loaded.serial}, made {format_moment(loaded.created)}"


def _show_about(file: Path, loaded: OpenedSnapshot) -> None:
    out.print(visible(f"{file}: serial {loaded.serial}, made {format_moment(loaded.created)}"))


def _show_findings(findings: list[Finding]) -> None:
    shown: dict[str, int] = {}
    for finding in findings:
        shown[finding.code] = shown.get(finding.code, 0) + 1
        if shown[finding.code] <= MAX_ROWS:
            example = f", e.g. {finding.example}" if finding.example else ""
            subject = f"{finding.entry}: " if finding.entry else ""
            out.print(visible(f"{finding.severity}: {subject}{finding.message}{example} [{finding.code}]"))
    for code, count in shown.items():
        if count > MAX_ROWS:
            out.print(f"... and {count - MAX_ROWS} more of {code}; --json has all")


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _show_legend(output: Path, picture: Map) -> None:
    out.print(visible(f"{output}: {picture.title}"), style="bold")
    for note in (*picture.notes, picture.scale):
        out.print(visible(f"  {note}"))
    for row in picture.legend:
        if row.amount:
            out.print("  \u2588\u2588", style="rgb({},{},{})".format(*row.colour), end=" ")
            out.print(f"{row.label}: {row.amount}")
