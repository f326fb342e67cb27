"""`authz replay`: many requests from a file, one decision a line, by the same code as `authz serve`."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from authz.cli.common.failure import fail
from authz.cli.common.open_decider import ConfigFile, SnapshotFile, open_decider, parse_time
from authz.cli.common.output import out, print_json, progress, table, visible
from authz.errors import InputError, SnapshotRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.replay.run import Job
    from authz.replay.summary import Summary

SMALL = 8 << 20  # bytes of a file that one process decides before another has started


class Format(StrEnum):
    """The formats of authz.replay.formats."""

    AUTO = "auto"
    JSONL = "jsonl"
    NGINX = "nginx"
    NGINX_JSON = "nginx-json"
    ENVOY = "envoy"
    ENVOY_JSON = "envoy-json"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(
        epilog="Examples: authz replay requests.jsonl --config authz.yaml, and, before a publish: "
        "authz replay access.log --config authz.yaml --application shop --against new.snapshot --summary"
    )(replay)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines or an access log; - for standard input.")],
    config: ConfigFile,
    snapshot: SnapshotFile = None,
    against: Annotated[
        Path | None, typer.Option(help="Another snapshot to compare with: show what it would have changed.")
    ] = None,
    log_format: Annotated[Format, typer.Option("--format", help="The format of FILE.")] = Format.AUTO,
    application: Annotated[str | None, typer.Option(help="The application for requests without one.")] = None,
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Decide all requests as at this time. Default: the time of each, or now."),
    ] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Print counts instead of decisions.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="With --against: print only changed decisions.")] = False,
    top: Annotated[int, typer.Option(help="How many clients, networks and entries --summary lists.", min=1)] = 10,
    skip: Annotated[bool, typer.Option("--skip", help="Skip lines that cannot be parsed, and count them.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes. Default: one per core.", min=1, max=64)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Decide the requests of FILE and print one JSON object per line, in order.

    A JSON line is {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop",
    "time": "2026-12-01T00:00:00Z"}; only peer is required; "unix:" is a unix socket. Access logs of nginx (combined or
    JSON) and Envoy (default text or JSON) are recognised.
    """
    from authz.replay.run import replay as decide_all
    from authz.replay.summary import Summary

    if changed and against is None:
        raise InputError("--changed: found without --against, expected another snapshot to compare with")
    moment = None if at is None else parse_time(at, "--at")
    make_job = functools.partial(
        _make_job, config, snapshot, against, log_format.value, application, moment, not summary, changed, skip
    )
    total = Summary()
    try:
        with _opened(file) as (source, size), progress() as advance:
            processes = 1 if size < SMALL else workers or os.cpu_count() or 1
            done = 0
            for block in decide_all(source, str(file), make_job, processes):
                sys.stdout.buffer.write(block.output)
                total.add(block.summary)
                done += block.size
                advance("replay", done, size)
                if block.error is not None:
                    raise block.error
    except SnapshotRefused as error:
        fail(error, status=1)
    finally:
        sys.stdout.buffer.flush()
    if total.skipped:
        hint = f"; the first: {visible(total.first_skipped)}"
        typer.echo(f"authz: warning: passed over {total.skipped} lines that cannot be read{hint}", err=True)
    if summary:
        _show(total, top, as_json=json)


def _make_job(
    config: Path, snapshot: Path | None, against: Path | None, log_format: str, application: str | None,
    at: float | None, lines: bool, only_changed: bool, skip: bool,
) -> Job:  # fmt: skip
    """Return the job; called in each process."""
    from authz.replay.run import Job

    decider = open_decider(config, snapshot)[1]
    other = None if against is None else open_decider(config, against)[1]
    return Job(decider, other, log_format, application, at, lines, only_changed, skip)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Give the file and its size in bytes; 0 for standard input."""
    if str(file) == "-":
        yield sys.stdin.buffer, 0
        return
    try:
        source = file.open("rb")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    with source:
        yield source, file.stat().st_size


def _show(total: Summary, top: int, *, as_json: bool) -> None:
    content = total.as_dict(top)
    if as_json:
        print_json(content)
        return
    out.print(f"{content['requests']} requests")
    _table(
        "decisions by application",
        [(f"{d['application']}: {d['decision']}", d["requests"]) for d in content["decisions"]],
    )
    for name in ("reasons", "lists", "entries", "warnings", "denied_clients", "denied_networks"):
        _table(name.replace("_", " "), list(content[name].items()))
    _table("changes", [(f"{c['application']}: {c['change']}", c["requests"]) for c in content["changes"]])
    _table("changed clients", list(content["changed_clients"].items()))


def _table(title: str, rows: list[tuple[str, Any]]) -> None:
    if rows:
        table(title, rows)
