"""What the API's handlers do, done for a page: the same functions, with the caller of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Response

if TYPE_CHECKING:
    from authz.control.console.common.session import Asked


async def done_by(handler: Any, asked: Asked, **arguments: Any) -> Any:
    """Return what a handler of the API answers: its body, without the shell of HTTP. Raises Problem.

    A rule that stands in a handler, such as whose tokens one may make, so holds for pages, too, and is written once.
    """
    answer = await handler.fn(asked.request, asked.caller, **arguments)
    return answer.content if isinstance(answer, Response) else answer
