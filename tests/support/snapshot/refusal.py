"""With which code a snapshot is refused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.read import check_snapshot

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


def code_of(data: bytes, publisher: Publisher, *, keys: tuple[str, ...] = ("a",), threshold: int = 1) -> str:
    """Return `ok`, or the code with which the bytes are refused."""
    try:
        OpenedSnapshot(
            check_snapshot(memoryview(data), [publisher.key(key) for key in keys], threshold, now=time.time())
        )
    except SnapshotRefused as error:
        return error.code
    return "ok"


def documented_codes() -> set[str]:
    return set(Refusal)
