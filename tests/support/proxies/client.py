"""Clients of a proxy: one request, kept connections, and traffic without a pause."""

from __future__ import annotations

import http.client
import operator
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from support.processes import LOOPBACK, PATIENCE, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self


class Reply(NamedTuple):
    """An answer. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection to a proxy, kept alive. peer: who the proxy is told we are, by the PROXY protocol."""

    def __init__(self, port: int, *, address: str = LOOPBACK, peer: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        self._peer = peer
        self._connect()

    def _connect(self) -> None:
        self._connection.connect()
        if self._peer is not None:
            family, to = ("TCP6", "2001:db8::1") if ":" in self._peer else ("TCP4", "192.0.2.1")
            self._connection.sock.sendall(f"PROXY {family} {self._peer} {to} 4242 80\r\n".encode())

    def ask(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        host: str = "test.example.com",
        method: str = "GET",
        body: bytes | Sequence[bytes] | None = None,
    ) -> Reply:
        """Send one request and return the answer. body: in parts, it is sent chunked."""
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", host)
        for name, value in headers:
            self._connection.putheader(name, value)
        if chunked:
            self._connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body, encode_chunked=chunked)
        answer = self._connection.getresponse()
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if answer.will_close:  # nginx does so after a thousand requests
            self._connection.close()
            self._connect()
        return reply

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def ask(
    port: int,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    address: str = LOOPBACK,
    peer: str | None = None,
    **more: Any,
) -> Reply:
    """Ask once, on a connection of its own."""
    client = Client(port, address=address, peer=peer)
    try:
        return client.ask(path, headers, **more)
    finally:
        client.close()


def ask_tls(port: int, peer: str, path: str, headers: Sequence[tuple[str, str]], *, host: str) -> Reply:
    """Ask over TLS; the PROXY protocol names the peer. Any certificate is taken."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE)
    raw = socket.create_connection((LOOPBACK, port), PATIENCE)
    raw.sendall(f"PROXY TCP4 {peer} 192.0.2.1 4242 443\r\n".encode())
    with context.wrap_socket(raw, server_hostname=host) as connection.sock:
        connection.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", host), *headers]:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


class Traffic:
    """Requests without a pause over several kept connections, and their answers."""

    def __init__(self, connect: Callable[[], Client], path: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.replies: list[Reply] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self._path, self._headers = path, headers
        self._connect = connect
        self._answered = [0] * 3  # by connection
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(3)]

    def _run(self, number: int) -> None:
        client = self._connect()
        try:
            while not self._over.is_set():
                self.replies.append(client.ask(self._path, self._headers))
                self._answered[number] += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            client.close()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests are answered."""
        enough = len(self.replies) + count
        wait_for(lambda: self.failures or len(self.replies) >= enough, "more answers")

    def wait_for_each(self, count: int) -> None:
        """Wait until each connection has so many more answers: the first of them may have been on its way."""
        enough = [answered + count for answered in self._answered]
        wait_for(lambda: self.failures or all(map(operator.ge, self._answered, enough)), "answers of all connections")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)
