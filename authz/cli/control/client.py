"""Asking a control plane: AUTHZ_CONTROL_URL says where it is, AUTHZ_TOKEN who asks."""

from __future__ import annotations

import http.client
import os
import ssl
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import orjson

from authz.control.problems import Refused
from authz.errors import InputError, shorten

URL, TOKEN = "AUTHZ_CONTROL_URL", "AUTHZ_TOKEN"  # names of variables
PATIENCE = 90.0  # seconds: `--wait` takes up to 60


def is_configured() -> bool:
    """Return whether commands are to ask a control plane."""
    return bool(os.environ.get(URL))


def ask(method: str, path: str, body: object = None, *, headers: dict[str, str] | None = None, **query: Any) -> Any:
    """Ask the API, and return what it answers. query: what is None is left out.

    Raises InputError where it cannot be reached, and Refused.
    """
    url = os.environ.get(URL, "")
    if not url:
        raise InputError(f"{URL}: missing, expected the address of a control plane",
                         hint=f"export {URL}=http://127.0.0.1:9194 {TOKEN}=...")  # fmt: skip
    given = urlencode({name: value for name, value in query.items() if value is not None})
    target = f"{urlsplit(url).path.rstrip('/')}{path}{'?' + given if given else ''}"
    sent = {"Authorization": f"Bearer {os.environ.get(TOKEN, '')}", "Authz-Method": "cli", **(headers or {})}
    content = None
    if body is not None:
        content = orjson.dumps(body)
        sent["Content-Type"] = "application/json"
    status, answer = _send(url, method, target, content, sent)
    if status >= 400:
        raise Refused(status, answer if isinstance(answer, dict) else {})
    return answer


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def _send(url: str, method: str, target: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, Any]:
    parts = urlsplit(url)
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ.get("AUTHZ_CA"))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=PATIENCE, context=context
            )
        elif parts.scheme == "http":
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
        else:
            raise InputError(f"{URL}: found '{shorten(url)}', expected http://HOST:PORT or https://HOST")
        try:
            connection.request(method, target, body=content, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise InputError(f"{shorten(url)}: {error}", hint="is the control plane running?") from error
    try:
        return answer.status, orjson.loads(data or b"null")
    except orjson.JSONDecodeError as error:
        raise InputError(f"{shorten(url)}: found no JSON in the answer {answer.status}") from error
