"""Writing a snapshot file (the publisher's side)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.durable import replace_file
from authz.errors import InputError
from authz.snapshot.heading import SectionPlace
from authz.snapshot.layout import HEADER, MAGIC, MAX_ENVELOPE, MAX_FILE, aligned, digest_of
from authz.snapshot.signing.envelope import sign_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from authz.snapshot.signing.envelope import Signer
    from authz.wire.snapshot.v1.snapshot_pb2 import Manifest


def write_snapshot(
    path: Path,
    manifest: Manifest,
    sections: Mapping[str, tuple[str, bytes]],
    signers: Sequence[Signer],
    check: Callable[[], object] = lambda: None,
) -> int:
    """Write a snapshot durably and return its size in bytes.

    Args:
        path: The file; replaced in one step.
        manifest: Complete but for its sections.
        sections: By name, the element type and the bytes, in the order of the file.
        signers: Each signs.
        check: Called right before the rename; what it raises keeps the old file.

    Raises:
        InputError: The file cannot be written, or is over a cap.
    """
    envelope = sign_snapshot(manifest, sections, signers)
    return write_file(path, envelope, [data for _, data in sections.values()], check)


def file_bytes(name: object, envelope: bytes, sections: Mapping[str, tuple[str, bytes]]) -> bytes:
    """Return the bytes of a file.

    Args:
        name: Of the file, for the error.
        envelope: The signed manifest.
        sections: Element type and bytes, by name.

    Raises:
        InputError: The file would be over a cap.
    """
    return b"".join(_file_parts(name, envelope, [data for _, data in sections.values()]))


def sign_snapshot(manifest: Manifest, sections: Mapping[str, tuple[str, bytes]], signers: Sequence[Signer]) -> bytes:
    """Describe the sections in the manifest, laid out one after the other, and return the signed envelope."""
    del manifest.sections[:]
    for name, offset, length, kind, digest in places_of(sections):
        manifest.sections.add(name=name, offset=offset, length=length, type=kind, sha256=digest)
    return sign_envelope(manifest.SerializeToString(deterministic=True), signers)


def places_of(sections: Mapping[str, tuple[str, bytes]]) -> Iterator[SectionPlace]:
    """Yield where each section stands, laid out one after the other."""
    offset = 0
    for name, (kind, data) in sections.items():
        offset = aligned(offset)
        yield SectionPlace(name, offset, len(data), kind, digest_of(data))
        offset += len(data)


def write_file(
    path: Path, envelope: bytes, sections: Sequence[bytes], check: Callable[[], object] = lambda: None
) -> int:
    """Write header, envelope and sections durably; return the size in bytes. See `write_snapshot`."""
    parts = list(_file_parts(path, envelope, sections))
    try:
        replace_file(path, lambda file: file.writelines(parts), check=check)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return sum(map(len, parts))


def _file_parts(name: object, envelope: bytes, sections: Sequence[bytes]) -> Iterator[bytes]:
    """Yield what a file is made of, in order. Raises InputError, with the name of the file, where it is over a cap."""
    size = aligned(HEADER.size + len(envelope))
    for data in sections:
        size = aligned(size) + len(data)
    if len(envelope) > MAX_ENVELOPE or size > MAX_FILE:
        raise InputError(f"{name}: found {size} bytes with an envelope of {len(envelope)}, expected at most {MAX_FILE} "
                         f"and {MAX_ENVELOPE}")  # fmt: skip
    yield HEADER.pack(MAGIC, len(envelope))
    yield envelope
    end = HEADER.size + len(envelope)
    yield bytes(aligned(end) - end)
    end = 0
    for data in sections:
        yield bytes(aligned(end) - end)
        yield data
        end = aligned(end) + len(data)
