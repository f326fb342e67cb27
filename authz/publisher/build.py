"""The use case of publishing: a policy is compiled, checked against the last build, signed and written.

with building(output):                                      one build at a time
previous = last_build(output)                           what stands there now
policy = read_policy(path, ...)                         read, resolve
publish(policy, previous, signers, output=output)       compile, check, sign, write
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from authz.engine.entries.manifest import add_applications, entry_message
from authz.engine.entries.opened_snapshot import POLICY_LAYER, OpenedSnapshot
from authz.errors import InputError
from authz.publisher.builder import clock_warnings
from authz.publisher.checks import ended, lockouts, losses
from authz.publisher.index.build import build_index
from authz.publisher.previous import check_unchanged, next_serial
from authz.snapshot.layout import FORMAT
from authz.snapshot.lazy_entries import pack_entries
from authz.snapshot.read import Snapshot
from authz.snapshot.sections import INDEX_TYPES
from authz.snapshot.write import write_snapshot
from authz.times import format_moment
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from authz.engine.model import Entry
    from authz.publisher.policy.read import Policy
    from authz.publisher.progress import Progress
    from authz.snapshot.signing.envelope import Signer


MAX_REFUSALS = 20  # that an error names, or that a forced snapshot keeps
MAX_AHEAD = 300  # seconds that `created` may be ahead of the clock


class Built(NamedTuple):
    """What was built.

    Attributes:
        networks: Before merging.
        pieces: After, of both versions together.
        size: Bytes of the file.
    """

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
    layer: str = POLICY_LAYER,
    previous: Snapshot | None = None,
    origin: Origin | None = None,
    guard: Callable[[Snapshot], object] = lambda _: None,
    before_rename: Callable[[], object] = lambda: None,
    progress: Progress = lambda *_: None,
) -> Built:
    """Compile, sign and write a policy.

    Args:
        policy: Its applications, entries and networks.
        path: The file; replaced in one step.
        signers: Each signs.
        serial: Above the last one.
        created: Seconds since 1970.
        expires: The same; None: never.
        layer: The layer that the file is for.
        previous: The build before; entries that it has were added when it says.
        origin: Who builds it, and from what.
        guard: Looks at the snapshot before it is signed; what it raises ends the build, and nothing is written.
        before_rename: Called when the file is written, right before it takes the place of the old one.
        progress: Is told how far it is.

    Raises:
        InputError: Entries overlap too much, or the file is too large or cannot be written.

    """
    arrays = build_index(policy.networks, progress)
    manifest = Manifest(format=FORMAT, serial=serial, created=created, expires=expires, layer=layer, origin=origin)
    manifest.protected.extend(map(str, policy.protected))
    add_applications(manifest, policy.applications)
    for source, name, feed, kept_since, problem in policy.feeds:
        manifest.feeds.add(source=source, path=name, format=feed.format, entries=feed.taken, kept_since=kept_since,
                           problem=problem)  # fmt: skip
    sections = pack_entries(map(entry_message, with_added(policy.entries, previous, created)))
    sections |= {name: (kind, arrays[name].tobytes()) for name, kind in INDEX_TYPES.items()}
    guard(Snapshot(manifest, {name: memoryview(data) for name, (_, data) in sections.items()}))
    size = write_snapshot(path, manifest, sections, signers, before_rename)
    return Built(
        serial=serial,
        applications=len(policy.applications),
        entries=len(policy.entries),
        networks=sum(len(prefixes) for entry in policy.networks for prefixes in entry.networks.values()),
        pieces=len(arrays["v4.starts"]) + len(arrays["v6.starts_high"]),
        match_sets=len(arrays["sets.offset"]) - 1,
        size=size,
    )


def with_added(entries: Iterable[Entry], previous: Snapshot | None, created: int) -> Iterator[Entry]:
    """Yield the entries, each with the time since when its id is there: as in the build before, or from now on."""
    known = {} if previous is None else {e.id: e.added for e in previous.entries() if e.HasField("added")}
    for entry in entries:
        yield entry._replace(added=known.get(entry.id, created))


class Published(NamedTuple):
    """What was published.

    Attributes:
        warnings: For people, one a line.
        forced: Refusals that were overridden.
    """

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
    layer: str = POLICY_LAYER,
    origin: Origin | None = None,
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
        layer: The layer that the file is for.
        origin: Who builds it, and from what.
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
        policy, output, signers, serial=number, created=created, expires=expires, layer=layer,
        previous=previous, origin=origin,
        guard=lambda snapshot: forced.extend(_check(snapshot, policy, previous, created, forced_by)),
        before_rename=lambda: check_unchanged(output, previous), progress=progress,
    )  # fmt: skip
    before = previous.manifest.created if previous else 0
    warnings = (*policy.warnings, *clock_warnings(before, created), *ended(policy.entries, created))
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
