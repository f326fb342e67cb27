"""Clients that a peer names and that do not count, since it is not a trusted proxy: counted, and told once a minute.

A proxy that nobody trusts is taken for the client of all its requests: whoever is denied gets in through it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.addresses import Address
    from authz.serve.observe.metrics import Metrics

PAUSE: Final = 60.0  # seconds between two lines
COUNTER: Final = "authz_forwarding_ignored_total"
_LOG = logging.getLogger("authz")


class IgnoredClients:
    """Called with the peer of each such request. A request that is remembered is not seen again."""

    def __init__(self, metrics: Metrics, header: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._header, self._clock = metrics, header, clock
        self._since, self._next = 0, float("-inf")  # requests since the last line; when there may be another
        metrics.begin(COUNTER)

    def __call__(self, peer: Address) -> None:
        """Count a request, and tell of it if the last line is old enough."""
        self._metrics.count(COUNTER)
        self._since += 1
        now = self._clock()
        if now < self._next:
            return
        came = "a request came" if self._since == 1 else f"{self._since:,} requests came"
        _LOG.warning(
            "client_address: %s with %s, the last from %s, which is not a trusted proxy: its own address was"
            " checked, not the client that it names; if it is your proxy, add it to client_address.trusted_proxies",
            came, self._header, peer.text,
        )  # fmt: skip
        self._since, self._next = 0, now + PAUSE
