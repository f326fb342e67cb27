"""The latest decisions, kept only while somebody looks: for the admin page /decisions, and `authz doctor` behind it.

While nobody looks a decision costs nothing more. The first look begins; looks that stop coming end it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from authz.errors import shorten
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from authz.serve.observe.recorder import Decision, Recorder

MAX_KEPT: Final = 512  # decisions; the oldest go first
PATIENCE: Final = 30.0  # seconds after the last look


class Watch:
    """Keeps decisions of some recorders, from a look until the next."""

    def __init__(self) -> None:
        self._recorders: list[Recorder] = []
        self._kept: deque[Decision] = deque(maxlen=MAX_KEPT)
        self._of_others: deque[dict[str, Any]] = deque(maxlen=MAX_KEPT)
        self._end: asyncio.TimerHandle | None = None
        self.on_look: Callable[[], object] = lambda: None

    def add(self, recorder: Recorder) -> None:
        """Watch the decisions of a front, too."""
        self._recorders.append(recorder)

    def look(self) -> list[dict[str, Any]]:
        """Return the decisions since the last look, and keep those to come. Needs a running event loop."""
        if self._end is None:
            for recorder in self._recorders:
                recorder.watch(self._kept.append)
        else:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(PATIENCE, self._stop)
        self.on_look()
        kept = [_as_dict(decision) for decision in self._kept] + list(self._of_others)
        self._kept.clear()
        self._of_others.clear()
        return kept

    def add_dicts(self, decisions: Iterable[dict[str, Any]]) -> None:
        """Keep decisions of other processes, as their `look` returned them."""
        self._of_others.extend(decisions)

    def _stop(self) -> None:
        self._end = None
        self._kept.clear()
        for recorder in self._recorders:
            recorder.watch(None)


def _as_dict(decision: Decision) -> dict[str, Any]:
    now, front, peer, outcome, client, details, named = decision
    texts = {name: value.decode("ascii", "backslashreplace") for name, value in details._asdict().items()}
    return {
        "time": format_moment(now),
        "front": front,
        "peer": "unix:" if peer is None else shorten(peer),
        "named": named.decode("ascii", "backslashreplace"),
        **texts,
        **outcome.as_dict(client),
    }
