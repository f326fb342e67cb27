"""The use case of publishing: a policy is compiled, checked against the last build, signed and written.

previous = last_build(output)                                 what stands there now
policy = read_policy(path, ...)                               read, resolve
publish(policy, previous, signers, output=output)             compile, check, sign, write
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from authz.engine.manifest import add_policy
from authz.engine.opened_snapshot import OpenedSnapshot
from authz.errors import InputError
from authz.publisher.checks import ended, lockouts, losses
from authz.publisher.index.build import build_index
from authz.publisher.previous import clock_warnings, next_serial
from authz.snapshot.layout import FORMAT
from authz.snapshot.read import Snapshot
from authz.snapshot.sections import TYPES
from authz.snapshot.write import write_snapshot
from authz.times import format_moment
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

    from authz.publisher.policy.read import Policy
    from authz.publisher.policy.subjects import Progress


MAX_REFUSALS = 20  # that an error names, or that a forced snapshot keeps
MAX_AHEAD = 300  # seconds that `created` may be ahead of the clock


class Built(NamedTuple):
    """What was built. networks: before merging; pieces: after, of both versions together; size: bytes of the file."""

    serial: int
    applications: int
    entries: int
    networks: int
    pieces: int
    match_sets: int
    size: int


def build_snapshot(
    policy: Policy,
    path: Path,
    signers: Sequence[Signer],
    *,
    serial: int,
    created: int,
    expires: int | None = None,
    guard: Callable[[Snapshot], object] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Built:
    """Compile, sign and write a policy.

    created, expires: seconds since 1970. guard: looks at the snapshot before it is signed; what it raises
    ends the build, and nothing is written. Raises InputError.
    """
    arrays = build_index(policy.networks, progress)
    manifest = Manifest(format=FORMAT, serial=serial, created=created, expires=expires)
    add_policy(manifest, policy.applications, policy.entries)
    for source, name, feed in policy.feeds:
        manifest.feeds.add(source=source, path=name, format=feed.format, entries=feed.taken)
    sections = {name: (kind, arrays[name].tobytes()) for name, kind in TYPES.items()}
    guard(Snapshot(manifest, {name: memoryview(data) for name, (_, data) in sections.items()}, "", 0, []))
    size = write_snapshot(path, manifest, sections, signers)
    return Built(
        serial=serial,
        applications=len(policy.applications),
        entries=len(policy.entries),
        networks=sum(len(prefixes) for entry in policy.networks for prefixes in entry.networks.values()),
        pieces=len(arrays["v4.starts"]) + len(arrays["v6.starts_high"]),
        match_sets=len(arrays["sets.offset"]) - 1,
        size=size,
    )


class Published(NamedTuple):
    """What was published. warnings: for people, one a line; forced: refusals that were overridden."""

    built: Built
    warnings: tuple[str, ...]
    forced: tuple[str, ...]


def publish(
    policy: Policy,
    previous: Snapshot | None,
    signers: Sequence[Signer],
    forced_by: str | None = None,
    *,
    output: Path,
    serial: int | None = None,
    created: int | None = None,
    expires: int | None = None,
    progress: Progress = lambda *_: None,
) -> Published:
    """Compile a policy, check it, sign it and write it in the place of the last build.

    Args:
        policy: Read and resolved.
        previous: The last build, to go on from its serial and to notice what is lost; None: there was none.
        signers: Each signs.
        forced_by: Who overrides the refusals of the checks; it is written into the snapshot. None: nobody does.
        output: The file; replaced in one step.
        serial: Above the last one; None: by the clock.
        created: Seconds since 1970; None: now.
        expires: Seconds since 1970 from which on every sidecar refuses the file; None: never.
        progress: Is told what is done, how much of it, and of how much.

    Raises:
        InputError: A check refuses the build, or it cannot be written; then the last build stands as it was.

    """
    now = int(time.time())
    created = now if created is None else created
    if created > now + MAX_AHEAD:
        ahead = f"found {format_moment(created)}, {created - now} seconds ahead of the clock"
        raise InputError(f"created: {ahead}, expected at most {MAX_AHEAD}", hint="look at the clock of this machine")
    forced: list[str] = []
    number = next_serial(previous, created, serial, output=output)
    built = build_snapshot(
        policy, output, signers, serial=number, created=created, expires=expires,
        guard=lambda snapshot: forced.extend(_check(snapshot, policy, previous, created, forced_by)),
        progress=progress,
    )  # fmt: skip
    warnings = (*policy.warnings, *clock_warnings(previous, created), *ended(policy.entries, created))
    return Published(built, warnings, tuple(forced))


def _check(snapshot: Snapshot, policy: Policy, previous: Snapshot | None, now: int, forced_by: str | None) -> list[str]:
    """Return the refusals that were overridden, which are in the manifest then. Raises InputError."""
    loaded = OpenedSnapshot(snapshot)
    lines = lockouts(loaded, policy.protected, now) if policy.protected else []
    lines += losses(loaded, OpenedSnapshot(previous), now) if previous else []
    if lines and forced_by is None:
        more = [f"and {len(lines) - MAX_REFUSALS} more"] if len(lines) > MAX_REFUSALS else []
        raise InputError(
            "\n".join([*lines[:MAX_REFUSALS], *more]),
            hint="nothing was written; --force writes it, with your name in the snapshot",
        )
    for line in lines[:MAX_REFUSALS]:
        snapshot.manifest.forced.add(by=forced_by, refusal=line)
    return lines[:MAX_REFUSALS]
