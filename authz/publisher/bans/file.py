"""bans.yaml: the bans of a layer on this machine, for those who have no control plane.

`authz ban` and `authz unban` change it and sign the layer's snapshot at once. Each change holds a lock, reads the
file, drops what is over, writes the file, then the snapshot. A crash in between leaves the file ahead of the snapshot:
the next change signs both.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.durable import remove_leftovers, replace_file
from authz.errors import InputError, Refusal, SnapshotRefused
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.document import read_with_lines, write_bans_file
from authz.publisher.builder import clock_warnings
from authz.publisher.output_lock import building, check_layer, check_writer
from authz.snapshot.archive import Archive
from authz.snapshot.heading import read_heading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.publisher.bans.contents import BansDocument
    from authz.publisher.bans.record import Ban
    from authz.snapshot.heading import Heading
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey

MAX_ARCHIVED: Final = 1000  # builds; each has only what was live
ARCHIVED_FOR: Final = 30 * 86400  # seconds
MAX_SERIAL: Final = (1 << 64) - 1
_OTHER_KEY: Final = (
    "another key signed the last snapshot: a sidecar that does not trust this one refuses what is signed now, and "
    "decides by the last"
)
MAX_SAID: Final = 300  # characters of what a build says that it changed


class Changed(NamedTuple):
    """What a change did.

    Attributes:
        bans: All that are live now.
        serial: Of the snapshot that has them.
        snapshot: Its file.
        warnings: What the caller should look at, though all is done.
    """

    bans: tuple[Ban, ...]
    serial: int
    snapshot: Path
    warnings: tuple[str, ...] = ()


def change_bans(
    path: Path,
    change: Callable[[BansDocument, list[Ban]], list[Ban]],
    load: Callable[[str], Signer],
    *,
    now: int,
    by: str,
    what: Callable[[], str] = str,
    rollback_of: int = 0,
) -> Changed:
    """Change the bans of a file and sign its snapshot, one caller at a time.

    Args:
        path: The file.
        change: Gets the document and the bans that are live, and returns those that shall be.
        load: Makes the signer of the key that the document names; a file is given by its path.
        now: Seconds since 1970.
        by: Who changes it.
        what: Says what was changed, for the history; called after `change`.
        rollback_of: The serial whose bans come back; 0: none.

    Raises:
        InputError: The file, the key or the snapshot cannot be used; whatever `change` raises. Then nothing changed.
    """
    if not path.exists():
        read_with_lines(path)  # says how to make one
    with building(path):
        document, lines = read_with_lines(path)
        signer = load(_beside(path, document.key))
        bans = [ban for ban in change(document, [ban for ban in document.bans if ban.live(now)]) if ban.live(now)]
        snapshot = path.parent / document.snapshot
        last = _heading_of(snapshot, document.layer)
        signed = last.serial if last else 0
        serial = _next_serial(snapshot if signed >= document.serial else path, max(document.serial, signed), now)
        source = ": ".join(filter(None, (str(path), what()[:MAX_SAID])))
        data = build_bans_layer(
            bans, layer=document.layer, serial=serial, created=now, signers=[signer], by=by, source=source,
            rollback_of=rollback_of,
        )  # fmt: skip
        write_bans_file(path, document._replace(serial=serial, bans=tuple(bans)), lines)
        with contextlib.suppress(OSError):  # no reason not to ban
            remove_leftovers(snapshot)
        try:
            replace_file(snapshot, lambda file: file.write(data))
        except OSError as error:
            raise InputError(f"{snapshot}: cannot be written: {error.strerror}") from error
        warnings = [_behind(path, document, signed)] if document.serial < signed else []
        if last is not None:
            warnings += clock_warnings(last.created, now)
            if not last.signers & read_heading(snapshot).signers:
                warnings.append(_OTHER_KEY)
        try:
            _archive(path, document).keep(snapshot, now=now)
        except InputError as error:  # sidecars have the file: who reads of an error would think that they have not
            warnings.append(f"{error.message}: what was changed holds, and the history does not have it")
    return Changed(tuple(bans), serial, snapshot, tuple(warnings))


def _behind(path: Path, document: BansDocument, signed: int) -> str:
    """Return what to say where the snapshot was newer than the file."""
    was = f"archive/{document.layer}/{signed}.snapshot"
    return (
        f"{path}: found serial {document.serial}, and {signed} in {document.snapshot}: an editor saved an older copy, "
        "or something else wrote the snapshot. Bans that only the snapshot had have ended: "
        f"`authz snapshot diff {was} {document.snapshot}`"
    )


def bans_of_build(
    path: Path, serial: int, public: Callable[[str], PublicKey]
) -> Callable[[BansDocument, list[Ban]], list[Ban]]:
    """Return the change, for `change_bans`, that goes back to the bans of an archived build.

    What has ended since does not come back. The change raises InputError if the archive does not have the build, or
    has one that is not ours: nobody's content is signed but our own.

    Args:
        path: The bans file.
        serial: Of the build.
        public: Gives the public half of the key that the document names; that key must have signed the build.
    """

    def change(document: BansDocument, _: list[Ban]) -> list[Ban]:
        from authz.publisher.bans.signed import bans_of  # noqa: PLC0415  # loads numpy, which takes its time
        from authz.snapshot.read import read_snapshot  # noqa: PLC0415  # the same of protobuf

        build, key = _archive(path, document).find(serial), public(_beside(path, document.key))
        try:
            return list(bans_of(read_snapshot(build, [key], now=0, layer=document.layer)))
        except SnapshotRefused as error:
            hint = "name the one that signed it: --trusted-key FILE" if error.code == Refusal.UNKNOWN_KEY else ""
            raise InputError(f"{build}: {error.code}: {error.message}", hint=hint) from error

    return change


def _archive(path: Path, document: BansDocument) -> Archive:
    return Archive(path.parent / "archive", document.layer, MAX_ARCHIVED, ARCHIVED_FOR)


def like(bans: Sequence[Ban], wanted: Ban) -> Ban | None:
    """Return the ban of the same network on the same list for the same applications."""
    same = (wanted.network, wanted.list, wanted.applications)
    return next((ban for ban in bans if (ban.network, ban.list, ban.applications) == same), None)


def _next_serial(file: Path, before: int, now: int) -> int:
    """Return the serial above the last one, which `file` has."""
    if before >= MAX_SERIAL:
        raise InputError(
            f"{file}: found serial {before}, expected less than {MAX_SERIAL}: none is left above it",
            hint="who signed it? Give the layer another key, and another name in bans.yaml and authz.yaml; "
            "in bans.yaml set `serial` to 0, and move the snapshot away",
        )
    return max(now, before + 1)


def _heading_of(snapshot: Path, layer: str) -> Heading | None:
    if not snapshot.exists():
        return None
    try:
        heading = read_heading(snapshot)
    except SnapshotRefused as error:
        raise InputError(
            f"{snapshot}: exists, and is not a snapshot whose serial can be read: {error.message}",
            hint="move it away",
        ) from error
    check_layer(snapshot, heading.layer, layer)
    check_writer(snapshot, heading.source)
    return heading


def _beside(path: Path, key: str) -> str:
    """Return the key as seen from here: a URI as it is, a file relative to the bans file."""
    return key if ":" in key else str(path.parent / key)
