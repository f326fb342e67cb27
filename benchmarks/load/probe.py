"""Asks a proxy for one client after the other, over one connection: to see when an answer changes."""

from __future__ import annotations

import http.client
from typing import Final, Self

_PATIENCE: Final = 30.0  # seconds for an answer


class Probe:
    """Asks for clients by X-Forwarded-For. name: of the proxy."""

    def __init__(self, name: str, url: str) -> None:
        host, _, path = url.removeprefix("http://").partition("/")
        self.name, self._path = name, f"/{path}"
        self._connection = http.client.HTTPConnection(host, timeout=_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, client: str) -> int:
        """Return the status for this client."""
        try:
            return self._ask(client)
        except (http.client.RemoteDisconnected, ConnectionError):  # a server may end a kept connection at any time
            self._connection.close()
            return self._ask(client)

    def _ask(self, client: str) -> int:
        self._connection.request("GET", self._path, headers={"X-Forwarded-For": client})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status
