"""The empty application that the HTTP front is measured against: 200 to everybody, without looking at the request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
_BODY: dict[str, Any] = {"type": "http.response.body"}


async def app(_scope: object, _receive: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Answer, as ASGI 3 wants it."""
    await send(_START)
    await send(_BODY)
