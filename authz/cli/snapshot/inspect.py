"""`authz snapshot verify` and `inspect`: is a file good, and what is in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from authz.cli.common.failure import fail
from authz.cli.common.output import block, count, err, out, print_json
from authz.cli.snapshot.entry_text import entry_as_json, entry_lines
from authz.errors import InputError, Refusal, SnapshotRefused
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.snapshot.read import Snapshot
    from authz.wire.snapshot.v1.snapshot_pb2 import Feed

File = Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TrustedKeys = Annotated[
    list[Path], typer.Option("--trusted-key", metavar="PUB", help="Public key that is trusted; may be repeated.")
]
Threshold = Annotated[int, typer.Option(help="How many trusted keys must have signed.", min=1)]

MAX_SHOWN = 50  # entries, applications or feeds that a person is shown; --json has all


def register(app: typer.Typer) -> None:
    """Add the commands to `authz snapshot`."""
    app.command(epilog="Example: authz snapshot verify lists.snapshot --trusted-key keys/2026.pub")(verify)
    app.command(epilog="Example: authz snapshot inspect lists.snapshot")(inspect)


def verify(file: File, trusted_key: TrustedKeys, threshold: Threshold = 1, json: Json = False) -> None:
    """Check a snapshot as a sidecar does, and also every element of its index.

    Exit status 0: good; 1: refused.
    """
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.publisher.whole_layer import read_whole
    from authz.snapshot.signing.keys import load_public_key

    keys = [load_public_key(path) for path in trusted_key]
    if threshold > len(keys):
        raise InputError(f"--threshold: found {threshold}, expected at most {len(keys)}, the number of keys")
    try:
        snapshot, parts = read_whole(file, keys, threshold, now=time.time())
        opened = OpenedSnapshot(snapshot)
        with err.status("checking every element of the index"):
            problem = next(opened.index.problems(len(opened.entries)), None)
            for part in (snapshot, *parts):
                singles = part.singles()
                problem = problem or (next(singles.problems(), None) if singles else None)
        if problem:
            raise SnapshotRefused(Refusal.BAD_SECTION, problem)
    except SnapshotRefused as error:
        if json:
            print_json({"good": False, "code": error.code, "message": error.message})
            raise typer.Exit(1) from error
        _refuse(file, error)
    if json:
        print_json({"good": True, "serial": opened.serial, "signed_by": opened.signed_by, "digest": opened.digest})
    else:
        out.print(f"good: serial {opened.serial}, signed by {', '.join(k[:16] for k in opened.signed_by)}")


def _refuse(file: Path, error: SnapshotRefused) -> NoReturn:
    fail(error.copy(file), status=1)


def inspect(file: File, json: Json = False) -> None:
    """Show what is in a snapshot. Signatures and expiry are not checked: use verify for that."""
    from authz.snapshot.read import inspect_snapshot

    try:
        content = _content(file, inspect_snapshot(file))
    except SnapshotRefused as error:
        _refuse(file, error)
    if json:
        print_json(content)
    else:
        _show(content)


def _content(file: Path, snapshot: Snapshot) -> dict[str, Any]:
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

    opened = OpenedSnapshot(snapshot)
    manifest = snapshot.manifest
    return {
        "file": str(file),
        "layer": manifest.layer,
        "serial": opened.serial,
        "created": format_moment(opened.created),
        "expires": format_moment(manifest.expires if manifest.HasField("expires") else None),
        "digest": snapshot.digest,
        "bytes": snapshot.size,
        "built_by": manifest.origin.by,
        "built_from": manifest.origin.source,
        "applications": len(opened.applications),
        "entries": len(opened.entries),
        "pieces": sum(opened.index.pieces.values()),
        "match_sets": opened.index.set_count,
        "single_addresses": len(snapshot.singles() or ()),
        "tombstones": len(snapshot.tombstones()),
        "requires": [require._asdict() for require in snapshot.requires],
        "part": manifest.part,
        "rollback_of": manifest.origin.rollback_of or None,
        "protected": list(manifest.protected),
        "forced": [f"{override.by}: {override.refusal}" for override in manifest.forced],
        "applications_by_name": [
            {**a._asdict(), "hosts": list(a.hosts), "deny": a.deny._asdict()} for a in opened.applications
        ],
        "entries_by_id": [entry_as_json(entry) for entry in opened.entries],
        "feeds": [_feed_as_json(f) for f in manifest.feeds],
        "sections": [
            {"name": s.name, "offset": s.offset, "length": s.length, "type": s.type, "sha256": s.sha256.hex()}
            for s in manifest.sections
        ],
    }


def _feed_as_json(feed: Feed) -> dict[str, Any]:
    kept = format_moment(feed.kept_since) if feed.HasField("kept_since") else None
    return {"source": feed.source, "path": feed.path, "format": feed.format, "entries": feed.entries,
            "kept_since": kept, "problem": feed.problem}  # fmt: skip


def _show(content: dict[str, Any]) -> None:
    names = ("layer", "serial", "created", "expires", "digest", "bytes", "built_by", "built_from", "pieces",
             "match_sets")  # fmt: skip
    rows = [(name.replace("_", " "), content[name]) for name in names if content[name] != ""]
    rows += [("protected", ", ".join(content["protected"]))] if content["protected"] else []
    rows += [(name.replace("_", " "), content[name]) for name in ("single_addresses", "tombstones") if content[name]]
    rows += [("requires", f"part {required['serial']}") for required in content["requires"]]
    rows += [("part", "of a layer; good only where its head requires it")] if content["part"] else []
    rows += [("rollback of", content["rollback_of"])] if content["rollback_of"] else []
    rows += [("forced", override) for override in content["forced"]]
    block(content["file"], [f"{name:<16} {value}" for name, value in rows])
    for title, of in (("applications_by_name", _application), ("entries_by_id", entry_lines), ("feeds", _feed)):
        parts = content[title]
        if parts:
            out.print(f"{title.partition('_')[0]} ({len(parts):,})", style="bold")
        for part in parts[:MAX_SHOWN]:
            first, *more = of(part)
            block(first, more, indent=2, style="")
        if len(parts) > MAX_SHOWN:
            out.print(f"  ... and {len(parts) - MAX_SHOWN:,} more; --json has all")
    out.print(f"sections ({len(content['sections'])})", style="bold")
    for section in content["sections"]:
        out.print(f"  {section['name']:<16} {section['type']:<4} {count(section['length'], 'byte')}")


def _application(application: dict[str, Any]) -> Iterator[str]:
    yield "* (every other)" if application["name"] == "*" else application["name"]
    yield ", ".join(f"{name} {application[name]}" for name in ("mode", "default", "precedence", "match"))
    if application["dry_run"]:
        yield "dry run: every request is allowed"
    if not application["denylist_in_monitoring"]:
        yield "the deny list only warns in the modes off and monitoring"
    if application["hosts"]:
        yield f"hosts {', '.join(application['hosts'])}"
    deny = application["deny"]
    body = f", {deny['content_type']}: {deny['body']}" if deny["body"] else ""
    yield f"denies with {deny['status']}{body}"


def _feed(feed: dict[str, Any]) -> Iterator[str]:
    yield f"{feed['path']}: {feed['source']}, {feed['format']}, {count(feed['entries'], 'entry', 'entries')}"
    if feed["kept_since"] is not None:
        yield f"BROKEN, so its last good content of {feed['kept_since']} was kept: {feed['problem']}"
