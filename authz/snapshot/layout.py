"""The layout of a snapshot file, and a cap for every length in it.

    0        8                 12            12 + n      next multiple of 64
    AZSNAP01 u32 n (envelope)  DSSE envelope 00 ... 00   first section, padding, second section, padding ...

The envelope is JSON in its one canonical form; its payload is a serialized Manifest. A section's offset counts from the
first section; sections follow each other, each at the next multiple of 64, and the file ends with the last one.
Integers are little-endian.
"""

from __future__ import annotations

import struct
from typing import Final

try:  # `hashlib` loads OpenSSL, which takes 3 ms of a ban that has to hold soon
    from _sha2 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]  # from Python 3.12 on
except ImportError:
    try:
        from _sha256 import sha256 as _sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # a build of Python without it
        from hashlib import sha256 as _sha256

MAGIC: Final = b"AZSNAP01"
HEADER: Final = struct.Struct("<8sI")
ALIGNMENT: Final = 64  # bytes: a cache line, and enough for any element
FORMAT: Final = 4
PAYLOAD_TYPE: Final = "application/vnd.authz.wire.snapshot.v1+protobuf"

MAX_FILE: Final = 4 << 30  # bytes
MAX_ENVELOPE: Final = 8 << 20  # bytes: some 10,000 applications with long deny answers; entries are in sections
MAX_SIGNATURE_BYTES: Final = 64 << 10  # of all signatures together, as JSON
MAX_SIGNATURES: Final = 16
MAX_SECTIONS: Final = 64
MAX_PARTS: Final = 8  # that a file requires
_FEW: Final = 1 << 16  # bytes, hashed in 0.3 ms; OpenSSL, which takes its time to load, hashes more of them sooner


def aligned(offset: int) -> int:
    """Return the next multiple of `ALIGNMENT` that is not below `offset`."""
    return -(-offset // ALIGNMENT) * ALIGNMENT


def digest_of(data: bytes) -> bytes:
    """Return the SHA-256 of some bytes."""
    if len(data) <= _FEW:
        return bytes(_sha256(data).digest())
    import hashlib  # noqa: PLC0415  # see above

    return hashlib.sha256(data).digest()
