"""TLS of the control plane's listener: that of a sidecar's fronts, between the socket and uvicorn's protocol.

So certificates are read again when they change, clients are known by the names in theirs, sessions are resumed, and who
may connect no more is disconnected.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from authz.serve.listeners.budget import HeldBytes
from authz.serve.listeners.tls.certificates import Certificates
from authz.serve.listeners.tls.connection import TlsConnection
from authz.serve.observe.metrics import Metrics

if TYPE_CHECKING:
    from authz.serve.listeners.tls.config import Tls


class TlsListener:
    """The TLS of the listener. `load` before all else, `start` in the event loop, `stop` at the end."""

    def __init__(self, tls: Tls) -> None:
        self._certificates = Certificates("control", tls, ("http/1.1",), Metrics(), HeldBytes(), self)
        self._watching: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Read the files. Blocks. Raises StartError."""
        self._certificates.load()

    def start(self) -> None:
        """Read the files again whenever they change."""
        self._watching = asyncio.get_running_loop().create_task(self._certificates.watch())

    async def stop(self) -> None:
        """Look at files no more. A second call is harmless."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
            self._watching = None

    def retire(self, connection: HttpToolsProtocol) -> None:
        """Have one connection end after the answer that is under way, or at once if there is none."""
        connection.shutdown()

    def end(self, connection: HttpToolsProtocol) -> None:
        """Close one connection: a long poll is cut."""
        connection.transport.close()

    def protocol(self, **uvicorns: Any) -> asyncio.BaseProtocol:
        """Return what uvicorn takes for its own protocol of a new connection."""
        return TlsConnection(self._certificates, functools.partial(HttpToolsProtocol, **uvicorns))
