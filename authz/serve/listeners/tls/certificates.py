"""The certificates of one listener: read at the start, and again when a file changes, beside the event loop.

A connection is served by what was current when it began. Files that cannot be used change nothing, are logged once and
counted; those who replace a certificate and its key one after the other are given time.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from authz.errors import NoThread, StartError
from authz.serve.background import in_thread
from authz.serve.listeners.budget import Turns
from authz.serve.listeners.places import network_of
from authz.serve.listeners.tls.context import expiry, make_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from authz.serve.listeners.budget import HeldBytes
    from authz.serve.listeners.tls.config import Tls
    from authz.serve.observe.metrics import Metrics

LOOK: Final = 5.0  # seconds between two looks at the files
MAX_HANDSHAKES: Final = 512  # at the same time; with one more the oldest of the address that has most is ended
HANDSHAKES_A_TURN: Final = 2  # steps of handshakes in one turn of the event loop; each takes up to a millisecond
_LOG = logging.getLogger("authz.tls")


class Handshaking(Protocol):
    """A connection whose handshake is under way."""

    @property
    def peer(self) -> str:
        """The address of who connected; "" for a unix socket."""

    def abort(self) -> None:
        """End it at once."""


class Certificates:
    """Gives connections TLS. `load` before all else; `watch` is a task for as long as there is a listener.

    Args:
        name: Of the listener: `grpc`, `http`, `admin`.
        tls: The files.
        protocols: What is offered by ALPN.
        metrics: Counts handshakes and reloads.
        held: The budget of bytes for all peers.

    Attributes:
        context: For connections that begin now.
        handshakes: Connections whose handshake is under way, the oldest first.
        turns: Where they wait to go on with it.
        expires: When the certificate expires, in seconds since 1970.
    """

    context: ssl.SSLContext

    def __init__(self, name: str, tls: Tls, protocols: Sequence[str], metrics: Metrics, held: HeldBytes) -> None:
        self.name = name
        self.tls = tls
        self.held = held
        self.handshakes: dict[Handshaking, None] = {}
        self._of: dict[str, dict[Handshaking, None]] = {}  # the same by the network of the peer
        self.turns = Turns(HANDSHAKES_A_TURN)
        self.expires = 0.0
        self._protocols = protocols
        self._metrics = metrics
        metrics.begin("authz_tls_reloads_total", listener=name, result="refused")
        self._seen: tuple[object, ...] = ()

    def load(self) -> None:
        """Read the files. Blocks.

        Raises:
            StartError: They cannot be used; what was current stays.
        """
        seen = self._look()
        context = make_context(self.tls, self._protocols, f"{self.name}.tls")
        try:
            self.expires = expiry(self.tls)
        except (OSError, ValueError) as error:
            raise StartError(f"{self.name}.tls: {self.tls.certificate}: {error}") from error
        self.context, self._seen = context, seen

    def _look(self) -> tuple[object, ...]:
        return tuple(_look_at(path) for path in (self.tls.certificate, self.tls.key, self.tls.client_ca) if path)

    async def watch(self) -> None:
        """Read the files again whenever they have changed."""
        refused: tuple[object, ...] = ()
        while True:
            await asyncio.sleep(LOOK)
            try:
                seen = await in_thread(self._look)
            except NoThread:
                continue  # the next look may have one
            if seen not in {self._seen, refused} and not await self.reload():
                refused = seen

    async def reload(self) -> bool:
        """Read the files again, changed or not. Returns whether they can be used."""
        try:
            await in_thread(self.load)
        except (StartError, NoThread) as error:
            self._metrics.count("authz_tls_reloads_total", listener=self.name, result="refused")
            _LOG.error("the certificates stay as they were: %s", error.message)  # not a bug: no traceback
            return False
        self._metrics.count("authz_tls_reloads_total", listener=self.name, result="ok")
        _LOG.info("%s: the certificates were read again", self.name)
        return True

    def begin(self, connection: Handshaking) -> None:
        """Take a connection whose handshake begins; if there are too many, the oldest of who has most has to go."""
        if len(self.handshakes) >= MAX_HANDSHAKES:
            most = max(self._of.values(), key=len)
            oldest = next(iter(most))
            self.end(oldest, "crowded")
            oldest.abort()
        self.handshakes[connection] = None
        self._of.setdefault(network_of(connection.peer), {})[connection] = None

    def end(self, connection: Handshaking, result: str) -> None:
        """Count how a handshake ended. A second call for the same connection is harmless."""
        if connection in self.handshakes:
            del self.handshakes[connection]
            network = network_of(connection.peer)
            del self._of[network][connection]
            if not self._of[network]:
                del self._of[network]
            self._metrics.count("authz_tls_handshakes_total", listener=self.name, result=result)


def _look_at(path: str) -> object:
    """Return what tells a file from the one that was there before; it may be a link that leads elsewhere now."""
    try:
        status = Path(path).stat()
    except OSError as error:
        return error.errno
    return status.st_ino, status.st_mtime_ns, status.st_size
