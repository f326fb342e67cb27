"""The API of a control plane, over one kept connection a thread."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any, Final

PATIENCE: Final = 120.0  # seconds for an answer


class Api:
    """The API, over one kept connection a thread."""

    def __init__(self, url: str, token: str) -> None:
        self._host, self._headers = url.removeprefix("http://"), {"Authorization": f"Bearer {token}"}
        self._local = threading.local()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return what it answers. Raises RuntimeError where that is no success."""
        if not hasattr(self._local, "connection"):
            self._local.connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        content = None if body is None else json.dumps(body)
        headers = self._headers | ({} if content is None else {"Content-Type": "application/json"})
        self._local.connection.request(method, path, content, headers)
        answer = self._local.connection.getresponse()
        data = answer.read()
        if answer.status >= http.client.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {answer.status}: {data[:300]!r}")
        return json.loads(data) if data else None

    def offered(self, layer: str, known: str = "") -> tuple[str, float]:
        """Return the ETag of a layer's file, and when it was served (of `time.perf_counter`).

        known: an ETag; it waits for another one.
        """
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        try:
            headers = {"If-None-Match": known, "Prefer": "wait=60"} if known else {}
            connection.request("GET", f"/v1/layers/{layer}", headers=self._headers | headers)
            answer = connection.getresponse()
            at = time.perf_counter()
            answer.read()
            return str(answer.getheader("ETag")), at
        finally:
            connection.close()

    def ready(self) -> bool:
        """Return whether every layer is published."""
        connection = http.client.HTTPConnection(self._host, timeout=PATIENCE)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
        finally:
            connection.close()
