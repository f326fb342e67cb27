"""Reading a snapshot file: everything is checked before anything is used.

    header -> envelope -> signatures -> private copy -> manifest -> format -> sections: layout, digests -> expiry

Nothing is believed before the signatures are good, but lengths, and each of those has a cap. What is wrong raises
SnapshotRefused with a code of its own. Serials are compared by `authz.snapshot.rollback_guard`.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from authz.errors import Refusal, SnapshotRefused, shorten
from authz.snapshot.cooperative import STEP, next_turn
from authz.snapshot.heading import Requirement, check_format, envelope_end
from authz.snapshot.layout import HEADER, MAGIC, MAX_FILE, MAX_PARTS, MAX_SECTIONS, aligned
from authz.snapshot.lazy_entries import PackedEntries
from authz.snapshot.sealed_memory import Descriptor, opened
from authz.snapshot.signing.envelope import parse_envelope, verify_envelope
from authz.snapshot.singles import Singles, tombstones
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from authz.snapshot.signing.envelope import Envelope
    from authz.snapshot.signing.keys import PublicKey

    _Verified = tuple[Envelope, list[str]]  # with the ids of the keys whose signatures were good


class Shared(NamedTuple):
    """What another process needs to use a snapshot that was verified here; see `shared_snapshot`."""

    envelope: bytes
    sections: Descriptor  # of the sealed memory

    def dup(self) -> int:
        """Return a descriptor of the sections, to be closed by the caller."""
        return os.dup(self.sections.number)


class Snapshot(NamedTuple):
    """A snapshot that may be used.

    Attributes:
        manifest: What was signed.
        sections: The bytes of each section by name, read-only, in place.
        digest: SHA-256 of the manifest, in hexadecimal: two files with the same digest say the same.
        size: Bytes of the file.
        signed_by: Ids of the keys whose signatures were good.
        shared: What another process needs to use the same memory, where that was asked for.

    """

    manifest: Manifest
    sections: Mapping[str, memoryview]
    digest: str = ""
    size: int = 0
    signed_by: list[str] = []  # noqa: RUF012  # never changed
    shared: Shared | None = None

    @property
    def layer(self) -> str:
        """The name of the layer that the file is for."""
        return self.manifest.layer

    @property
    def serial(self) -> int:
        """The serial, from 0."""
        return self.manifest.serial

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """The parts that belong to this file; see docs/internals/snapshot-format.md."""
        return requirements_of(self.manifest)

    def singles(self) -> Singles | None:
        """Return the single addresses, or None.

        Raises:
            SnapshotRefused: `bad_section`.
        """
        return Singles.of(self.sections)

    def tombstones(self) -> frozenset[int]:
        """Return the ids of bans in the parts that are over.

        Raises:
            SnapshotRefused: `bad_section`.
        """
        return tombstones(self.sections)

    def entries(self) -> PackedEntries:
        """Return the entries as messages. Reading one raises DecodeError if it is damaged.

        Raises:
            SnapshotRefused: `bad_section`.
        """
        return PackedEntries(self.sections)


class _File(NamedTuple):
    """A file in its parts.

    Attributes:
        padding: The bytes from the envelope to the first section; all may be cut short.
    """

    envelope: memoryview
    padding: memoryview
    sections: memoryview

    @property
    def size(self) -> int:
        return HEADER.size + sum(map(len, self))


def read_snapshot(
    path: Path,
    keys: Sequence[PublicKey],
    threshold: int = 1,
    *,
    now: float,
    most: int = MAX_FILE,
    layer: str | None = None,
    part: Requirement | None = None,
) -> Snapshot:
    """Read and check the snapshot at `path`.

    Args:
        path: The file.
        keys: The public keys that are trusted.
        threshold: How many of them must have signed.
        now: Seconds since 1970.
        most: Bytes that the file may have.
        layer: The layer that the file must be for; None: any.
        part: What the file must be, where another file of the layer requires it; None: a file by itself.

    Raises:
        SnapshotRefused: The file is not to be used. Nothing else comes out of a bad file.
    """
    return read_with_bytes(path, keys, threshold, now=now, most=most, layer=layer, part=part)[0]


def read_with_bytes(
    path: Path,
    keys: Sequence[PublicKey],
    threshold: int = 1,
    *,
    now: float,
    most: int = MAX_FILE,
    layer: str | None = None,
    part: Requirement | None = None,
    share: bool = False,
) -> tuple[Snapshot, list[bytes | memoryview]]:
    """Do what `read_snapshot` does, and also return the checked bytes, in order, for a copy.

    Args:
        path: The file.
        keys: The keys that are trusted.
        threshold: How many of them must have signed.
        now: Seconds since 1970.
        most: Bytes; a longer file is refused.
        layer: The layer that the file must be of; None: any.
        part: What the file must be if another file of the layer requires it; None: a file by itself.
        share: Whether the snapshot keeps what other processes need to use the same memory.

    Raises:
        SnapshotRefused: The file is not to be used.
    """
    file, sections, verified = _copied(path, min(most, MAX_FILE), keys, threshold)
    snapshot = _checked(file, verified, now)
    _check_place(snapshot, layer, part)
    if share and sections is not None:
        snapshot = snapshot._replace(shared=Shared(bytes(file.envelope), sections))
    return snapshot, [HEADER.pack(MAGIC, len(file.envelope)), *file]


def shared_snapshot(envelope: bytes, sections: memoryview, size: int, signed_by: list[str]) -> Snapshot:
    """Return a snapshot that another process of ours has read and checked; nothing is checked again.

    Args:
        envelope: Its envelope.
        sections: The sealed memory.
        size: Bytes of the file.
        signed_by: Ids of the keys whose signatures were good.
    """
    payload = parse_envelope(memoryview(envelope)).payload
    manifest = _manifest(payload)
    contents = {s.name: sections[s.offset : s.offset + s.length] for s in manifest.sections}
    return Snapshot(manifest, contents, hashlib.sha256(payload).hexdigest(), size, signed_by)


def check_snapshot(data: memoryview, keys: Sequence[PublicKey], threshold: int = 1, *, now: float) -> Snapshot:
    """Check a snapshot that is in memory. See `read_snapshot`."""
    data, end = data.toreadonly(), envelope_end(bytes(data[: HEADER.size]), len(data))
    first = aligned(end)
    verified = _verified(data[HEADER.size : end], keys, threshold)
    return _checked(_File(data[HEADER.size : end], data[end:first], data[first:]), verified, now)


def inspect_manifest(path: Path) -> Manifest:
    """Return the manifest of the file at `path`, unverified and without a look at its sections: for lists of files.

    Raises SnapshotRefused if the file cannot be read or has none.
    """
    with opened(path, MAX_FILE) as source:
        return manifest_of(source.read)


def manifest_of(read: Callable[[int], bytes]) -> Manifest:
    """Return the manifest of a file of which `read` gives the next bytes. See `inspect_manifest`."""
    end = envelope_end(read(HEADER.size), MAX_FILE)
    return _manifest(parse_envelope(memoryview(read(end - HEADER.size))).payload)


def requirement_of(data: bytes) -> Requirement:
    """Return how another file names this one as its part.

    Args:
        data: The bytes of this file, which was just made.
    """
    envelope = parse_envelope(memoryview(data)[HEADER.size : envelope_end(data[: HEADER.size], len(data))])
    return Requirement(_manifest(envelope.payload).serial, hashlib.sha256(envelope.payload).hexdigest())


def requirements_of(manifest: Manifest) -> tuple[Requirement, ...]:
    """Return the parts that a file requires, by its manifest."""
    return tuple(Requirement(part.serial, part.digest.hex()) for part in manifest.requires)


def inspect_snapshot(path: Path) -> Snapshot:
    """Read a snapshot to show it, whoever signed it and however old it is. Its `signed_by` is empty.

    Never decide by the result.

    Args:
        path: The file.

    Raises:
        SnapshotRefused: As from `read_snapshot`, except for signatures and expiry.
    """
    file, _, (envelope, _) = _copied(path, MAX_FILE)
    return _contents(file, envelope)


def _copied(
    path: Path, limit: int, keys: Sequence[PublicKey] | None = None, threshold: int = 1
) -> tuple[_File, Descriptor | None, _Verified]:
    """Copy a file: the sections, which are read in place, into sealed memory, whose descriptor is returned.

    keys: None: whoever signed it. What nobody of them signed is given no memory.
    """
    with opened(path, limit) as source:
        end = envelope_end(source.read(HEADER.size), source.size)
        envelope, padding = memoryview(source.read(end - HEADER.size)), source.read(aligned(end) - end)
        verified = _verified(envelope, keys, threshold)
        sections, descriptor = source.seal()
        return _File(envelope, memoryview(padding), sections), descriptor, verified


def _verified(data: memoryview, keys: Sequence[PublicKey] | None, threshold: int) -> _Verified:
    envelope = parse_envelope(data)
    return envelope, [] if keys is None else verify_envelope(envelope, keys, threshold)


def _checked(file: _File, verified: _Verified, now: float) -> Snapshot:
    envelope, signed_by = verified
    snapshot = _contents(file, envelope)._replace(signed_by=signed_by)
    manifest = snapshot.manifest
    if manifest.HasField("expires") and now >= manifest.expires:
        raise SnapshotRefused(
            Refusal.EXPIRED, f"expired {int(now - manifest.expires)} seconds ago, expected a newer snapshot"
        )
    return snapshot


def _check_place(snapshot: Snapshot, layer: str | None, part: Requirement | None) -> None:
    """Refuse a file that is signed well, but for another place than this one."""
    if layer is not None and snapshot.layer != layer:
        raise SnapshotRefused(
            Refusal.WRONG_LAYER, found=f"a file of the layer '{shorten(snapshot.layer)}'", expected=f"'{layer}'"
        )
    if part is None and snapshot.manifest.part:
        raise SnapshotRefused(Refusal.WRONG_LAYER, found="a part of a layer", expected="the file that requires it")
    if part is not None and not (snapshot.manifest.part and snapshot.digest == part.digest):
        found = f"serial {snapshot.serial} with the digest {snapshot.digest[:16]}"
        expected = f"the part {part.serial} with {part.digest[:16]}"
        raise SnapshotRefused(Refusal.WRONG_PART, found=found, expected=expected)


def _contents(file: _File, envelope: Envelope) -> Snapshot:
    manifest = _manifest(envelope.payload)
    digest = _sha256(memoryview(envelope.payload)).hexdigest()
    return Snapshot(manifest, _sections(file, manifest), digest, file.size)


def _manifest(payload: bytes) -> Manifest:
    try:
        manifest = Manifest.FromString(payload)
    except DecodeError as error:
        raise SnapshotRefused(Refusal.BAD_MANIFEST, "the manifest is not valid protobuf") from error
    check_format(manifest.format)
    if len(manifest.sections) > MAX_SECTIONS:
        raise SnapshotRefused(
            Refusal.TOO_LARGE, found=f"{len(manifest.sections)} sections", expected=f"at most {MAX_SECTIONS}"
        )
    if len(manifest.requires) > MAX_PARTS or (manifest.part and manifest.requires):
        found, expected = f"{len(manifest.requires)} required parts", f"at most {MAX_PARTS}, and none in a part"
        raise SnapshotRefused(Refusal.BAD_MANIFEST, found=found, expected=expected)
    return manifest


def _sections(file: _File, manifest: Manifest) -> dict[str, memoryview]:
    """Return the sections: one after the other, each where it must be, with zeros between, and nothing behind.

    Offsets count from the first section.
    """
    data, begin = file.sections, aligned(HEADER.size + len(file.envelope))
    size = file.size - begin  # below zero where the padding before the first section is cut short
    end = 0 if manifest.sections else HEADER.size + len(file.envelope) - begin
    _check_zeros(file.padding)
    sections: dict[str, memoryview] = {}
    for section in manifest.sections:
        start = aligned(end)
        if section.offset != start or section.name in sections:
            name = shorten(section.name)
            raise SnapshotRefused(Refusal.BAD_SECTION, f"'{name}' is at {section.offset}, expected once, at {start}")
        if start + section.length > size:
            missing = start + section.length - size
            raise SnapshotRefused(
                Refusal.TRUNCATED, f"{missing} bytes of section '{shorten(section.name)}' are missing"
            )
        _check_zeros(data[end:start])
        end = start + section.length
        sections[section.name] = data[start:end]
        if _sha256(sections[section.name]).digest() != section.sha256:
            raise SnapshotRefused(Refusal.BAD_DIGEST, f"section '{shorten(section.name)}' differs from what was signed")
    if end != size:
        raise SnapshotRefused(
            Refusal.TRAILING_BYTES, found=f"{size - end} bytes behind the last section", expected="none"
        )
    return sections


def _sha256(data: memoryview) -> hashlib._Hash:
    digest = hashlib.sha256()
    for start in range(0, len(data), STEP):
        digest.update(data[start : start + STEP])
        next_turn()
    return digest


def _check_zeros(padding: memoryview) -> None:
    if any(padding):
        raise SnapshotRefused(Refusal.BAD_SECTION, found="bytes between the sections", expected="zeros")
