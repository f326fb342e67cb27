"""A connection to a listener of pages, of which each may take milliseconds: each request has a turn of its own.

A large page is made in steps, between which the other listeners have their turns. What the peer has sent behind that
request waits.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final

from authz.serve.http1.connection import PIECE, HttpConnection
from authz.serve.http1.messages import Answer, AnswerInSteps, plain_answer

if TYPE_CHECKING:
    from authz.serve.http1.owner import Owner

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_HEADS_END: Final = b"\r\n\r\n"
_PROBES: Final = (b"GET /livez ", b"GET /readyz ", b"HEAD /livez ", b"HEAD /readyz ")  # which are answered at once
_PROBE: Final = 512  # bytes of one
_LOG = logging.getLogger("authz.http")


class PageConnection(HttpConnection):
    """One connection. No request is refused because it has waited."""

    def __init__(self, connections: Owner) -> None:
        super().__init__(connections)
        self._pipelines = True
        self._page: AnswerInSteps | None = None  # which is being made

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._page = None
        super().connection_lost(exc)

    def work(self) -> bool:
        """Take one step of a page, or parse one request. Returns whether there is more to do now."""
        if self._page is None:
            return super().work()
        self._take_step(self._page)
        self._write()
        return self._go_on()

    def _take_step(self, page: AnswerInSteps) -> None:
        try:
            next(page.steps)
        except StopIteration as end:
            self._page = None
            self._add(page.with_body(end.value))
        except Exception:  # noqa: BLE001  # whatever it is, the caller waits for an answer
            _LOG.exception("a page failed")
            self._page = None
            self._ending = True
            self._add(plain_answer(500))

    def _add(self, answer: Answer) -> None:
        if isinstance(answer, AnswerInSteps):
            self._page = answer
        else:
            super()._add(answer)

    def _write(self) -> None:
        if self._page is None:
            super()._write()

    def _go_on(self) -> bool:
        # While a page is made, its request stays among what is not parsed: so the connection is not idle.
        self._queued = self._page is not None or super()._go_on()
        return self._queued

    def _goes_first(self, data: bytes) -> bool:
        whole = len(data) <= _PROBE and data.startswith(_PROBES) and data.endswith(_HEADS_END)
        return whole and not self._in_head

    def _is_late(self) -> bool:
        return False

    def _end_of_piece(self) -> int:
        end = self._at + PIECE
        blank = _HEAD_END.search(self._unparsed, self._at, end)
        return blank.end() if blank else end
