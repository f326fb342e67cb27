"""File descriptors: enough of them, and always some left to load a snapshot with.

With every descriptor taken by connections a new snapshot could not even be opened, and the ban in it would not hold. So
the limit is raised at the start, and a connection that would take one of the last is closed at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from typing import Final

RESERVE: Final = 32  # for a snapshot on its way in, the state file, a log that is opened again, look-ups
_LOG = logging.getLogger("authz")


def raise_limit(connections: int) -> None:
    """Raise the limit of descriptors (RLIMIT_NOFILE) to what is allowed, and say where that is too low.

    Args:
        connections: How many the configuration allows.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS has a limit below its own "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    if soft != resource.RLIM_INFINITY and soft < connections + RESERVE:
        room = max(soft - RESERVE, 0)
        _LOG.warning("descriptors: found a limit of %d, expected %d for the connections that are configured; those "
                     "above %d will be closed at once", soft, connections + RESERVE, room)  # fmt: skip


class Descriptors:
    """Tells whether this process has descriptors left for one more connection."""

    def __init__(self) -> None:
        self._own, other = os.pipe()  # something that can be duplicated at any time
        os.close(other)

    def scarce(self) -> bool:
        """Return whether only the reserve is left.

        The system hands out the lowest free number, so connections never have one of the last `RESERVE`.
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if limit == resource.RLIM_INFINITY:
            return False
        try:
            lowest = os.dup(self._own)
        except OSError:
            return True
        os.close(lowest)
        return lowest > limit - RESERVE

    def close(self) -> None:
        """Give back its own descriptor. A second call is harmless."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
