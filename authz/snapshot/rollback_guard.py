"""The highest serial ever accepted, kept across restarts, so that an old snapshot cannot be played back.

The state file is JSON: {"digest": "<SHA-256 of the manifest>", "serial": 7}. Whoever can write it can allow a
roll-back, or stop updates; keep it where only the sidecar can write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from authz.durable import replace_file
from authz.errors import InputError, Refusal, SnapshotRefused

if TYPE_CHECKING:
    from pathlib import Path

    from authz.snapshot.read import Snapshot

MAX_STATE = 4096  # bytes


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """serial: the highest accepted. digest: of the manifest that had it."""

    serial: Annotated[int, msgspec.Meta(ge=0)]
    digest: str


def load_state(path: Path) -> State | None:
    """Return what was accepted last; None where nothing was yet.

    Raises InputError where the file is there but cannot be read: starting over would forget the highest serial.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STATE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return msgspec.json.decode(data, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: found no state of authz: {error}",
            hint='write it anew as {"digest": "", "serial": N} with the highest serial you know of',
        ) from error


def save_state(path: Path, state: State) -> None:
    """Write the state durably. Raises SnapshotRefused(`state_unwritable`)."""
    try:
        replace_file(path, lambda file: file.write(msgspec.json.encode(state)), mode=0o600)
    except OSError as error:
        raise SnapshotRefused(
            Refusal.STATE_UNWRITABLE,
            f"{path}: {error.strerror}: the new serial cannot be remembered",
            hint="make the folder of snapshot.state, let the sidecar write to it, and send it SIGHUP",
        ) from error


def accept(snapshot: Snapshot, state: State | None) -> State:
    """Return the state after accepting `snapshot`.

    The very same snapshot may be loaded again. Raises SnapshotRefused(`rolled_back`) for a serial that is not above
    the highest.
    """
    new = State(serial=snapshot.manifest.serial, digest=snapshot.digest)
    if state is None or new.serial > state.serial or new == state:
        return new
    if new.serial == state.serial and not state.digest:  # an operator wrote the state anew, see load_state
        return new
    if new.serial == state.serial:
        message = f"found another snapshot with serial {new.serial}, expected above {state.serial}"
    else:
        message = f"found serial {new.serial}, expected above {state.serial}"
    raise SnapshotRefused(Refusal.ROLLED_BACK, message, hint="publish with a higher --serial")
