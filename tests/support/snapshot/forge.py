"""Snapshot files taken apart and put together again, well signed or not.

Written from docs/internals/snapshot-format.md and not from authz/snapshot: a second opinion on the format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from authz.wire.snapshot.v1.snapshot_pb2 import Entry, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from authz.snapshot.signing.envelope import Signer

PAYLOAD_TYPE = "application/vnd.authz.wire.snapshot.v1+protobuf"


def up(offset: int) -> int:
    """Return the next multiple of 64."""
    return (offset + 63) // 64 * 64


def canonical(envelope: object) -> bytes:
    """Return JSON with sorted keys and no white space."""
    return json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()


def file_of(envelope: bytes, sections: Sequence[bytes], *, length: int | None = None) -> bytes:
    """Return a file. length: what the header says of the envelope; default: the truth."""
    data = b"AZSNAP01" + struct.pack("<I", len(envelope) if length is None else length) + envelope
    data = data.ljust(up(len(data)), b"\0")
    for section in sections:
        data = data.ljust(up(len(data)), b"\0") + section
    return data


def flip(data: bytes, position: int, bit: int = 0) -> bytes:
    """Return the bytes with one bit flipped."""
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


class Forge:
    """A good snapshot file, its parts, and files with other parts."""

    def __init__(self, data: bytes, signers: Mapping[str, Signer]) -> None:
        self.data = data
        self.signers = signers
        (length,) = struct.unpack_from("<I", data, 8)
        self.envelope_end = 12 + length
        self.first_section = up(self.envelope_end)
        self.envelope: dict[str, Any] = json.loads(data[12 : self.envelope_end])
        self.payload = base64.b64decode(self.envelope["payload"])
        self.manifest = Manifest.FromString(self.payload)
        self.sections: dict[str, bytes] = {}
        for name, (start, end) in self.places().items():
            self.sections[name] = data[start:end]

    def places(self) -> dict[str, tuple[int, int]]:
        """Return where each section begins and ends in the file."""
        first = self.first_section
        return {s.name: (first + s.offset, first + s.offset + s.length) for s in self.manifest.sections}

    def signed_payload(self, payload: bytes, *, keys: Sequence[str] = ("a",), kind: str = PAYLOAD_TYPE) -> bytes:
        """Return the envelope of a payload, signed by these keys."""
        pae = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
        signatures = [self.signers[key].sign(pae) for key in keys]
        return canonical({
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind,
            "signatures": [
                {"keyid": s.keyid, "sig": base64.b64encode(bytes.fromhex(s.signature)).decode()} for s in signatures
            ],
        })  # fmt: skip

    def with_envelope(self, envelope: bytes, *, length: int | None = None) -> bytes:
        """Return the file with another envelope."""
        return file_of(envelope, list(self.sections.values()), length=length)

    def with_changed_envelope(self, change: Callable[[dict[str, Any]], object]) -> bytes:
        """Return the file with an envelope that was changed after it was signed; still canonical."""
        envelope = json.loads(canonical(self.envelope))
        change(envelope)
        return self.with_envelope(canonical(envelope))

    def with_payload(self, payload: bytes, *, keys: Sequence[str] = ("a",)) -> bytes:
        """Return the file with another payload, well signed."""
        return self.with_envelope(self.signed_payload(payload, keys=keys))

    def with_manifest(self, change: Callable[[Manifest], object], *, keys: Sequence[str] = ("a",)) -> bytes:
        """Return the file with a changed manifest, well signed."""
        manifest = Manifest.FromString(self.payload)
        change(manifest)
        return self.with_payload(manifest.SerializeToString(deterministic=True), keys=keys)

    def entries(self) -> list[Entry]:
        """Return the entries."""
        offsets = struct.unpack(f"<{len(self.sections['entries.offset']) // 4}I", self.sections["entries.offset"])
        data = self.sections["entries.data"]
        return [Entry.FromString(data[start:end]) for start, end in pairwise(offsets)]

    def with_entry(self, change: Callable[[Entry], object]) -> bytes:
        """Return the file with a changed first entry, well signed."""
        entries = self.entries()
        change(entries[0])
        parts = [entry.SerializeToString() for entry in entries]
        offsets = [0, *accumulate(map(len, parts))]
        new = {"entries.offset": struct.pack(f"<{len(offsets)}I", *offsets), "entries.data": b"".join(parts)}
        return self.with_sections(lambda sections: sections.update(new))

    def with_sections(self, change: Callable[[dict[str, bytes]], object]) -> bytes:
        """Return a file with changed sections, laid out and signed as if they were right."""
        sections = dict(self.sections)
        change(sections)
        manifest = Manifest.FromString(self.payload)
        kinds = {section.name: section.type for section in manifest.sections}
        del manifest.sections[:]
        offset = 0
        for name, data in sections.items():
            offset = up(offset)
            digest = hashlib.sha256(data).digest()
            manifest.sections.add(name=name, offset=offset, length=len(data), type=kinds.get(name, "u8"), sha256=digest)
            offset += len(data)
        payload = manifest.SerializeToString(deterministic=True)
        return file_of(self.signed_payload(payload), list(sections.values()))
