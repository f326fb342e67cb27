"""Reading a snapshot file: everything is checked before anything is used.

    sealed copy -> header -> envelope -> signatures -> manifest -> format -> sections: layout, digests -> expiry

Nothing is believed before the signatures are good, but lengths, and each of those has a cap. What is wrong raises
SnapshotRefused with a code of its own. Serials are compared by `authz.snapshot.state`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from authz.errors import SnapshotRefused, shorten
from authz.snapshot.envelope import parse_envelope, verify_envelope
from authz.snapshot.layout import FORMAT, HEADER, MAGIC, MAX_ENVELOPE, MAX_FILE, MAX_SECTIONS, aligned
from authz.snapshot.sealed import sealed_copy
from authz.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import Key


class Snapshot(NamedTuple):
    """A snapshot that may be used.

    sections: the bytes of each by name, read-only, in place. digest: SHA-256 of the manifest, in hexadecimal: two files
    with the same digest say the same. size: bytes of the file. signed_by: ids of the keys whose signatures were good.
    """

    manifest: Manifest
    sections: dict[str, memoryview]
    digest: str
    size: int
    signed_by: list[str]


def read_snapshot(path: Path, keys: Sequence[Key], threshold: int = 1, *, now: float, most: int = MAX_FILE) -> Snapshot:
    """Read and check the snapshot at `path`.

    keys: the public keys that are trusted. threshold: how many of them must have signed. now: seconds since 1970.
    most: bytes of the file.
    Raises SnapshotRefused; nothing else comes out of a bad file.
    """
    return check_snapshot(sealed_copy(path, min(most, MAX_FILE)), keys, threshold, now=now)


def check_snapshot(data: memoryview, keys: Sequence[Key], threshold: int = 1, *, now: float) -> Snapshot:
    """Check a snapshot that is in memory. See `read_snapshot`."""
    data, end = data.toreadonly(), _envelope_end(data)
    envelope = parse_envelope(bytes(data[HEADER.size : end]))
    signed_by = verify_envelope(envelope, keys, threshold)
    snapshot = _contents(data, end, envelope)._replace(signed_by=signed_by)
    manifest = snapshot.manifest
    if manifest.HasField("expires") and now >= manifest.expires:
        raise SnapshotRefused(
            "expired", f"expired {int(now - manifest.expires)} seconds ago, expected a newer snapshot"
        )
    return snapshot


def inspect_snapshot(path: Path) -> Snapshot:
    """Read the snapshot at `path` to show it, whoever signed it and however old it is; its `signed_by` is empty.

    Never decide by the result. Raises SnapshotRefused for all that `read_snapshot` does but signatures and expiry.
    """
    data = sealed_copy(path, MAX_FILE)
    end = _envelope_end(data)
    return _contents(data, end, parse_envelope(bytes(data[HEADER.size : end])))


def _contents(data: memoryview, end: int, envelope: Envelope) -> Snapshot:
    manifest = _manifest(envelope.payload)
    digest = hashlib.sha256(envelope.payload).hexdigest()
    return Snapshot(manifest, _sections(data, end, manifest), digest, len(data), [])


def _envelope_end(data: memoryview) -> int:
    if len(data) < HEADER.size:
        raise SnapshotRefused("truncated", f"found {len(data)} bytes, expected at least {HEADER.size}")
    magic, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise SnapshotRefused("bad_magic", f"found {shorten(magic)}, expected {MAGIC!r}: this is no snapshot")
    if length > MAX_ENVELOPE:
        raise SnapshotRefused("too_large", f"found an envelope of {length} bytes, expected at most {MAX_ENVELOPE}")
    if HEADER.size + length > len(data):
        raise SnapshotRefused("truncated", f"found {len(data)} bytes, expected an envelope of {length}")
    return HEADER.size + int(length)


def _manifest(payload: bytes) -> Manifest:
    try:
        manifest = Manifest.FromString(payload)
    except DecodeError as error:
        raise SnapshotRefused("bad_manifest", "the manifest is no Manifest of protobuf") from error
    if manifest.format != FORMAT:
        hint = "upgrade this authz, or build the snapshot with one of the same version"
        raise SnapshotRefused("unknown_format", f"found format {manifest.format}, expected {FORMAT}", hint=hint)
    if len(manifest.sections) > MAX_SECTIONS:
        raise SnapshotRefused("too_large", f"found {len(manifest.sections)} sections, expected at most {MAX_SECTIONS}")
    return manifest


def _sections(data: memoryview, end: int, manifest: Manifest) -> dict[str, memoryview]:
    """Return the sections: one after the other, each where it must be, with zeros between, and nothing behind."""
    begin = aligned(end)
    sections: dict[str, memoryview] = {}
    for section in manifest.sections:
        start = aligned(end)
        if section.offset != start - begin or section.name in sections:
            name = shorten(section.name)
            raise SnapshotRefused("bad_section", f"'{name}' is at {section.offset}, expected once, at {start - begin}")
        if start + section.length > len(data):
            missing = start + section.length - len(data)
            raise SnapshotRefused("truncated", f"{missing} bytes of section '{shorten(section.name)}' are missing")
        _check_zeros(data[end:start])
        end = start + section.length
        sections[section.name] = data[start:end]
        if hashlib.sha256(sections[section.name]).digest() != section.sha256:
            raise SnapshotRefused("bad_digest", f"section '{shorten(section.name)}' is not what was signed")
    if end != len(data):
        raise SnapshotRefused("trailing_bytes", f"found {len(data) - end} bytes behind the last section, expected none")
    return sections


def _check_zeros(padding: memoryview) -> None:
    if any(padding):
        raise SnapshotRefused("bad_section", "found bytes between the sections, expected zeros")
