"""From a checked policy to a snapshot file (publisher only)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.engine.manifest import add_policy
from authz.publisher.index.build import build_index
from authz.snapshot.layout import FORMAT
from authz.snapshot.read import Snapshot
from authz.snapshot.sections import TYPES
from authz.snapshot.write import write_snapshot
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securesystemslib.signer import Signer

    from authz.publisher.policy.read import Policy
    from authz.publisher.policy.subjects import Progress


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
