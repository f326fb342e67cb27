"""Connections that are open by TLS, and the end of those whose clients may connect no more.

    judge   after a change of authorities, names or revocation lists: each certificate by the new rules
    sweep   every few seconds: certificates that have expired meanwhile

A connection is told to end (GOAWAY, `Connection: close`), and GRACE later it is closed, whatever its client does: one
that asks without a pause stays no longer. Nothing that a client sends has another one's connection judged or ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from authz.serve.listeners.tls.clients import Clients

GRACE: Final = 1.0  # seconds in which what is under way is answered, and the next call begins elsewhere
_AT_ONCE: Final = 32  # connections that are looked at, or told to end, in one turn of the event loop
_LOG = logging.getLogger("authz.tls")


class Shown(Protocol):
    """A connection whose handshake is over."""

    @property
    def inner(self) -> asyncio.Protocol | None:
        """The protocol that it carries; None: it has ended."""

    def der(self) -> bytes | None:
        """Return the client's certificate as it was sent; None: there was none."""

    def certificate(self) -> Mapping[str, Any] | None:
        """Return it as `SSLObject.getpeercert` does."""


class Ends(Protocol):
    """How the inner protocols of a listener end."""

    def retire(self, connection: Any) -> None:
        """Tell the client that this is the end; what is under way is answered."""

    def end(self, connection: Any) -> None:
        """Close it once what was answered is sent."""


class OpenConnections:
    """The connections of one listener.

    Args:
        name: Of the listener.
        ends: Ends them.
    """

    def __init__(self, name: str, ends: Ends) -> None:
        self._name = name
        self._ends = ends
        self._expires: dict[Shown, float] = {}  # when the certificates expire, in seconds since 1970

    def __len__(self) -> int:
        return len(self._expires)

    def add(self, connection: Shown, expires: float) -> None:
        """Take a connection whose handshake is over. expires: when its certificate does, in seconds since 1970."""
        self._expires[connection] = expires

    def discard(self, connection: Shown) -> None:
        """Forget a connection. A second call is harmless."""
        self._expires.pop(connection, None)

    async def judge(self, clients: Clients) -> None:
        """End those whose clients may connect no more; each certificate is judged once."""
        may_stay: dict[bytes | None, bool] = {}
        refused: list[Shown] = []
        for number, connection in enumerate(list(self._expires), 1):
            der = connection.der()
            unknown = der not in may_stay
            if unknown:
                may_stay[der] = clients.may_stay(connection.certificate(), der, time.time())
            if not may_stay[der]:
                refused.append(connection)
            if unknown or number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # others have their turn
        await self._retire(refused, "their clients may connect no more")

    async def sweep(self, now: float) -> None:
        """End those whose certificates have expired. now: seconds since 1970."""
        expired = [connection for connection, expires in self._expires.items() if expires < now]
        await self._retire(expired, "the certificates of their clients have expired")

    async def _retire(self, connections: Sequence[Shown], why: str) -> None:
        if connections:
            _LOG.info("%s: %d connections end: %s", self._name, len(connections), why)
        for begin in range(0, len(connections), _AT_ONCE):
            some = [each for each in connections[begin : begin + _AT_ONCE] if self._expires.pop(each, None) is not None]
            for connection in some:
                self._do(self._ends.retire, connection)
            asyncio.get_running_loop().call_later(GRACE, self._end, some)
            await asyncio.sleep(0)

    def _end(self, connections: Sequence[Shown]) -> None:
        for connection in connections:
            self._do(self._ends.end, connection)

    def _do(self, end: Any, connection: Shown) -> None:
        try:
            if connection.inner is not None:
                end(connection.inner)
        except Exception:  # noqa: BLE001  # a bug in authz: the other connections still end
            _LOG.exception("%s: a connection could not be ended", self._name)
