"""`authz snapshot build`: from a policy to a signed snapshot."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.output import out, print_json, progress, table, visible
from authz.cli.snapshot.history import ARCHIVE
from authz.errors import BadValue, InputError

if TYPE_CHECKING:
    from authz.publisher.build import Published
    from authz.publisher.policy.read import Policy
    from authz.publisher.policy.subjects import ReadFeed, SubjectOptions
    from authz.snapshot.read import Snapshot


def register(app: typer.Typer) -> None:
    """Add the command to `authz snapshot`."""
    app.command(epilog="Example: authz snapshot build policy.yaml -o lists.snapshot --key keys/2026.key")(build)


def build(
    policy: Annotated[Path, typer.Argument(metavar="POLICY", help="The policy file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The snapshot file; replaced in one step.")],
    key: Annotated[
        list[str], typer.Option(help="Private key file, or URI such as awskms:...; may be repeated to sign twice.")
    ],
    public_key: Annotated[Path | None, typer.Option(help="The public key, if --key is a URI.")] = None,
    serial: Annotated[
        int | None,
        typer.Option(help="Default: seconds since 1970, or the serial of OUTPUT plus one.", min=1, max=2**63 - 1),
    ] = None,
    valid_for: Annotated[
        str | None, typer.Option(metavar="TIME", help="Sidecars refuse the snapshot after this time, such as 7d.")
    ] = None,
    lenient: Annotated[bool, typer.Option(help="Accept host bits: 10.0.0.2/10 means 10.0.0.0/10.")] = False,
    allow_unresolved: Annotated[
        bool, typer.Option("--allow-unresolved", help="Warn about host names without an address instead of failing.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not resolve host names: use the last answers.")
    ] = False,
    host_cache: Annotated[
        Path | None, typer.Option(help="File with the last answers for host names. Default: OUTPUT.hosts.json.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write the snapshot even if a check refuses it, and record who forced it.")
    ] = False,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for a copy of each build, for rollback. Default: archive, beside OUTPUT."
        ),
    ] = None,
    no_archive: Annotated[bool, typer.Option("--no-archive", help="Keep no copy.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compile a policy, sign it, and write the snapshot.

    If the policy has errors, print all of them with file, line and key, and write nothing.
    """
    from authz.engine.entries.opened_snapshot import POLICY_LAYER
    from authz.publisher.build import publish
    from authz.publisher.builder import builder_name
    from authz.publisher.output_lock import building
    from authz.publisher.policy.read import read_policy
    from authz.publisher.previous import known_ends, last_build
    from authz.snapshot.archive import Archive
    from authz.snapshot.signing.signers import load_signer
    from authz.wire.snapshot.v1.snapshot_pb2 import Origin

    if output.resolve() == policy.resolve():
        raise InputError(f"--output: found {policy}, which is the policy, expected another file")
    signers = [load_signer(reference, public_key) for reference in key]
    now, by = int(time.time()), builder_name()
    expires = None if valid_for is None else now + int(_duration(valid_for))
    with building(output), progress() as advance:
        previous = last_build(output, layer=POLICY_LAYER, serial=serial)
        options = _options(output, previous, host_cache, offline=offline, allow_unresolved=allow_unresolved)
        checked = read_policy(
            policy, lenient=lenient, options=options, now=now, known=known_ends(previous), progress=advance
        )
        published = publish(
            checked, previous, signers, by if force else None,
            output=output, serial=serial, created=now, expires=expires, origin=Origin(by=by, source=str(policy)),
            progress=advance,
        )  # fmt: skip
        if not no_archive:
            Archive(archive or output.parent / ARCHIVE, POLICY_LAYER).keep(output, now=now)
    _show(output, published, checked, json=json)


def _options(
    output: Path, previous: Snapshot | None, host_cache: Path | None, *, offline: bool, allow_unresolved: bool
) -> SubjectOptions:
    """Return how what entries name is resolved; what is kept for the next build lies beside the output."""
    from authz.publisher.feeds.hosts import HostOptions
    from authz.publisher.policy.subjects import SubjectOptions
    from authz.publisher.previous import feed_counts

    hosts = HostOptions(host_cache or output.with_name(f"{output.name}.hosts.json"), offline=offline)
    return SubjectOptions(hosts, allow_unresolved, feed_counts(previous), output.with_name(f"{output.name}.feeds"))


def _show(output: Path, published: Published, checked: Policy, *, json: bool) -> None:
    """Print the warnings, what was built, and what became of each feed."""
    for warning in (*published.warnings, *(f"forced: {line}" for line in published.forced)):
        typer.echo(f"authz: warning: {visible(warning)}", err=True)
    built = published.built._asdict()
    if json:
        feeds = [_feed_counts(read) for read in checked.feeds]
        print_json({"file": str(output), **built, "feeds": feeds, "warnings": list(published.warnings)})
        return
    table(f"built {output}", [(name.replace("_", " "), value) for name, value in built.items()])
    for read in checked.feeds:
        counts = _feed_counts(read)
        text = ", ".join(f"{counts[name]} {name}" for name in ("taken", "skipped", "filtered", "bogons", "merged"))
        out.print(visible(f"feed {read.path}: {counts['format']}: {text}"))


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
        raise InputError(f"--valid-for: {error.message}", hint=error.hint) from None
    if seconds < 1:  # it would have expired when it is written
        raise InputError(f"--valid-for: found '{text}', expected a second or more")
    return seconds
