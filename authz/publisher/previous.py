"""The file that a build replaces: its serial goes on from it, and what it had is compared with what is built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import InputError, SnapshotRefused
from authz.publisher.output_lock import check_layer, check_writer
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from authz.snapshot.read import Snapshot


def last_build(output: Path, *, layer: str, serial: int | None = None) -> Snapshot | None:
    """Return the snapshot that stands at `output`; None if there is none.

    Args:
        output: The file that will be replaced.
        layer: The layer that the new file is for.
        serial: The serial that the operator has chosen. Without one, a file that cannot be read is an error, since its
            serial could be higher than the clock; with one, a damaged snapshot counts as absent. What is no snapshot,
            such as a key or a configuration, is an error in any case.

    Raises:
        InputError: There is a file, and it cannot be read, or is one of another layer, or a control plane writes it.

    """
    if not output.exists():
        return None
    try:
        previous = inspect_snapshot(output)
    except SnapshotRefused as error:
        another = error.code in {"bad_magic", "unreadable"} and _has_content(output)
        if serial is not None and not another:
            return None
        message = error.message.removeprefix(f"{output}: ")
        raise InputError(
            f"{output}: exists, and is not a snapshot whose serial can be read: {message}",
            hint="move it away" if another else "move it away, or give --serial",
        ) from error
    check_layer(output, previous.manifest.layer, layer)
    check_writer(output, previous.manifest.origin.source)
    return previous


def _has_content(path: Path) -> bool:
    return not path.is_file() or path.stat().st_size > 0


def check_unchanged(output: Path, previous: Snapshot | None) -> None:
    """Raise InputError where `output` is no longer the last build that a build has begun with.

    Builds hold a lock (see `authz.publisher.output_lock`); a copy, a roll-back or an older authz does not ask for it.
    """
    try:
        serial = inspect_snapshot(output).manifest.serial if output.exists() else None
    except SnapshotRefused:
        return  # it was so before, and --serial was given; or it is broken, which a new file mends
    if serial is not None and (previous is None or serial > previous.manifest.serial):
        was = "no readable file" if previous is None else f"serial {previous.manifest.serial}"
        raise InputError(
            f"{output}: found serial {serial}, expected {was} as when this build began: somebody else has written it",
            hint="nothing was written; build again",
        )


def next_serial(previous: Snapshot | None, now: int, serial: int | None = None, *, output: object = "") -> int:
    """Return the serial of a build: the chosen one, else the clock, or one more than the last where that is higher.

    Raises:
        InputError: The chosen one is not above the last: every sidecar would refuse it.

    """
    last = previous.manifest.serial if previous else 0
    if serial is None:
        return max(now, last + 1)
    if serial <= last:
        raise InputError(
            f"--serial: found {serial}, expected above {last}, which {output or 'the last build'} has",
            hint="sidecars refuse a serial that is not above the last; to start over, move the file away",
        )
    return serial


def feed_counts(previous: Snapshot | None) -> dict[tuple[str, str], list[int]]:
    """Return how many entries each feed had, by (source, path); several where a file is taken in parts by `where`."""
    counts: dict[tuple[str, str], list[int]] = {}
    for feed in previous.manifest.feeds if previous else ():
        counts.setdefault((feed.source, feed.path), []).append(feed.entries)
    return counts


def known_ends(previous: Snapshot | None) -> dict[str, int | None]:
    """Return the entries of the last build by id, each with the time at which it ends."""
    entries = OpenedSnapshot(previous).entries if previous else ()
    return {entry.id: entry.expires for entry in entries}
