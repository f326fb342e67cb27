"""What of a layer has no effect, since the policy protects what it would deny: told, so that somebody ends it.

Such an entry was there before the policy came to protect its address; a later one refuses its file (see
`authz.engine.entries.permissions`).
"""

from __future__ import annotations

import contextlib
import logging
import time
from itertools import islice
from typing import TYPE_CHECKING, Final

from authz.engine.entries.permissions import overruled
from authz.errors import NoThread
from authz.serve.background import in_thread
from authz.snapshot.cooperative import CONSIDERATE

if TYPE_CHECKING:
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.entries.permissions import Denial

_MAX_COUNTED: Final = 1000  # that are counted
_NAMED: Final = 5  # in a line of the log
_LOG = logging.getLogger("authz.reload")


class Overruled:
    """The entries of one layer that have no effect, of those files that were compared last.

    Attributes:
        entries: At most 1,000 of them.

    """

    def __init__(self) -> None:
        self.entries: list[Denial] = []
        self._compared: tuple[OpenedSnapshot | None, OpenedSnapshot | None] = (None, None)

    def is_of(self, policy: OpenedSnapshot | None, opened: OpenedSnapshot | None) -> bool:
        """Return whether these two were compared last."""
        return self._compared == (policy, opened)

    async def compare(self, policy: OpenedSnapshot | None, opened: OpenedSnapshot | None, layer: str) -> None:
        """Find what of a layer has no effect beside a policy, and tell what is new."""
        denials: list[Denial] = []
        if policy is not None and policy.protected and opened is not None:
            with contextlib.suppress(NoThread):  # the next file is compared again
                denials = await in_thread(_find, policy, opened)
        known = {denial.entry.id for denial in self.entries}
        self.entries, self._compared = denials, (policy, opened)
        if not known.issuperset(denial.entry.id for denial in denials):
            _LOG.warning("%s: %s; the rest of the layer holds", layer, self)
        elif known and not denials:
            _LOG.info("%s: all entries have effect again", layer)

    def __str__(self) -> str:
        """Return the first ones with what they would deny, and how many there are."""
        named = ", ".join(f"'{denial.entry.id}' ({denial})" for denial in self.entries[:_NAMED])
        count = len(self.entries)
        what = "1 entry has" if count == 1 else f"{count}{'+' * (count == _MAX_COUNTED)} entries have"
        more = ", ..." if count > _NAMED else ""
        return f"{what} no effect, since the policy protects what would be denied: {named}{more}"


def _find(policy: OpenedSnapshot, opened: OpenedSnapshot) -> list[Denial]:
    with CONSIDERATE:
        return list(islice(overruled((opened, *opened.parts), policy.protected, time.time()), _MAX_COUNTED))
