"""Opening snapshots for who decides by them without a sidecar: a library, a command."""

from __future__ import annotations

import time
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.errors import InputError, shorten
from authz.snapshot.read import read_snapshot
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable


def open_snapshot(
    path: str | PathLike[str],
    trusted_keys: Iterable[str | PathLike[str]],
    *,
    threshold: int = 1,
    now: float | None = None,
) -> Ruleset:
    """Read and verify a snapshot file, and return what a Decider loads.

    The highest serial is not remembered: a program that loads new files must compare `serial` itself, to refuse older
    ones.

    Args:
        path: The snapshot file.
        trusted_keys: PEM files of public keys.
        threshold: How many of them must have signed.
        now: Seconds since 1970; None: now. An expired file is refused.

    Returns:
        A ruleset of this one layer.

    Raises:
        SnapshotRefused: The file is not to be used; its `code` says why.
        InputError: A key cannot be read, or `trusted_keys` is one path, not several.

    """
    if isinstance(trusted_keys, (str, PathLike)):  # else each of its letters would be a path
        raise InputError(f"trusted_keys: found '{shorten(trusted_keys)}', expected a list of files")
    keys = [load_public_key(Path(key)) for key in trusted_keys]
    moment = time.time() if now is None else now
    return Ruleset([OpenedSnapshot(read_snapshot(Path(path), keys, threshold, now=moment))])
