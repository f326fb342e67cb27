"""Asking the admin listener of a running sidecar, for commands that show what it does."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING

from authz.errors import InputError, reason_of
from authz.serve.admin.token import read_token

if TYPE_CHECKING:
    from authz.serve.config.config import AdminConfig


def get_admin(admin: AdminConfig, target: str) -> tuple[int, bytes]:
    """Return the status and body of a page, asked with the token where one is configured.

    Raises InputError if nobody answers, and StartError where the token cannot be read.
    """
    listen = admin.listen
    headers = {} if admin.token_file is None else {"Authorization": f"Bearer {read_token(admin.token_file)}"}
    connection = http.client.HTTPConnection(listen.host or "localhost", listen.port, timeout=10)
    try:
        if listen.path is not None:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(listen.path))
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        hint = "is the sidecar running, with this configuration?"
        raise InputError(f"admin.listen: {listen}: {reason_of(error)}", hint=hint) from error
    finally:
        connection.close()
