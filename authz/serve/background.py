"""Blocking work beside the event loop, in daemon threads: what hangs in one holds up neither a decision nor the end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Return the result of `work(*arguments)`, called in a thread of its own.

    Unlike `asyncio.to_thread` nothing waits for the thread: not the end of the loop, not the end of the process.
    A caller that is cancelled leaves the thread to itself. Raises what `work` raises, and RuntimeError where no
    thread can be started.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # a result, where there is no error
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work(*arguments)
        except BaseException as caught:  # noqa: BLE001  # it is raised again where it is waited for
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="authz-background", daemon=True).start()
    return await future
