"""`authz snapshot`: checking and looking into snapshot files; building them is in authz.cli.build."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from authz.cli.build import build
from authz.cli.failure import fail
from authz.cli.output import err, out, print_json, table, visible
from authz.errors import InputError, Refusal, SnapshotRefused
from authz.times import format_moment

if TYPE_CHECKING:
    from authz.snapshot.read import Snapshot

app = typer.Typer(name="snapshot", help="Build snapshot files, check them, look into them.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TrustedKeys = Annotated[
    list[Path], typer.Option("--trusted-key", metavar="PUB", help="Public key that is trusted; may be repeated.")
]
Threshold = Annotated[int, typer.Option(help="How many trusted keys must have signed.", min=1)]


@app.callback()
def snapshot() -> None:
    """Build snapshot files, check them, look into them."""


app.command(epilog="Example: authz snapshot build policy.yaml -o lists.snapshot --key keys/2026.key")(build)


@app.command(epilog="Example: authz snapshot verify lists.snapshot --trusted-key keys/2026.pub")
def verify(file: File, trusted_key: TrustedKeys, threshold: Threshold = 1, json: Json = False) -> None:
    """Check a snapshot as a sidecar does, and every element of its index besides.

    Exit status 0: good; 1: refused.
    """
    from authz.engine.opened_snapshot import OpenedSnapshot
    from authz.snapshot.keys import load_public_key
    from authz.snapshot.read import read_snapshot

    keys = [load_public_key(path) for path in trusted_key]
    if threshold > len(keys):
        raise InputError(f"--threshold: found {threshold}, expected at most {len(keys)}, the number of keys")
    try:
        checked = read_snapshot(file, keys, threshold, now=time.time())
        loaded = OpenedSnapshot(checked)
        with err.status("checking every element of the index"):
            problem = next(loaded.index.problems(len(loaded.entries)), None)
        if problem:
            raise SnapshotRefused(Refusal.BAD_SECTION, problem)
    except SnapshotRefused as error:
        if json:
            print_json({"good": False, "code": error.code, "message": error.message})
            raise typer.Exit(1) from error
        _refuse(file, error)
    if json:
        print_json({"good": True, "serial": loaded.serial, "signed_by": loaded.signed_by, "digest": loaded.digest})
    else:
        out.print(f"good: serial {loaded.serial}, signed by {', '.join(k[:16] for k in loaded.signed_by)}")


def _refuse(file: Path, error: SnapshotRefused) -> NoReturn:
    fail(error.copy(file), status=1)


@app.command(epilog="Example: authz snapshot inspect lists.snapshot")
def inspect(file: File, json: Json = False) -> None:
    """Show what is in a snapshot. Signatures and expiry are not looked at: use verify for those."""
    from authz.snapshot.read import inspect_snapshot

    try:
        found = inspect_snapshot(file)
        content = _content(file, found)
    except SnapshotRefused as error:
        _refuse(file, error)
    if json:
        print_json(content)
        return
    lists = ("applications_by_name", "entries_by_id", "feeds", "sections")
    table(str(file), [(name.replace("_", " "), value) for name, value in content.items() if name not in lists])
    _table_of("applications", content["applications_by_name"])
    _table_of("entries", content["entries_by_id"])
    _table_of("feeds", content["feeds"])
    _table_of("sections", content["sections"])


def _content(file: Path, found: Snapshot) -> dict[str, Any]:
    from authz.engine.opened_snapshot import OpenedSnapshot

    loaded = OpenedSnapshot(found)
    manifest = found.manifest
    return {
        "file": str(file),
        "serial": loaded.serial,
        "created": format_moment(loaded.created),
        "expires": format_moment(manifest.expires if manifest.HasField("expires") else None),
        "digest": found.digest,
        "bytes": found.size,
        "applications": len(loaded.applications),
        "entries": len(loaded.entries),
        "pieces": sum(loaded.index.pieces.values()),
        "match_sets": loaded.index.set_count,
        "forced": [f"{one.by}: {one.refusal}" for one in manifest.forced],
        "applications_by_name": [
            {**a._asdict(), "hosts": list(a.hosts), "deny": a.deny._asdict()} for a in loaded.applications
        ],
        "entries_by_id": [
            {
                **e._asdict(),
                "applications": sorted(e.applications),
                "subjects": list(e.subjects),
                "starts": format_moment(e.starts, "always"),
                "expires": format_moment(e.expires),
            }
            for e in loaded.entries
        ],
        "feeds": [
            {"source": f.source, "path": f.path, "format": f.format, "entries": f.entries} for f in manifest.feeds
        ],
        "sections": [
            {"name": s.name, "offset": s.offset, "length": s.length, "type": s.type, "sha256": s.sha256.hex()}
            for s in manifest.sections
        ],
    }


MAX_ROWS = 50  # of a table for a person; --json has all


def _table_of(title: str, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not rows:
        return
    grid = Table(title=f"{title} ({len(rows)})", title_justify="left")
    names = [name for name in rows[0] if any(row[name] not in ("", [], ()) for row in rows)]
    for name in names:
        grid.add_column(name.replace("_", " "), overflow="fold")
    for row in rows[:MAX_ROWS]:
        grid.add_row(*(visible(_cell(name, row[name])) for name in names))
    out.print(grid)
    if len(rows) > MAX_ROWS:
        out.print(f"... and {len(rows) - MAX_ROWS} more; --json has all")


def _cell(name: str, value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or ("all" if name == "applications" else "")
    if isinstance(value, dict):
        return " ".join(f"{v}" for v in value.values() if v != "")
    return str(value)
