"""Asking the admin listener of a running sidecar, for commands that show what it does."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

from authz.errors import InputError

if TYPE_CHECKING:
    from authz.serve.config_values import Listen


def get_admin(listen: Listen, target: str) -> tuple[int, bytes]:
    """Return the status and body of a page. Raises InputError where nobody answers."""
    connection = http.client.HTTPConnection(listen.host or "localhost", listen.port, timeout=10)
    try:
        if listen.path is not None:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(listen.path))
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        hint = "is the sidecar running, with this configuration?"
        raise InputError(f"admin.listen: {listen}: {error}", hint=hint) from error
    finally:
        connection.close()
