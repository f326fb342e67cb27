"""A thread that does something again and again, while this control plane leads."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSE: Final = 0.5  # seconds between two rounds, at least
_LOG = logging.getLogger("authz.control.inputs")


class Rounds:
    """Calls `round_` every `interval` seconds, and when it is woken. Whatever goes wrong, the next round comes.

    Attributes:
        problem: Why the last round failed; "" if it did not, or another control plane leads.

    """

    def __init__(self, name: str, interval: float, leading: Callable[[], bool], round_: Callable[[], object]) -> None:
        self.name = name
        self.problem = ""
        self._interval = interval
        self._leading = leading
        self._round = round_
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first round comes at once."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next round come now."""
        self._wake.set()

    def close(self, patience: float = 5.0) -> None:
        """End; a round that lasts longer than `patience` seconds is left behind. A second call is harmless."""
        self._end.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(patience)

    def _run(self) -> None:
        while not self._end.is_set():
            self._wake.clear()
            try:
                if self._leading():
                    self._round()
                self.problem = ""
            except (AuthzError, OSError) as error:
                _LOG.warning("%s: %s", self.name, error)
                self.problem = str(error)
            except Exception as error:  # noqa: BLE001  # a bug in authz must not end the rounds
                _LOG.exception("%s", self.name)
                self.problem = repr(error)
            self._end.wait(min(PAUSE, self._interval))  # however often we are woken
            self._wake.wait(self._interval)
