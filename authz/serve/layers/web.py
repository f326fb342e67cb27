"""A file of a web server: `https://HOST/PATH`, asked with If-None-Match; a server that can holds its answer back.

    GET /v1/layers/bans          304 Not Modified, after `wait` seconds without anything new
    If-None-Match: "5a3c..."     200, as soon as there is another file
    Prefer: wait=30

The carrier is not trusted: what comes is verified like any file, and neither its head nor its body may go on for ever
(decision 0104). Redirects lead only to the same host; proxies are those of the environment (`https_proxy`, `no_proxy`).
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import math
import os
import socket
import ssl
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from authz import __version__
from authz.errors import Refusal, SnapshotRefused, shorten
from authz.serve.layers.fetched import MAX_TIME, Answer, FetchedSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from urllib.parse import SplitResult

    from authz.serve.layers.config import LayerConfig

_STEP: Final = 1 << 16  # bytes that are read at a time
# bytes from a server before the body: http.client passes over any number of `100 Continue`
_MAX_HEAD: Final = 256 << 10
_MAX_REDIRECTS: Final = 5
_MAX_TOKEN: Final = 4096  # bytes
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class _Incoming(io.RawIOBase):
    """What a server sends: its head in a time and a size, then its body in a time.

    Args:
        connection: Whose socket is read.
        timeout: Seconds for each piece.
        limit: Seconds for the whole head.
    """

    def __init__(self, connection: socket.socket, timeout: float, limit: float) -> None:
        self._socket = connection
        self._raw = connection.makefile("rb", buffering=0)  # a second reference: http.client closes its own
        self._timeout = timeout
        self._end = time.monotonic() + limit
        self._left: float = _MAX_HEAD

    def headed(self, timeout: float) -> None:
        """Go on with the body; its size is counted by who reads it. timeout: seconds for each piece."""
        self._timeout, self._end, self._left = timeout, time.monotonic() + MAX_TIME, math.inf

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return it as http.client reads it."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]  # as BufferedReader calls it
        """Read a piece. Raises TimeoutError, and HTTPException for a head that is too long."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if self._left <= 0:
            raise http.client.HTTPException(f"a head of more than {_MAX_HEAD} bytes")
        self._socket.settimeout(min(self._timeout, left))
        size = self._raw.readinto(buffer)
        self._left -= size or 0
        return size

    def close(self) -> None:
        """Give back the socket. A second call is harmless."""
        self._raw.close()
        super().close()


class WebSource(FetchedSource):
    """The file at a URL of a web server."""

    def __init__(self, config: LayerConfig) -> None:
        assert config.url is not None  # noqa: S101  # as the configuration was checked
        super().__init__(config.url.partition("?")[0], config.max_size, config.poll)
        self._config = config
        self._wait = config.wait
        self._url = config.url
        self._trust: tuple[list[tuple[int, int, int] | None], ssl.SSLContext] | None = None  # of which files

    @contextlib.contextmanager
    def ask(self, tag: str, suffix: str = "") -> Iterator[Answer | bool]:
        """Ask for the file."""
        url = self._where(suffix)
        for _ in range(_MAX_REDIRECTS + 1):
            with self._answered(url, tag) as answer:
                if answer.status in _REDIRECTS and (location := answer.getheader("Location")):
                    url = self._redirected(url, location)
                    continue
                held = "wait" in (answer.getheader("Preference-Applied") or "")
                if answer.status == http.client.NOT_MODIFIED and tag:
                    yield held
                    return
                if answer.status != http.client.OK:
                    raise self._refusal(answer)
                yield Answer(answer.getheader("ETag") or "", self._pieces(answer), held)
                return
        raise self._bad(f"more than {_MAX_REDIRECTS} redirects")

    @contextlib.contextmanager
    def _answered(self, url: str, tag: str) -> Iterator[http.client.HTTPResponse]:
        """Ask for a URL, and give the answer, of which the head was read."""
        with contextlib.closing(self._connect(urlsplit(url), long=True)) as connection:
            incoming = self._limit(connection)
            connection.request("GET", self._target(urlsplit(url)), headers=self._headers(tag))
            try:
                answer = connection.getresponse()
            except http.client.HTTPException as error:
                raise self._bad(f"not HTTP: {type(error).__name__}") from error
            incoming[-1].headed(self._config.timeout)
            with contextlib.closing(answer):  # the connection does not close one that ends it
                yield answer

    def _where(self, suffix: str) -> str:
        """Return the URL that is asked. suffix: behind the name of the file, for a part. Raises SnapshotRefused."""
        here = urlsplit(self._url)
        return here._replace(path=here.path + suffix).geturl()

    def _refusal(self, answer: http.client.HTTPResponse) -> SnapshotRefused:
        """Return why an answer that has neither a file nor says that there is none is refused."""
        return self._bad(f"found the status {answer.status}, expected 200")

    def _pieces(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        if answer.length is not None and answer.length > self._max_size:
            raise self._too_large(f"{answer.length} bytes")
        missing = answer.length
        while piece := self._piece(answer):
            missing = None if missing is None else missing - len(piece)
            yield piece
        if missing:
            raise self._bad(f"the answer ended {missing} bytes early")

    def _piece(self, answer: http.client.HTTPResponse) -> bytes:
        try:
            return answer.read1(_STEP)  # what has come: a byte at a time is noticed
        except http.client.HTTPException as error:
            raise self._bad(f"not HTTP: {type(error).__name__}") from error

    def _limit(self, connection: http.client.HTTPConnection) -> list[_Incoming]:
        """Have the answers of a connection read within limits; the list has what they are read from."""
        incoming: list[_Incoming] = []
        timeout, config = connection.timeout, self._config

        def response(of: socket.socket, **rest: Any) -> http.client.HTTPResponse:
            incoming.append(_Incoming(of, timeout or config.timeout, self._wait + 2 * config.timeout))
            return http.client.HTTPResponse(incoming[-1], **rest)  # type: ignore[arg-type]  # only makefile is called

        connection.response_class = response  # type: ignore[assignment]  # it is only called
        return incoming

    def _bad(self, what: str) -> SnapshotRefused:
        return SnapshotRefused(Refusal.BAD_ANSWER, f"{self.name}: {what}")

    def _redirected(self, url: str, location: str) -> str:
        target = urlsplit(urljoin(url, location))
        here = urlsplit(url)
        if (target.scheme, target.hostname, target.port) != (here.scheme, here.hostname, here.port):
            place = location.partition("?")[0]  # what follows may be our own: a signature, a password
            raise self._bad(f"redirected to '{shorten(place)}', expected the same host")
        return target.geturl()

    def _headers(self, tag: str) -> dict[str, str]:
        headers = {
            "Accept-Encoding": "identity",
            "User-Agent": f"authz/{__version__}",
            "Authz-Sidecar": f"{socket.gethostname()}:{os.getpid()}",
        }
        # Also without a tag: the answer says whether the server can hold one back, and one that has nothing yet does.
        headers["Prefer"] = f"wait={self._wait:.0f}"
        if tag:
            headers["If-None-Match"] = tag
        if self.refused:
            headers["Authz-Refused"] = self.refused
        if self._config.token:
            headers["Authorization"] = f"Bearer {_token(Path(self._config.token))}"
        return headers

    def _target(self, url: SplitResult) -> str:
        """Return what stands in the request line; for a proxy of http the whole URL."""
        path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        return url.geturl() if url.scheme == "http" and _proxy(url) else path

    def _connect(self, url: SplitResult, *, long: bool) -> http.client.HTTPConnection:
        timeout = self._config.timeout + (self._wait if long else 0)
        proxy = _proxy(url)
        host, port = url.hostname or "", url.port
        if proxy is not None:
            host, port = proxy.hostname or "", proxy.port or (80 if proxy.scheme == "http" else 443)
        if url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context())
        if proxy is not None:
            connection.set_tunnel(url.hostname or "", url.port, _proxy_rights(proxy))
        return connection

    def _context(self) -> ssl.SSLContext:
        """Return what is trusted. It is made again where one of its files is another one: reading all takes 20 ms."""
        config = self._config
        files = [config.ca or ssl.get_default_verify_paths().cafile, config.certificate, config.key]
        now = [_signature(file) for file in files]
        if self._trust is None or self._trust[0] != now:
            context = ssl.create_default_context(cafile=config.ca)
            if config.certificate is not None:
                context.load_cert_chain(config.certificate, config.key)
            self._trust = now, context
        return self._trust[1]


def _signature(path: str | None) -> tuple[int, int, int] | None:
    """Return what tells one state of a file from another; None: there is none."""
    try:
        status = os.stat(path) if path else None  # noqa: PTH116  # no reason to make a Path of each
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


def _proxy(url: SplitResult) -> SplitResult | None:
    """Return the proxy that the environment names for a URL."""
    if urllib.request.proxy_bypass(url.netloc):
        return None
    proxy = urllib.request.getproxies().get(url.scheme)
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def _proxy_rights(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _token(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(_MAX_TOKEN).strip()
    if not text.isascii() or not text.decode("latin-1").isprintable():
        raise SnapshotRefused(Refusal.UNREACHABLE, str(path), expected="a token of printable ASCII")
    return text.decode("ascii")
