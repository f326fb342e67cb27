"""What a sidecar keeps of each layer across restarts: the highest serial, and the last good file.

    lock · read the state again · serial above the highest? · keep the file · raise the serial · unlock

The file is kept before the serial is raised: after a crash in between, the copy is above the serial, which is good.
A damaged state file is rebuilt from the serials of the copies, with a loud line.
"""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING

from authz.durable import replace_file
from authz.errors import DamagedState, InputError, Refusal, SnapshotRefused
from authz.serve.layers.config import LAST_GOOD, last_good_path
from authz.snapshot.cooperative import write_in_turns
from authz.snapshot.heading import part_path
from authz.snapshot.read import inspect_snapshot
from authz.snapshot.rollback_guard import (
    STATE_HINT,
    State,
    accept,
    load_states,
    locked,
    save_states,
    writing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from authz.snapshot.heading import Requirement
    from authz.snapshot.read import Snapshot

_LOG = logging.getLogger("authz.reload")


class Memory:
    """The state file and the last good copies beside it. All methods block; they may be called from any thread.

    Args:
        path: The state file; its folder is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, State] = {}  # what this process has accepted or read
        self._told = False  # that the file is damaged

    def load(self) -> dict[str, State]:
        """Return the highest serials. Raises InputError if the file cannot be read at all."""
        try:
            states = load_states(self.path)
        except DamagedState as error:
            states = self._of_copies()
            if not self._told:
                told = ", ".join(f"{layer}: serial {state.serial}" for layer, state in states.items()) or "none"
                _LOG.error("%s; continuing with the serials of the last good copies (%s). For a layer without "
                           "one, an older file could be accepted", error.message, told)  # fmt: skip
            self._told = True
        for layer, state in states.items():
            known = self._known.get(layer)
            if known is None or state.serial > known.serial:
                self._known[layer] = state
        return dict(self._known)

    def _of_copies(self) -> dict[str, State]:
        """Return the serials of the last good copies that are whole.

        No signature is checked: someone who can write a copy here can write the state file, too.
        """
        states: dict[str, State] = {}
        for path in sorted((self.path.parent / LAST_GOOD).glob("*.snapshot")):
            with contextlib.suppress(SnapshotRefused):
                snapshot = inspect_snapshot(path)
                states[path.stem] = State(snapshot.serial, snapshot.digest)
        return states

    def copy(self, layer: str) -> Path:
        """Return where the last good copy of a layer stands, if there is one."""
        return last_good_path(self.path, layer)

    def keep_part(self, layer: str, part: Requirement, content: Sequence[bytes | memoryview]) -> None:
        """Keep a part beside the last good copy that will require it. Raises SnapshotRefused(`state_unwritable`)."""
        path = part_path(self.copy(layer), part)
        with writing(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, lambda file: write_in_turns(file, content), mode=0o600)

    def drop_parts(self, layer: str, required: Iterable[Requirement]) -> None:
        """Remove the kept parts that the last good copy does not require. What cannot be removed stays."""
        copy = self.copy(layer)
        kept = {part_path(copy, part) for part in required}
        name = re.compile(rf"{re.escape(copy.name)}\.[0-9]+")
        with contextlib.suppress(OSError):
            for path in copy.parent.iterdir():
                if name.fullmatch(path.name) and path not in kept:
                    path.unlink(missing_ok=True)

    def remember(self, layer: str, snapshot: Snapshot, content: Sequence[bytes | memoryview] | None) -> None:
        """Keep an accepted file and its serial.

        Args:
            layer: Its name.
            snapshot: What was verified.
            content: The bytes that were; None for the last good copy itself.

        Raises:
            SnapshotRefused: `rolled_back` for a serial that is not above the highest; `state_unwritable`.
        """
        with locked(self.path):
            states = self._load_to_change()
            new = accept(snapshot, states.get(layer))
            if content is not None and (new != states.get(layer) or not self._has(layer)):
                self._keep(layer, content)
            if new != states.get(layer) or self._told:
                save_states(self.path, states | {layer: new})
                self._told = False
            self._known[layer] = new

    def _load_to_change(self) -> dict[str, State]:
        try:
            return self.load()
        except InputError as error:
            raise SnapshotRefused(
                Refusal.STATE_UNWRITABLE, f"{error.message}: the new serial cannot be remembered", hint=STATE_HINT
            ) from error

    def _has(self, layer: str) -> bool:
        with writing(self.path):
            return self.copy(layer).exists()

    def _keep(self, layer: str, content: Sequence[bytes | memoryview]) -> None:
        path = self.copy(layer)
        with writing(path):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            replace_file(path, lambda file: write_in_turns(file, content), mode=0o600)
