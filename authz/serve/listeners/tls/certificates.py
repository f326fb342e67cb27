"""The certificates of one listener: read at the start, and again when a file changes, beside the event loop.

A connection is served by what was current when it began; where other clients may connect since, it is judged again.
Files that cannot be used change nothing, are logged once and counted; those who replace a certificate and its key one
after the other are given time. A certificate that is not valid now replaces no other one. It is used at a start, since
not every client checks it, and it stays where there is no better one; the log says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from authz.errors import NoThread, StartError
from authz.serve.background import in_thread
from authz.serve.listeners.budget import Turns
from authz.serve.listeners.places import network_of
from authz.serve.listeners.tls.clients import Clients, read_clients
from authz.serve.listeners.tls.context import make_context
from authz.serve.listeners.tls.open import OpenConnections
from authz.serve.listeners.tls.pairs import OwnCertificate, key_problem, read_certificate
from authz.serve.listeners.tls.refused import RefusedClients
from authz.times import format_moment

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from authz.serve.listeners.budget import HeldBytes
    from authz.serve.listeners.tls.config import Tls
    from authz.serve.listeners.tls.open import Ends
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


class _Files(NamedTuple):
    """What was read.

    Attributes:
        key_problem: Of the key's file; "" for none.
        seen: Of the files, before.
    """

    context: ssl.SSLContext
    own: OwnCertificate
    key_problem: str
    clients: Clients
    seen: tuple[object, ...]


class Certificates:
    """Gives connections TLS. `load` before all else; `watch` is a task for as long as there is a listener.

    Args:
        name: Of the listener: `grpc`, `http`, `admin`.
        tls: The files.
        protocols: What is offered by ALPN.
        metrics: Counts handshakes and reloads.
        held: The budget of bytes for all peers.
        ends: Ends the inner protocols of connections.

    Attributes:
        context: For connections that begin now.
        clients: Who may connect.
        open: Connections whose handshake is over.
        handshakes: Connections whose handshake is under way, the oldest first.
        turns: Where they wait to go on with it.
        refused: Tells of clients that have none of the names.
        expires: When the certificate expires, in seconds since 1970.
    """

    context: ssl.SSLContext
    _own: OwnCertificate

    def __init__(
        self, name: str, tls: Tls, protocols: Sequence[str], metrics: Metrics, held: HeldBytes, ends: Ends
    ) -> None:
        self.name = name
        self.tls = tls
        self.held = held
        self.handshakes: dict[Handshaking, None] = {}
        self._of: dict[str, dict[Handshaking, None]] = {}  # the same by the network of the peer
        self.turns = Turns(HANDSHAKES_A_TURN)
        self.expires = 0.0
        self.clients = Clients()
        self.open = OpenConnections(name, ends)
        self.refused = RefusedClients(name)
        self._protocols = protocols
        self._metrics = metrics
        metrics.begin("authz_tls_reloads_total", listener=name, result="refused")
        self._seen: tuple[object, ...] = ()
        self._refused: tuple[object, ...] = ()
        self._waiting: OwnCertificate | None = None  # that was refused for its time alone
        self._reloading = asyncio.Lock()
        self._told = 0.0  # of which expired lists the log has been told
        self._told_of_time = ""  # what is wrong with the time of the certificate in use, once the log has been told

    def load(self) -> None:
        """Read the files. Blocks.

        Raises:
            StartError: They cannot be used.
        """
        self._use(self._read())

    def _read_valid(self) -> _Files:
        """Return the files, unless they have another certificate that is not valid now. Blocks. Raises StartError."""
        self._waiting = None
        files = self._read()
        problem = files.own.problem(time.time())
        if problem and files.own != self._own:  # the same one keeps no new rules for clients from being used
            self._waiting = files.own
            raise StartError(f"{self.name}.tls: {self.tls.certificate}: {problem}")
        return files

    def _read(self) -> _Files:
        where, tls = f"{self.name}.tls", self.tls
        seen = self._look()
        clients = read_clients(tls, where, time.time())  # first: what the context lets in is no older
        context = make_context(tls, self._protocols, where)
        try:
            return _Files(context, read_certificate(tls.certificate), key_problem(tls.key), clients, seen)
        except (OSError, ValueError) as error:
            raise StartError(f"{where}: {tls.certificate}: {error}") from error

    def _use(self, files: _Files) -> bool:
        """Use what was read. Returns whether other clients may connect now."""
        self.context, self._seen, self._own, self.expires = files.context, files.seen, files.own, files.own.expires
        if files.key_problem:
            _LOG.warning("%s.tls: %s: %s", self.name, self.tls.key, files.key_problem)
        self._told_of_time = ""
        self._tell_of_time()
        if files.clients.source == self.clients.source:
            return False
        self.clients = files.clients
        return True

    def _look(self) -> tuple[object, ...]:
        return tuple(map(_look_at, self.tls.files().values()))

    async def watch(self) -> None:
        """Read the files again whenever they have changed, and end connections whose certificates have expired."""
        await asyncio.gather(self._watch_time(), self._watch_files())

    async def _watch_time(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            await self.open.sweep(time.time())
            self._tell_of_time()
            if self.lists_expired and self._told != self.clients.lists_expire:
                self._told = self.clients.lists_expire or 0.0
                _LOG.error("%s: a revocation list expired at %s: its clients cannot connect until there is a new one",
                           self.name, format_moment(int(self._told)))  # fmt: skip

    def _tell_of_time(self) -> None:
        """Say in the log, once, that the certificate in use is not valid now."""
        problem = self._own.problem(time.time())
        if problem and problem != self._told_of_time:
            _LOG.error("%s.tls: %s: %s: clients that check it cannot connect", self.name, self.tls.certificate, problem)
        self._told_of_time = problem

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                seen = await in_thread(self._look)
            except NoThread:
                continue  # the next look may have one
            waiting = self._waiting
            if seen not in {self._seen, self._refused} or (waiting is not None and not waiting.problem(time.time())):
                await self.reload()

    @property
    def lists_expired(self) -> bool:
        """Whether OpenSSL refuses clients since a revocation list in use has expired."""
        return self.clients.lists_expire is not None and self.clients.lists_expire < time.time()

    async def reload(self, tls: Tls | None = None) -> bool:
        """Read the files again, changed or not, and judge open connections where other clients may connect now.

        Args:
            tls: Names them from now on; None: as before.

        Returns:
            Whether they can be used. If not, all stays as it was, and they are read again when they have changed.
        """
        async with self._reloading:
            self.tls = tls or self.tls
            try:
                seen = await in_thread(self._look)
                files = await in_thread(self._read_valid)
            except (StartError, NoThread) as error:
                self._refused = seen if isinstance(error, StartError) else ()
                self._metrics.count("authz_tls_reloads_total", listener=self.name, result="refused")
                _LOG.error("the certificates stay as they were: %s", error.message)  # not a bug: no traceback
                return False
            others = self._use(files)
            self._metrics.count("authz_tls_reloads_total", listener=self.name, result="ok")
            _LOG.info("%s: the certificates were read again", self.name)
            if others:
                await self.open.judge(self.clients)
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
