"""`authz snapshot build`: from a policy to a signed snapshot."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.output import out, print_json, progress, table, visible
from authz.errors import BadValue, InputError, SnapshotRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.publisher.policy.read import Policy
    from authz.publisher.policy.subjects import ReadFeed
    from authz.snapshot.read import Snapshot
    from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

MAX_DENIALS = 20  # protected networks that an error names


def build(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The snapshot file; replaced in one step.")],
    key: Annotated[
        list[str], typer.Option(help="Private key file, or URI such as awskms:...; may be repeated to sign twice.")
    ],
    public_key: Annotated[Path | None, typer.Option(help="Public half of a key that is given by URI.")] = None,
    serial: Annotated[
        int | None, typer.Option(help="Default: seconds since 1970, or one more than OUTPUT has.", min=1, max=2**63 - 1)
    ] = None,
    valid_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="Refuse the snapshot when it is older, such as 7d.")
    ] = None,
    lenient: Annotated[bool, typer.Option(help="Take 10.0.0.2/10 for 10.0.0.0/10.")] = False,
    allow_unresolved: Annotated[
        bool, typer.Option("--allow-unresolved", help="A host name without an address is a warning.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Resolve no host names: take the last answers.")] = False,
    host_cache: Annotated[
        Path | None, typer.Option(help="Keeps the last answers for host names. Default: OUTPUT.hosts.json.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write it though it denies protected networks; says so in the snapshot.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compile a policy, sign it, write it.

    A policy with mistakes prints them all, with file, line and key, and writes nothing.
    """
    from authz.publisher.build import build_snapshot
    from authz.publisher.feeds.hosts import HostOptions
    from authz.publisher.policy.read import read_policy
    from authz.publisher.policy.subjects import SubjectOptions
    from authz.snapshot.signers import load_signer

    signers = [load_signer(one, public_key) for one in key]
    now = int(time.time())
    expires = None if valid_for is None else now + int(_duration(valid_for))
    before = _last_build(output, needed=serial is None)
    number = max(now, before.serial + 1 if before else 0) if serial is None else serial
    if before is not None and number <= before.serial:
        raise InputError(
            f"--serial: found {number}, expected above {before.serial}, which {output} has",
            hint="sidecars refuse a serial that is not above the last; to start over, move the file away",
        )
    hosts = HostOptions(host_cache or output.with_name(f"{output.name}.hosts.json"), offline=offline)
    counts: dict[tuple[str, str], list[int]] = {}
    for feed in before.feeds if before else ():
        counts.setdefault((feed.source, feed.path), []).append(feed.entries)
    with progress() as advance:
        options = SubjectOptions(hosts, allow_unresolved, counts)
        checked = read_policy(policy, lenient=lenient, options=options, progress=advance)
        built = build_snapshot(
            checked, output, signers, serial=number, created=now, expires=expires, progress=advance,
            guard=_guard(checked, now, force=force),
        )  # fmt: skip
    for warning in checked.warnings:
        typer.echo(f"authz: warning: {visible(warning)}", err=True)
    if json:
        feeds = [_feed_counts(read) for read in checked.feeds]
        print_json({"file": str(output), **built._asdict(), "feeds": feeds, "warnings": list(checked.warnings)})
        return
    table(f"built {output}", [(name.replace("_", " "), value) for name, value in built._asdict().items()])
    for read in checked.feeds:
        gave = _feed_counts(read)
        said = ", ".join(f"{gave[name]} {name}" for name in ("taken", "skipped", "filtered", "bogons", "merged"))
        out.print(visible(f"feed {read.path}: {gave['format']}: {said}"))


def _feed_counts(read: ReadFeed) -> dict[str, Any]:
    """Return what became of the entries of a feed."""
    feed = read.feed
    return {
        "source": read.source,
        "path": read.path,
        "format": feed.format,
        "taken": feed.taken,
        "skipped": len(feed.skipped),
        "filtered": feed.filtered,
        "bogons": len(feed.bogons),
        "merged": feed.merged,
    }


def _duration(text: str) -> float:
    from authz.times import parse_duration

    try:
        seconds = parse_duration(text)
    except BadValue as error:
        raise InputError(f"--valid-for: {error.message}") from None
    if seconds < 1:  # it would have expired when it is written
        raise InputError(f"--valid-for: found '{text}', expected a second or more")
    return seconds


def _last_build(output: Path, *, needed: bool) -> Manifest | None:
    """Return the manifest that OUTPUT has now: serials go on from it, and feeds are compared with it.

    needed: a file that cannot be read is an error, for its serial could be higher than the clock.
    """
    from authz.snapshot.read import inspect_snapshot

    if not output.exists():
        return None
    try:
        return inspect_snapshot(output).manifest
    except SnapshotRefused as error:
        if not needed:
            return None
        message = error.message.removeprefix(f"{output}: ")
        raise InputError(
            f"{output}: exists and is no snapshot whose serial could be read: {message}",
            hint="move it away, or give --serial",
        ) from error


def _guard(policy: Policy, now: int, *, force: bool) -> Callable[[Snapshot], None]:
    """Return the check that nobody who is protected is locked out; with `force` it is only written down who did it."""
    from authz.analysis.lockout import would_deny
    from authz.engine.opened_snapshot import OpenedSnapshot
    from authz.times import format_moment

    def guard(snapshot: Snapshot) -> None:
        denials = would_deny(OpenedSnapshot(snapshot), policy.protected, now) if policy.protected else []
        lines = [
            f"protected {d.network}: {d.example} is denied in application '{d.application}'"
            f" by {f'entry {d.entry}' if d.entry else d.reason}"
            f"{f' from {format_moment(d.since)} on' if d.since > now else ''}"
            for d in denials
        ]
        if force:
            for line in lines[:MAX_DENIALS]:
                snapshot.manifest.forced.add(by=getpass.getuser(), refusal=line)
                typer.echo(f"authz: warning: forced: {line}", err=True)
        elif lines:
            more = [f"and {len(lines) - MAX_DENIALS} more"] if len(lines) > MAX_DENIALS else []
            raise InputError(
                "\n".join([*lines[:MAX_DENIALS], *more]),
                hint="nothing was written; --force writes it, with your name in the snapshot",
            )

    return guard
