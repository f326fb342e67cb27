"""The API of a control plane, over one kept connection a thread."""

from __future__ import annotations

import http.client
import json
import threading
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
