"""Events: what was decided, sent to a control plane in packed batches of JSON lines.

Who decides only appends to a bounded queue. A thread packs and sends; while the control plane is away it waits longer
from try to try, and what finds no room meanwhile is dropped and counted. Decisions never wait for it.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import random
import ssl
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import orjson

from authz.errors import StartError
from authz.serve.observe.log_lines import printable

if TYPE_CHECKING:
    from authz.engine.decision.outcome import Outcome
    from authz.serve.config import EventsConfig
    from authz.serve.observe.recorder import Decision

MAX_BATCH: Final = 5000  # events of a request
GATHERING: Final = 0.1  # seconds from one look at the queue to the next
TIMEOUT: Final = 10.0  # seconds to connect, and for each answer
FIRST_PAUSE: Final = 0.5  # seconds before the second try; doubled up to MAX_PAUSE, with a random part
MAX_PAUSE: Final = 30.0
_PATIENCE: Final = 1.0  # seconds that the end waits for a last batch
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOG = logging.getLogger("authz.events")


class EventSender:
    """Sends events. `open`, `start`, then `write` from any thread, then `stop`."""

    def __init__(self, config: EventsConfig) -> None:
        self._config = config
        self.on = config.url is not None
        self._waiting: deque[Decision] = deque()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._token = ""
        self._failing = False
        self.sent = 0
        self.dropped = 0  # for want of room, or because the control plane would not have them

    def open(self) -> None:
        """Read the token; may block. Raises StartError."""
        if self._config.token_file is None:
            return
        try:
            self._token = Path(self._config.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise StartError(f"events.token_file: {self._config.token_file}: {error}") from error

    def start(self) -> None:
        """Begin to send."""
        if self.on:
            self._thread = threading.Thread(target=self._run, name="events", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Send what waits, if that is quick, and end. A second call is harmless."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)
            self._thread = None

    @property
    def waiting(self) -> int:
        """How many events wait to be sent."""
        return len(self._waiting)

    def share(self, outcome: Outcome) -> float:
        """Return the share of decisions of this kind that is sent."""
        if not self.on:
            return 0.0
        if outcome.decision == "deny":
            return self._config.denied
        return max(self._config.allowed, self._config.warned if outcome.warned else 0.0)

    def write(self, decision: Decision) -> None:
        """Queue one event. A decision without a client says nothing of anybody, and is not sent."""
        if decision.client is None:
            return
        if len(self._waiting) >= self._config.queue:
            self.dropped += 1
            return
        self._waiting.append(decision)

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
        """Send one batch; return whether that is done with. Otherwise it waits at its place in the queue."""
        batch = [self._waiting[number] for number in range(min(len(self._waiting), MAX_BATCH))]
        body = gzip.compress(b"".join(orjson.dumps(event_of(event)) + b"\n" for event in batch), 1)
        try:
            status = self._post(body)
        except (OSError, http.client.HTTPException) as error:
            self._close()
            self._tell(f"{type(error).__name__}: {error}")
            return False
        if status in _RETRIED:
            self._tell(f"status {status}")
            return False
        for _ in batch:
            self._waiting.popleft()
        if 200 <= status < 300:
            self.sent += len(batch)
            if self._failing:
                _LOG.info("events can be sent again; %d were dropped so far", self.dropped)
            self._failing = False
        else:
            self.dropped += len(batch)
            self._tell(f"status {status}, so {len(batch)} events were dropped")
        return True

    def _tell(self, problem: str) -> None:
        if not self._failing:
            _LOG.warning("events cannot be sent to %s: %s", self._config.url, problem)
        self._failing = True

    def _post(self, body: bytes) -> int:
        if self._connection is None:
            self._connection = self._connect()
        target = urlsplit(self._config.url or "")
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip", "User-Agent": "authz"}
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
            return http.client.HTTPSConnection(host, target.port, timeout=TIMEOUT, context=context)
        return http.client.HTTPConnection(host, target.port, timeout=TIMEOUT)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def event_of(decision: Decision) -> dict[str, Any]:
    """Return a decision as `POST /v1/events` takes it."""
    outcome, details, client = decision.outcome, decision.details, decision.client
    event: dict[str, Any] = {
        "time": decision.now,
        "client": client.text if client else None,
        "application": outcome.application,
        "decision": outcome.decision,
        "reason": outcome.reason,
        "entry": outcome.entry,
        "warnings": outcome.warnings,
        "request_id": printable(details.request_id),
        "host": printable(details.host),
        "method": printable(details.method),
        "path": printable(details.path),
    }
    return {name: value for name, value in event.items() if value}
