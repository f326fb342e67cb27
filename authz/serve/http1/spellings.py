"""How peers spell the names of headers, and which of them somebody wants: one look-up a header."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_SPELLINGS: Final = 256  # that are remembered; a proxy has a few dozen, but a client can make up any
_MAX_NAME: Final = 64  # bytes of each; a longer one that is wanted is remembered, too


class Spellings(dict[bytes, bytes | None]):
    """A name as it is spelled -> the same in lower case; None: nobody wants it. Remembers what it was asked for.

    Args:
        wanted: Names in lower case.
    """

    def __init__(self, wanted: Collection[bytes]) -> None:
        super().__init__()
        self._wanted = frozenset(wanted)
        self._longest = max(_MAX_NAME, *map(len, self._wanted))

    def __missing__(self, name: bytes) -> bytes | None:
        """Look at a name that is new, or too long to be wanted or remembered."""
        if len(name) > self._longest:
            return None
        lower = name.lower()
        known = lower if lower in self._wanted else None
        if len(self) >= MAX_SPELLINGS:
            self.clear()
        self[name] = known
        return known
