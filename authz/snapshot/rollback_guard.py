"""The highest serial ever accepted of each layer, kept across restarts, so that an old snapshot cannot be played back.

The state file is JSON, and several processes of one machine may share it:

    {"layers": {"policy": {"serial": 7, "digest": "<SHA-256 of the manifest>"}, "bans": {...}}}

It is locked and read again before it is written, and no serial is ever lowered. Whoever can write it can allow a
roll-back, or stop updates; keep it where only the sidecar can write.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING, Annotated

import msgspec

from authz.durable import replace_file
from authz.errors import DamagedState, InputError, Refusal, SnapshotRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.snapshot.read import Snapshot

MAX_STATE = 64 * 1024  # bytes: some 500 layers
MAX_LOCKED = 10.0  # seconds; keeping a large file of a slow disk takes one
_PAUSE = 0.005  # seconds between two looks at the lock
STATE_HINT = "make the folder of snapshot.state, let the sidecar write to it, and send it SIGHUP"
_ONE = "policy"  # the layer of a file that an operator wrote again for one layer


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is remembered of a layer.

    Attributes:
        serial: The highest that was accepted.
        digest: Of the manifest that had it.
    """

    serial: Annotated[int, msgspec.Meta(ge=0)]
    digest: str


class _States(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    layers: dict[str, State]


def load_states(path: Path) -> dict[str, State]:
    """Return what was accepted last, by layer; nothing if nothing was yet.

    Raises:
        InputError: The file is there but cannot be read.
        DamagedState: It can be read, but is not a valid state.
    """
    try:
        # Not blocking: a named pipe in its place must not keep us from starting.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            data = file.read(MAX_STATE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        return {_ONE: msgspec.json.decode(data, type=State)}
    try:
        return msgspec.json.decode(data, type=_States).layers
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedState(
            f"{path}: found no state of authz: {error}",
            hint='write it again as {"digest": "", "serial": N} with the highest serial you know of',
        ) from error


def save_states(path: Path, states: dict[str, State]) -> None:
    """Write the state durably.

    Args:
        path: The state file.
        states: By the name of the layer.

    Raises:
        SnapshotRefused: `state_unwritable`.
    """
    with writing(path):
        replace_file(path, lambda file: file.write(msgspec.json.encode(_States(states))), mode=0o600)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing the state meanwhile. Waits for the one that does, but not for good.

    Args:
        path: The state file.

    Raises:
        SnapshotRefused: `state_unwritable`, also where another process has kept it for MAX_LOCKED seconds.
    """
    with writing(path):
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    end = time.monotonic() + MAX_LOCKED
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                what = f"{path}: another process has held its lock for {MAX_LOCKED:g} seconds"
                hint = "which, `fuser` on the .lock file beside it says: is it stopped, or its volume?"
                raise SnapshotRefused(Refusal.STATE_UNWRITABLE, what, hint=hint) from None
            time.sleep(_PAUSE)
        else:
            return


@contextlib.contextmanager
def writing(path: Path, lost: str = "the new serial cannot be remembered") -> Iterator[None]:
    """Turn an OSError into a refusal.

    Args:
        path: The state file, or another one in its folder.
        lost: What is not done.

    Raises:
        SnapshotRefused: `state_unwritable`.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise SnapshotRefused(
            Refusal.STATE_UNWRITABLE,
            f"{path}: {error.strerror}: {lost}",
            hint="make room there; it is tried again every few seconds" if full else STATE_HINT,
        ) from error


def accept(snapshot: Snapshot, state: State | None) -> State:
    """Return the state after accepting a snapshot. The very same snapshot may be loaded again.

    Args:
        snapshot: The one to accept.
        state: What is remembered; None: nothing yet.

    Raises:
        SnapshotRefused: `rolled_back`: its serial is not above the highest.
    """
    new = State(serial=snapshot.manifest.serial, digest=snapshot.digest)
    if state is None or new.serial > state.serial or new == state:
        return new
    if new.serial == state.serial and not state.digest:  # an operator wrote the state again, see load_state
        return new
    if new.serial == state.serial:
        message = f"found another snapshot with serial {new.serial}, expected above {state.serial}"
    else:
        message = f"found serial {new.serial}, expected above {state.serial}"
    raise SnapshotRefused(Refusal.ROLLED_BACK, message, hint="publish with a higher --serial")
