"""The chain of hashes over the changes of a layer, by which history is tamper-evident.

hash(n) = SHA-256(hash(n - 1) as text, line feed, JSON of the change without its hash)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from authz.control.model.records import Change

FIRST_HASH: Final = "0" * 64


def chained(before: str, change: Change) -> str:
    """Return the hash of a change. before: the hash of the change before it."""
    content = msgspec.json.encode(msgspec.structs.replace(change, hash=""), order="deterministic")
    return hashlib.sha256(before.encode() + b"\n" + content).hexdigest()
