"""bans.yaml: the bans of a layer on this machine, for those who have no control plane.

`authz ban` and `authz unban` change it and sign the layer's snapshot at once. Each change holds a lock, reads the
file, drops what is over, writes the file, then the snapshot. A crash in between leaves the file ahead of the snapshot:
the next change signs both.
"""

from __future__ import annotations

import contextlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, parse_network
from authz.durable import remove_leftovers, replace_file
from authz.errors import AddressError, InputError, Refusal, SnapshotRefused
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.contents import BansDocument, format_period
from authz.publisher.bans.document import read_with_lines, write_bans_file
from authz.publisher.output_lock import building, check_layer, check_writer
from authz.snapshot.archive import Archive
from authz.snapshot.heading import read_heading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.publisher.bans.record import Ban
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey

MAX_ARCHIVED: Final = 1000  # builds; each has only what was live
ARCHIVED_FOR: Final = 30 * 86400  # seconds
MAX_SERIAL: Final = (1 << 64) - 1
MAX_OVER_ONE: Final = 1000  # bans over one address, as in authz.engine.entries.permissions, which takes long to load
MAX_SAID: Final = 300  # characters of what a build says that it changed
MIN_PERIOD: Final = 300  # seconds, as for an entry of a policy


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
        signed = _serial_of(snapshot, document.layer)
        serial = _next_serial(snapshot, max(document.serial, signed), now)
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


def check_all(path: Path, document: BansDocument, bans: Sequence[Ban], now: int) -> None:
    """Refuse bans that sidecars would refuse: what a person has written.

    Args:
        path: The bans file.
        document: What stands in it.
        bans: Those that are live.
        now: Seconds since 1970.

    Raises:
        InputError: One of them exceeds a limit, or all together do.
    """
    for ban in bans:
        check_limits(document, ban, now, shortest=0)
    for ban in {ban.network.version: ban for ban in bans}.values():
        check_total(document, ban, bans)
        check_protected(path, document, ban, bans)


def check_limits(document: BansDocument, ban: Ban, now: int, *, shortest: int = MIN_PERIOD) -> None:
    """Refuse a ban that sidecars would refuse.

    Args:
        document: The bans file, with the limits of its layer.
        ban: The new ban.
        now: Seconds since 1970.
        shortest: Seconds that it holds at least.

    Raises:
        InputError: The ban exceeds a limit. The error says what the layer may do.
    """
    may = document.may
    widest = may.widest(ban.network.version)
    if ban.network.length < widest:
        raise InputError(f"found {ban.network}, expected at most a /{widest}: the layer may not ban wider networks")
    if ban.list not in may.lists:
        raise InputError(f"--list: found {ban.list}, expected {' or '.join(may.lists)}: the layer has no other")
    unfit = [
        name
        for name in sorted(ban.applications)
        if not any(fnmatchcase(name, application) for application in may.applications)
    ]
    if may.applications and (unfit or not ban.applications):
        reached = unfit[0] if unfit else "all applications"
        raise InputError(
            f"--application: found {reached}, expected {' or '.join(may.applications)}: the layer has no other"
        )
    period = None if ban.expires is None else ban.expires - now
    if period is not None and period < shortest:
        raise InputError(f"--for: found {format_period(period)}, expected at least {format_period(shortest)}")
    if may.longest is not None and (period is None or period > may.longest):
        raise InputError(
            f"--for: found {format_period(period)}, expected at most {format_period(may.longest)}, "
            "the longest that the layer allows",
            hint="for longer, write an entry of the policy",
        )


def check_total(document: BansDocument, made: Ban, bans: Sequence[Ban]) -> None:
    """Refuse a ban with which the layer has more addresses than it may: sidecars would refuse the file with all bans.

    Args:
        document: The bans file, with the limits of its layer.
        made: The ban that is new, or changed.
        bans: Those that shall be.

    Raises:
        InputError: All networks of its version together have too many addresses, or too many are over its own.
    """
    over = sum(ban.network.overlaps(made.network) for ban in bans)
    if over > MAX_OVER_ONE:
        raise InputError(f"found {over:,} bans over {made.network}, expected at most {MAX_OVER_ONE:,}",
                         hint="a ban without --application is for all of them")  # fmt: skip
    version = made.network.version
    total = document.may.total(version)
    networks = {ban.network for ban in bans if ban.network.version == version}
    count = sum(1 << BITS[version] - network.length for network in networks)
    if count > 1 << BITS[version] - total:
        raise InputError(
            f"found {count:,} banned addresses with {made.network}, expected at most as many as a /{total} has",
            hint=f"raise may.total_ipv{version} here and in the layer of every sidecar (0: no limit), or deny the "
            "network in the policy",
        )


def check_protected(path: Path, document: BansDocument, made: Ban, bans: Sequence[Ban]) -> None:
    """Refuse bans of what the policy protects: sidecars would refuse the file with all bans that are in it.

    Not those that were there before the policy protected their addresses: sidecars let them have no effect. A policy
    that cannot be read refuses none: a ban needs nothing but its own file and key.

    Args:
        path: The bans file.
        document: What stands in it.
        made: The ban that is new, or changed.
        bans: Those that shall be.

    Raises:
        InputError: One of them would deny a protected address.
    """
    if not document.policy:
        return
    try:
        policy = read_heading(path.parent / document.policy)
        protected = list(map(parse_network, policy.protected))
    except (SnapshotRefused, AddressError):
        return
    known = {ban.id for ban in document.bans}
    for ban in bans:
        if ban.action != "block" or (ban != made and ban.added < policy.created):
            continue
        for network in protected:
            if network.overlaps(ban.network):
                raise InputError(
                    f"found {ban.network}, expected no address of {network}, which the policy protects: "
                    "sidecars would refuse this and every other ban",
                    hint=f"`authz unban {ban.id}` ends the ban that is there" if ban.id in known else "",
                )


def unknown_applications(path: Path, document: BansDocument, ban: Ban) -> str:
    """Return a warning if the policy knows none of a ban's applications, for then the ban has no effect; else "".

    Args:
        path: The bans file.
        document: What stands in it. A policy that it does not name, or that cannot be read, knows all.
        ban: The ban.
    """
    if not document.policy or not ban.applications:
        return ""
    try:
        known = sorted({*read_heading(path.parent / document.policy).applications} - {"*"})
    except SnapshotRefused:
        return ""
    unknown = sorted(ban.applications.difference(known))
    if not unknown:
        return ""
    has = ", ".join(known) or "none"
    return f"the policy has no application {', '.join(unknown)} (it has {has}): there the ban has no effect"


def like(bans: Sequence[Ban], wanted: Ban) -> Ban | None:
    """Return the ban of the same network on the same list for the same applications."""
    same = (wanted.network, wanted.list, wanted.applications)
    return next((ban for ban in bans if (ban.network, ban.list, ban.applications) == same), None)


def _next_serial(snapshot: Path, before: int, now: int) -> int:
    if before >= MAX_SERIAL:
        raise InputError(
            f"{snapshot}: found serial {before}, expected less than {MAX_SERIAL}: none is left above it",
            hint="who signed it? Give the layer another key, and another name in bans.yaml and authz.yaml",
        )
    return max(now, before + 1)


def _serial_of(snapshot: Path, layer: str) -> int:
    if not snapshot.exists():
        return 0
    try:
        heading = read_heading(snapshot)
    except SnapshotRefused as error:
        raise InputError(
            f"{snapshot}: exists, and is not a snapshot whose serial can be read: {error.message}",
            hint="move it away",
        ) from error
    check_layer(snapshot, heading.layer, layer)
    check_writer(snapshot, heading.source)
    return heading.serial


def _beside(path: Path, key: str) -> str:
    """Return the key as seen from here: a URI as it is, a file relative to the bans file."""
    return key if ":" in key else str(path.parent / key)
