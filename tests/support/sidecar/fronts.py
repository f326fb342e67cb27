"""Both fronts in this process, over one decider, with a clock that the test sets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from prometheus_client.parser import text_string_to_metric_families
from support.publishing.publisher import POLICY

from authz.engine.decision.decider import Decider
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.serve.config.config import load_config
from authz.serve.grpc.check import GrpcCheck
from authz.serve.http1.front import HttpFront
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.listeners.budget import HeldBytes
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import make_recorder
from authz.snapshot.read import read_snapshot
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from support.publishing.publisher import Publisher

NOW: Final = 1_800_000_000  # 2027-01-15T08:00:00Z
BASE: Final = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
decision_log: {path: "off"}
"""
UNKNOWN: Final = "application: {unknown: default}\n"  # most tests name no application
TRUSTING: Final = 'client_address: {trusted_proxies: [127.0.0.0/8, "::1", 10.0.0.0/8]}\n'


class Fronts:
    """The fronts of one configuration and one policy.

    config: YAML, put behind `BASE`. policy: None for no snapshot. now: what the clock says; set it as you like.
    """

    def __init__(
        self,
        publisher: Publisher,
        config: str = TRUSTING,
        policy: str | None = POLICY,
        *,
        serial: int | None = None,
        created: int = NOW,
    ) -> None:
        self.now = float(NOW)
        self.path = publisher.folder / "authz.yaml"
        text = config if config.startswith("snapshot:") else BASE + config
        self.path.write_text(text if "application:" in text else text + UNKNOWN)
        self.config = load_config(self.path, {})
        self.metrics = Metrics()
        self.decider = Decider(self.config.decision_settings())
        self.publisher = publisher
        if policy is not None:
            self.load(policy, serial=serial, created=created)
        log = DecisionLog(self.config.decision_log)
        sinks = [log] if log.on else []
        self.check = GrpcCheck(
            self.config, self.decider, make_recorder("grpc", self.config.application, self.metrics, sinks), self.clock
        )
        recorder = make_recorder("http", self.config.application, self.metrics, sinks)
        self.http = HttpFront(self.config, self.decider, recorder, self.metrics, self.clock)

    def clock(self) -> float:
        """Return the time that the test has set."""
        return self.now

    def load(self, policy: str, *, serial: int | None = None, created: int = NOW) -> None:
        """Publish a policy and decide by it."""
        path = self.publisher.publish(policy, serial=serial, created=created)
        keys = [load_public_key(Path(key)) for key in self.config.policy.trusted_keys]
        self.decider.load(Ruleset([OpenedSnapshot(read_snapshot(path, keys, now=self.now))]))

    def counts(self, sample: str = "authz_decisions_total") -> dict[tuple[str, ...], float]:
        """Return what the metrics count, by the values of the labels."""
        return {
            tuple(measured.labels.values()): measured.value
            for family in text_string_to_metric_families(self.metrics.text().decode())
            for measured in family.samples
            if measured.name == sample
        }


class HttpServer:
    """The real `HttpConnections` and `HttpFront` on a real socket, in an event loop of a thread of its own."""

    def __init__(
        self,
        fronts: Fronts,
        limits: HttpLimits | None = None,
        unix: Path | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self.fronts = fronts
        self.unix = unix
        self.port = 0
        self.connections: HttpConnections
        self.held = HeldBytes()
        self._limits = limits or HttpLimits()
        self._loop_factory = loop_factory
        self._loop: asyncio.AbstractEventLoop
        self._end: asyncio.Event
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http-server", daemon=True)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        front = self.fronts.http
        self.connections = HttpConnections(
            front.handle, front.wanted, self._limits, self.fronts.metrics, refuse=front.refuse, held=self.held
        )
        if self.unix is None:
            server: Any = await self._loop.create_server(self.connections, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
        else:
            server = await self._loop.create_unix_server(self.connections, str(self.unix))
        self.connections.start()
        self._up.set()
        await self._end.wait()
        server.close()
        self.connections.stop()
        await asyncio.sleep(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        """Return a new connection with a generous time limit."""
        if self.unix is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=20)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(20)
        client.connect(str(self.unix))
        return client

    @contextlib.contextmanager
    def client(self) -> Iterator[HttpClient]:
        """Give a client on a connection of its own."""
        with self.connect() as connection:
            yield HttpClient(connection)

    def in_loop(self, what: Callable[[], Any]) -> Any:
        """Return the result of `what`, called in the event loop of the server."""

        async def call() -> Any:
            return what()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(20)


class HttpAnswer:
    """An answer, read by the strictest reading there is: it fails where the server writes anything odd."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *rest = head.decode("ascii").split("\r\n")
        version, status, self.phrase = line.split(" ", 2)
        assert version == "HTTP/1.1"
        self.status = int(status)
        self.body = body
        pairs = [(name.lower(), value) for name, _, value in (each.partition(": ") for each in rest)]
        self.headers = dict(pairs)
        assert len(self.headers) == len(pairs), f"a header twice: {pairs}"

    def header(self, name: str) -> str | None:
        """Return X-Authz-<name>."""
        return self.headers.get(f"x-authz-{name}")


class HttpClient:
    """A client that writes bytes as they are and reads answers."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Write all of it."""
        self.socket.sendall(data)

    def _fill(self) -> bool:
        try:
            more = self.socket.recv(1 << 18)
        except ConnectionResetError:
            return False
        self._buffer += more
        return bool(more)

    def read(self, method: str = "GET") -> HttpAnswer:
        """Read one answer."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._fill(), f"closed in the middle of an answer: {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        answer = HttpAnswer(head, b"")
        bodiless = method == "HEAD" or answer.status == 204
        length = 0 if bodiless else int(answer.headers["content-length"])
        while len(self._buffer) < length:
            assert self._fill(), "closed in the middle of a body"
        answer.body, self._buffer = self._buffer[:length], self._buffer[length:]
        return answer

    def ask(self, target: str = "/v1/auth", *headers: str, method: str = "GET") -> HttpAnswer:
        """Send one request and read its answer."""
        lines = "".join(f"{header}\r\n" for header in headers)
        self.send(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n".encode("latin-1"))
        return self.read(method)

    def rest(self) -> bytes:
        """Return all that comes until the server closes."""
        while self._fill():
            pass
        rest, self._buffer = self._buffer, b""
        return rest
