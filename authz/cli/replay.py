"""`authz replay`: many requests from a file, one decision a line, by the same code as `authz serve`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import orjson
import typer

from authz.cli.deciding import ConfigFile, SnapshotFile, make_request, open_decider, parse_time
from authz.cli.output import fail, progress
from authz.errors import InputError, SnapshotRefused, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.serve.config import Config
    from authz.serve.decision import Decider

MAX_LINE = 1 << 20  # bytes


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request. time: absent for now."""

    peer: str
    headers: tuple[tuple[str, str], ...] = ()
    application: str | None = None
    time: str | None = None


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command(epilog="Example: authz replay requests.jsonl --config authz.yaml")(replay)


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines; - for standard input.")],
    config: ConfigFile,
    snapshot: SnapshotFile = None,
) -> None:
    """Decide the requests of FILE and print one JSON object a line, in order.

    A line is {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop",
    "time": "2026-12-01T00:00:00Z"}; only peer is needed; "unix:" is a unix socket.
    """
    try:
        settings, decider = open_decider(config, snapshot)
    except SnapshotRefused as error:
        fail(error, status=1)
    with progress() as advance:
        for number, line, done, size in _lines(file):
            decision = decide_line(settings, decider, line, f"{file}:{number}")
            sys.stdout.buffer.write(orjson.dumps(decision, option=orjson.OPT_APPEND_NEWLINE))
            advance("replay", done, size)
    sys.stdout.buffer.flush()


def _lines(file: Path) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield (number, line, bytes read, bytes in all) of the lines that have something in them."""
    try:
        source = sys.stdin.buffer if str(file) == "-" else file.open("rb")
        size = 0 if str(file) == "-" else file.stat().st_size
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    with source:
        done = number = 0
        while line := source.readline(MAX_LINE):
            number += 1
            done += len(line)
            if len(line) == MAX_LINE:
                raise InputError(f"{file}:{number}: found {MAX_LINE} bytes or more, expected a shorter line")
            if line.strip():
                yield number, line, done, size


def decide_line(config: Config, decider: Decider, text: bytes, where: str) -> dict[str, Any]:
    """Return the decision on one line. where: file and line, for the error. Raises InputError."""
    from authz.addresses import network_of

    try:
        line = msgspec.json.decode(text, type=Line)
    except msgspec.DecodeError as error:
        raise InputError(
            f"{where}: found {shorten(text.decode('utf-8', 'replace').strip())}: {error}",
            hint='expected {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop"}',
        ) from error
    now = time.time() if line.time is None else parse_time(line.time, f"{where}: time")
    peer = None if line.peer.startswith("unix:") else line.peer
    outcome, client = decider.check(make_request(config, peer, line.headers, line.application), now)
    covering = [] if client is None else decider.covering(client)
    matches = [
        {"entry": entry.id, "list": entry.list, "network": str(network_of(client, length))}
        for entry, length in covering
        if client is not None
    ]
    return {**outcome.as_dict(client), "matches": matches}
