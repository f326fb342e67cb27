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

MAGIC: Final = b"AZSNAP01"
HEADER: Final = struct.Struct("<8sI")
ALIGNMENT: Final = 64  # bytes: a cache line, and enough for any element
FORMAT: Final = 2
PAYLOAD_TYPE: Final = "application/vnd.authz.wire.snapshot.v1+protobuf"

MAX_FILE: Final = 4 << 30  # bytes
MAX_ENVELOPE: Final = 8 << 20  # bytes: some 10,000 applications with long deny answers; entries are in sections
MAX_SIGNATURE_BYTES: Final = 64 << 10  # of all signatures together, as JSON
MAX_SIGNATURES: Final = 16
MAX_SECTIONS: Final = 64
MAX_PARTS: Final = 8  # that a file requires


def aligned(offset: int) -> int:
    """Return the next multiple of `ALIGNMENT` that is not below `offset`."""
    return -(-offset // ALIGNMENT) * ALIGNMENT
