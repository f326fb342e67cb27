"""Writing a snapshot file (the publisher's side)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from authz.durable import replace_file
from authz.errors import InputError
from authz.snapshot.layout import HEADER, MAGIC, MAX_ENVELOPE, MAX_FILE, aligned
from authz.snapshot.signers import sign_envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from securesystemslib.signer import Signer

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
    add_sections(manifest, sections)
    envelope = sign_envelope(manifest.SerializeToString(deterministic=True), signers)
    return write_file(path, envelope, [data for _, data in sections.values()], check)


def add_sections(manifest: Manifest, sections: Mapping[str, tuple[str, bytes]]) -> None:
    """Describe the sections in the manifest, laid out one after the other."""
    offset = 0
    for name, (kind, data) in sections.items():
        offset = aligned(offset)
        digest = hashlib.sha256(data).digest()
        manifest.sections.add(name=name, offset=offset, length=len(data), type=kind, sha256=digest)
        offset += len(data)


def write_file(
    path: Path, envelope: bytes, sections: Sequence[bytes], check: Callable[[], object] = lambda: None
) -> int:
    """Write header, envelope and sections durably; return the size in bytes. See `write_snapshot`."""
    size = aligned(HEADER.size + len(envelope))
    for data in sections:
        size = aligned(size) + len(data)
    if len(envelope) > MAX_ENVELOPE or size > MAX_FILE:
        raise InputError(f"{path}: {size} bytes with an envelope of {len(envelope)}, expected at most {MAX_FILE} and "
                         f"{MAX_ENVELOPE}")  # fmt: skip

    def write(file: BinaryIO) -> None:
        file.write(HEADER.pack(MAGIC, len(envelope)))
        file.write(envelope)
        file.write(bytes(aligned(file.tell()) - file.tell()))
        for data in sections:
            file.write(bytes(aligned(file.tell()) - file.tell()))
            file.write(data)

    try:
        replace_file(path, write, check=check)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return size
