"""What an HTTP/1.1 connection needs of the listener that made it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.serve.http1.messages import Answer, HeadParts
    from authz.serve.http1.spellings import Spellings
    from authz.serve.listeners.budget import HeldBytes, Turns
    from authz.serve.listeners.places import Places
    from authz.serve.observe.metrics import Metrics


class Timeouts(Protocol):
    """The limits of a connection; see `HttpLimits`."""

    @property
    def max_header(self) -> int:
        """Bytes of a header block."""

    @property
    def idle_timeout(self) -> float:
        """Seconds between two requests."""

    @property
    def header_timeout(self) -> float:
        """Seconds for a header block."""


class Owner(Protocol):
    """What a connection needs of its listener; see `authz.serve.http1.listener`."""

    handler: Callable[[HeadParts], Answer]
    spellings: Spellings
    metrics: Metrics | None
    refuse: Callable[[str | None, bytes], Answer] | None
    held: HeldBytes
    turns: Turns
    places: Places[Any]  # of HttpConnection, which names this module
    open: set[Any]
    later: float

    @property
    def limits(self) -> Timeouts:
        """Sizes and times."""

    @property
    def admit(self) -> Callable[[Any], bool]:
        """Tells whether a new connection has a place."""
