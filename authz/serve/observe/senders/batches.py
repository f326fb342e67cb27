"""Sending in packed batches by HTTP, for what must never hold up a decision: events and traces.

Who decides only appends to a bounded queue. A thread packs and sends; while the other side is away it waits longer
from try to try, and what finds no room meanwhile is dropped and counted. Decisions never wait for it.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import random
import ssl
import threading
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

from authz.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BATCH: Final = 5000  # of a request
GATHERING: Final = 0.1  # seconds from one look at the queue to the next
TIMEOUT: Final = 10.0  # seconds to connect, and for each answer
FIRST_PAUSE: Final = 0.5  # seconds before the second try; doubled up to MAX_PAUSE, with a random part
MAX_PAUSE: Final = 30.0
_PATIENCE: Final = 0.4  # seconds that the end waits for a last batch; with all else less than one
_TOO_LARGE: Final = 413
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOG = logging.getLogger("authz.events")


class SenderConfig(Protocol):
    """What of a section of authz.yaml says where batches go; `events` and `traces` have it."""

    @property
    def url(self) -> str | None:
        """Where; None: nothing is sent."""

    @property
    def token_file(self) -> str | None:
        """A file with a bearer token."""

    @property
    def ca(self) -> str | None:
        """The authorities of an https server."""

    @property
    def certificate(self) -> str | None:
        """The certificate that we show an https server."""

    @property
    def key(self) -> str | None:
        """Its key."""

    @property
    def queue(self) -> int:
        """How many may wait."""


class BatchSender(ABC):
    """Sends what is put. `open`, `start`, then `put` from any thread, then `stop`.

    Attributes:
        WHAT: The section of authz.yaml, for messages.
        TYPE: The media type of a batch.
    """

    WHAT: ClassVar[str]
    TYPE: ClassVar[str]

    def __init__(self, config: SenderConfig) -> None:
        self._config = config
        self.on = config.url is not None
        self._waiting: deque[Any] = deque()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""
        self._failing = False
        self._most = MAX_BATCH  # of the next request: less, where one was too large for the other side
        self.sent = 0
        self.dropped = 0  # for want of room, or because the other side would not have it

    def open(self) -> None:
        """Read the token; may block. Raises StartError."""
        if self._config.token_file is None:
            return
        try:
            self._token = Path(self._config.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "found other than ASCII, expected a token"
            raise StartError(f"{self.WHAT}.token_file: {self._config.token_file}: {what}") from error

    def start(self) -> None:
        """Begin to send."""
        if self.on:
            self._thread = threading.Thread(target=self._run, name=self.WHAT, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Send what waits, if that is quick, and end. A second call is harmless."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            self._thread = None

    @property
    def waiting(self) -> int:
        """How many wait to be sent."""
        return len(self._waiting)

    def put(self, item: object) -> None:
        """Queue what `body` will make bytes of, or drop and count it if there is no room."""
        if len(self._waiting) >= self._config.queue:
            self.dropped += 1
            return
        self._waiting.append(item)

    @abstractmethod
    def body(self, batch: Sequence[Any]) -> bytes:
        """Return a batch as it is sent, before it is packed."""

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._ending.wait(GATHERING):
            while self._waiting and not self._ending.is_set():
                if self._send_some():
                    pause = FIRST_PAUSE
                elif self._ending.wait(pause * random.uniform(0.5, 1.0)):  # noqa: S311  # spreads many senders
                    break
                else:
                    pause = min(pause * 2, MAX_PAUSE)
        if self._waiting:
            self._send_some()
        self._close()

    def _send_some(self) -> bool:
        """Send one batch; return whether to go on. What is not taken waits at its place in the queue."""
        batch = [self._waiting[number] for number in range(min(len(self._waiting), self._most))]
        body = gzip.compress(self.body(batch), 1)
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            self._tell(f"{type(error).__name__}: {error}")
            return False
        if status in _RETRIED:
            self._tell(f"status {status}")
            return False
        if status == _TOO_LARGE and len(batch) > 1:  # one that clients filled with long paths: the others are not lost
            self._most = len(batch) // 2
            return True
        self._most = min(2 * self._most, MAX_BATCH)
        for _ in batch:
            self._waiting.popleft()
        if 200 <= status < 300:
            self.sent += len(batch)
            if self._failing:
                _LOG.info("%s can be sent again; %d were dropped so far", self.WHAT, self.dropped)
            self._failing = False
        else:
            self.dropped += len(batch)
            self._tell(f"status {status}, so {len(batch)} {self.WHAT} were dropped")
        return True

    def _tell(self, problem: str) -> None:
        if not self._failing:
            _LOG.warning("%s cannot be sent to %s: %s", self.WHAT, self._config.url, problem)
        self._failing = True

    def _post(self, body: bytes) -> int:
        if self._connection is None:
            self._connection = self._connect()
        target = urlsplit(self._config.url or "")
        headers = {"Content-Type": self.TYPE, "Content-Encoding": "gzip", "User-Agent": "authz"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        self._connection.request("POST", target.path or "/", body, headers)
        answer = self._connection.getresponse()
        answer.read(1 << 16)
        if answer.will_close or answer.length:
            self._close()
        return answer.status

    def _connect(self) -> http.client.HTTPConnection:
        target = urlsplit(self._config.url or "")
        host = target.hostname or ""
        if target.scheme == "https":
            context = ssl.create_default_context(cafile=self._config.ca)
            if self._config.certificate is not None:
                context.load_cert_chain(self._config.certificate, self._config.key)
            return http.client.HTTPSConnection(host, target.port, timeout=TIMEOUT, context=context)
        return http.client.HTTPConnection(host, target.port, timeout=TIMEOUT)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
