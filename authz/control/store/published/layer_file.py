"""The file of a layer that control.yaml names (`layers[].file`): written at each publication.

Nobody else should write it. Who does, with a build of the command line or a copy, gives it a serial above ours:
sidecars take it, and would refuse all that we publish afterwards. So the layer goes on above such a serial, and it is
told.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from authz.errors import SnapshotRefused
from authz.publisher.bans.tiers import write_files
from authz.snapshot.heading import read_heading

if TYPE_CHECKING:
    from pathlib import Path

    from authz.publisher.bans.tiers import Files

_LOG = logging.getLogger("authz.control.publish")


class LayerFile:
    """The file of a layer.

    Attributes:
        path: None: there is none.
        warnings: What is to be told of it.
    """

    def __init__(self, layer: str, path: Path | None) -> None:
        self.path = path
        self.warnings: tuple[str, ...] = ()
        self._layer = layer
        self._seen: tuple[int, int, int] | None = None
        self._serial = 0  # of what was seen

    def write(self, files: Files) -> None:
        """Write the layer. Raises OSError."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_files(self.path, files)
        self._seen, self._serial, self.warnings = self._state(), files.serial, ()

    def has_part(self, serial: int) -> bool:
        """Return whether a part stands there already."""
        return self.path is not None and self.path.with_name(f"{self.path.name}.{serial}").exists()

    def foreign(self, ours: int) -> int:
        """Return the serial of what somebody else has put there; 0: nobody has. ours: the serial that we published."""
        with contextlib.suppress(OSError, SnapshotRefused):  # what cannot be read is replaced by the next file
            state = self._state()
            if state != self._seen:
                self._seen, self._serial = state, self._serial_there()
        foreign = self._serial if self._serial > ours else 0
        told = f"{self.path}: found serial {foreign} of somebody else, expected at most {ours}"
        warnings = (f"{told}: the next change replaces it",) if foreign else ()
        if warnings and warnings != self.warnings:
            _LOG.warning("layer %s: %s", self._layer, *warnings)
        self.warnings = warnings
        return foreign

    def _state(self) -> tuple[int, int, int] | None:
        """Return what tells one state of the file from another; None: it is not there. Raises OSError."""
        if self.path is None or not self.path.exists():
            return None
        status = self.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _serial_there(self) -> int:
        self._serial = 0
        if self.path is None or not self.path.exists():
            return 0
        heading = read_heading(self.path)
        return heading.serial if heading.layer == self._layer else 0
