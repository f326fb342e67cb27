"""`authz snapshot history`, `rollback` and `push`: what was published, going back to it, and where it goes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authz.cli.common.output import out, print_json, table, visible, warn
from authz.errors import InputError
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.snapshot.archive import Archived
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey

ArchiveFolder = Annotated[Path, typer.Option("--archive", metavar="DIR", help="The folder of kept builds.")]
ARCHIVE = Path("archive")
Layer = Annotated[str, typer.Option(help="Name of the layer.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `authz snapshot`."""
    app.command(epilog="Example: authz snapshot history --archive archive")(history)
    app.command(epilog="Example: authz snapshot rollback 1795830000 -o lists.snapshot --key keys/2026.key")(rollback)
    app.command(epilog="Example: authz snapshot push lists.snapshot s3://bucket/lists.snapshot")(push)


def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The snapshot file.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Where sidecars fetch it: an https, s3, gs or az URL.")],
    json: Json = False,
) -> None:
    """Upload a snapshot for sidecars to fetch: never over a newer serial, another layer or a concurrent change.

    If the web server's certificate is by an authority of your own, name its PEM file in SSL_CERT_FILE.
    """
    from authz.errors import SnapshotRefused
    from authz.publisher import push as pushing
    from authz.snapshot.read import inspect_snapshot

    try:
        snapshot = inspect_snapshot(file)
        data = file.read_bytes()
    except SnapshotRefused as error:
        raise InputError(f"{file}: {error.code}: {error.message}") from error
    before = pushing.push(data, url)
    pushed = before is None or before.serial < snapshot.serial
    if json:
        replaced = before.serial if before and pushed else None
        print_json({"file": str(file), "serial": snapshot.serial, "pushed": pushed, "replaced": replaced})
    elif pushed:
        was = f", in the place of serial {before.serial}" if before else ""
        out.print(visible(f"pushed serial {snapshot.serial}{was}"))
    else:
        out.print(visible(f"serial {snapshot.serial} is there already"))


def history(archive: ArchiveFolder = ARCHIVE, layer: Layer = "policy", json: Json = False) -> None:
    """List the builds that were published, the newest first: when, by whom, from what."""
    from authz.snapshot.archive import Archive

    kept = Archive(archive, layer)
    builds = [_shown(build) for build in kept.builds()]
    if json:
        print_json({"archive": str(kept.folder), "builds": builds})
        return
    if not builds:
        hint = "builds are kept in archive/, beside the snapshot, and bans beside bans.yaml; --archive names the folder"
        raise InputError(f"{kept.folder}: found no builds", hint=hint)
    for build in builds:
        again = f", rollback of {build['rollback_of']}" if build["rollback_of"] else ""
        out.print(visible(f"{build['serial']}  {build['created']}  {build['bytes']} bytes{again}"))
        made = f"{build['by'] or 'unknown'}, from {build['source'] or 'unknown'}"
        out.print(visible(f"    by {made}{', forced' if build['forced'] else ''}"))


def _shown(build: Archived) -> dict[str, Any]:
    manifest = build.manifest
    return {
        "serial": manifest.serial,
        "created": format_moment(manifest.created),
        "expires": format_moment(manifest.expires if manifest.HasField("expires") else None),
        "by": manifest.origin.by,
        "source": manifest.origin.source,
        "rollback_of": manifest.origin.rollback_of or None,
        "forced": [f"{override.by}: {override.refusal}" for override in manifest.forced],
        "bytes": build.size,
        "file": str(build.path),
    }


def rollback(
    serial: Annotated[int, typer.Argument(metavar="SERIAL", help="The build to go back to.", min=1)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The snapshot file; replaced in one step.")],
    key: Annotated[list[str], typer.Option(help="Private key file or URI; may be repeated to sign twice.")],
    public_key: Annotated[Path | None, typer.Option(help="The public key, if --key is a URI.")] = None,
    trusted_key: Annotated[
        list[Path] | None,
        typer.Option(help="Public key that may have signed the old build. Default: the keys that sign now."),
    ] = None,
    archive: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The folder of kept builds. Default: archive, beside OUTPUT.")
    ] = None,
    layer: Layer = "policy",
    json: Json = False,
) -> None:
    """Publish an older build again: same content, signed under a higher serial. Needs no feeds and no DNS."""
    from authz.publisher.builder import builder_name, clock_warnings
    from authz.publisher.output_lock import building
    from authz.publisher.previous import last_build
    from authz.publisher.rollback import roll_back
    from authz.snapshot.archive import Archive
    from authz.snapshot.signing.keys import load_public_key
    from authz.snapshot.signing.signers import load_signer

    signers = [load_signer(reference, public_key) for reference in key]
    keys = [load_public_key(path) for path in trusted_key] if trusted_key else _public(signers, public_key)
    kept = Archive(archive or output.parent / ARCHIVE, layer)
    now = int(time.time())
    with building(output):
        older, previous = kept.find(serial), last_build(output, layer=layer)
        made = roll_back(older, output, previous, signers, keys, now=now, by=builder_name())
        for warning in clock_warnings(previous.manifest.created if previous else 0, now):
            warn(warning)
        kept.keep(output, now=now)
    if json:
        print_json({"file": str(output), "serial": made.serial, "rollback_of": serial})
        return
    table(f"rolled back {output}", [("content of", serial), ("serial", made.serial)])


def _public(signers: Sequence[Signer], public_key: Path | None) -> list[PublicKey]:
    """Return the public halves of the keys that sign."""
    from authz.snapshot.signing.keys import load_public_key
    from authz.snapshot.signing.signers import FileSigner

    keys = [signer.public for signer in signers if isinstance(signer, FileSigner)]
    return keys + ([load_public_key(public_key)] if public_key else [])
