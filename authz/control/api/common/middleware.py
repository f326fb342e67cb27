"""A request id for every request, a line in the log for every answer, and a body only where it can be read."""

from __future__ import annotations

import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from authz.control.api.common.log import FIELDS
from authz.errors import shorten

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOG = logging.getLogger("authz.control.requests")


def with_request_id(app: ASGIApp) -> ASGIApp:
    """Give each request an id: its own `X-Request-Id` where that is a plain token, or a new one."""

    async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(8)
        scope["authz_request_id"] = request_id  # type: ignore[typeddict-unknown-key]
        begin = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                asked: Any = scope
                spent = (time.perf_counter() - begin) * 1000
                method, path, *told = asked["method"], asked["path"], message["status"], round(spent, 1), request_id
                fields = dict(zip(("method", "path", "status", "ms", "request_id"), (method, path, *told), strict=True))
                shown = path if path.isprintable() else shorten(path)  # a path may have a line end in it
                _LOG.info("%s %s %d %.1f ms id=%s", method, shown, *told, extra={FIELDS: fields})
            await send(message)

        await app(scope, receive, send_with_id)

    return middleware
