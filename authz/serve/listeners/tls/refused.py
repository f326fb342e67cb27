"""Clients that are refused by the names in their certificates: told once a minute, however many come."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from authz.serve.listeners.tls.clients import names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAUSE: Final = 60.0  # seconds between two lines
_LOG = logging.getLogger("authz.tls")


class RefusedClients:
    """Called with the certificate of each of them; `authz_tls_handshakes_total` counts them all.

    Args:
        name: Of the listener.
        clock: Of seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._since, self._next = 0, float("-inf")  # clients since the last line; when there may be another

    def __call__(self, certificate: Mapping[str, Any] | None) -> None:
        """Take one, and tell of it if the last line is old enough. certificate: as `SSLObject.getpeercert` gives it."""
        self._since += 1
        now = self._clock()
        if now < self._next:
            return
        came = "a client" if self._since == 1 else f"{self._since:,} clients since the line before, the last one"
        names = ", ".join(map(str, names_of(certificate)))
        _LOG.info("%s: refused %s with a certificate that has the names %.200r and is valid until %s",
                  self._name, came, names, (certificate or {}).get("notAfter"))  # fmt: skip
        self._since, self._next = 0, now + PAUSE
