"""The latest decisions, kept only while somebody looks: for the admin page /decisions, and `authz doctor` behind it.

While nobody looks a decision costs nothing more. The first look begins; looks that stop coming end it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from authz.serve.observe.details import MAX_HOST, MAX_PATH, MAX_SHORT, peer_text
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
    return {
        "time": format_moment(decision.now),
        "front": decision.front,
        "peer": peer_text(decision.peer),
        "named": _text(decision.named, MAX_SHORT),
        "request_id": _text(decision.request_id, MAX_SHORT),
        "host": _text(decision.host, MAX_HOST),
        "method": _text(decision.method, MAX_SHORT),
        "path": _text(decision.path, MAX_PATH),
        **decision.outcome.as_dict(decision.client),
    }


def _text(data: bytes, most: int) -> str:
    return data[:most].decode("ascii", "backslashreplace")
