"""Going back: the content of an archived build, signed again under a higher serial. No feeds, no DNS, no policy.

A head comes back with its parts. They are signed again too, for the key may be another one by now; what is signed stays
as it was, and so does the digest by which the head requires them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.errors import InputError, SnapshotRefused
from authz.publisher.previous import check_unchanged, next_serial
from authz.snapshot.heading import part_path
from authz.snapshot.read import read_snapshot, read_with_bytes
from authz.snapshot.signing.envelope import parse_envelope, sign_envelope
from authz.snapshot.write import write_file, write_snapshot
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest, Origin

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from authz.snapshot.heading import Requirement
    from authz.snapshot.read import Snapshot
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey


def roll_back(
    archived: Path,
    output: Path,
    previous: Snapshot | None,
    signers: Sequence[Signer],
    keys: Sequence[PublicKey],
    *,
    now: int,
    by: str,
) -> Manifest:
    """Write the content of an archived build to `output`, under a serial above the last, and return its manifest.

    A build that was valid for a time is valid for as long again. Call it within `building(output)`.

    Args:
        archived: The file in the archive.
        output: The file that is replaced.
        previous: What stands there now; None: nothing.
        signers: Each signs.
        keys: One of them must have signed the archived file: nobody's content is signed but our own.
        now: Seconds since 1970.
        by: Who goes back.

    Raises:
        InputError: The archived file or one of its parts is not ours, broken or absent; then `output` is as it was.
    """
    try:
        old = read_snapshot(archived, keys, now=0)  # that it has expired does not matter: it becomes valid again
    except SnapshotRefused as error:
        raise InputError(
            f"{archived}: {error.code}: {error.message}",
            hint="give the public key that it was signed with by --trusted-key, if you trust it",
        ) from error
    if previous is not None and previous.layer != old.layer:
        raise InputError(f"{archived}: found a file of the layer '{old.layer}', expected '{previous.layer}'")
    parts = {part: _part(part_path(archived, part), part, keys) for part in old.requires}
    manifest = Manifest()
    manifest.CopyFrom(old.manifest)
    manifest.serial, manifest.created = next_serial(previous, now, output=output), now
    if old.manifest.HasField("expires"):
        manifest.expires = now + old.manifest.expires - old.manifest.created
    manifest.origin.CopyFrom(Origin(by=by, source=str(archived), rollback_of=old.serial))
    sections = {section.name: (section.type, bytes(old.sections[section.name])) for section in old.manifest.sections}
    for part, (payload, content) in parts.items():
        write_file(part_path(output, part), sign_envelope(payload, signers), content)
    write_snapshot(output, manifest, sections, signers, lambda: check_unchanged(output, previous))
    return manifest


def _part(path: Path, part: Requirement, keys: Sequence[PublicKey]) -> tuple[bytes, list[bytes]]:
    """Return what was signed in an archived part, and its sections. Raises InputError if it is not what it was."""
    try:
        snapshot, content = read_with_bytes(path, keys, now=0, part=part)
    except SnapshotRefused as error:
        raise InputError(f"{path}: {error.code}: {error.message}") from error
    return parse_envelope(content[1]).payload, [
        bytes(snapshot.sections[section.name]) for section in snapshot.manifest.sections
    ]
