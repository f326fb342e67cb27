"""Blocking work beside the event loop, in daemon threads: what hangs in one holds up neither a decision nor the end."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, TypeVar

from authz.errors import NoThread

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
MAX_WAIT_TO_BEGIN: Final = 2.0  # seconds


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Return the result of `work(*arguments)`, called in a thread of its own.

    Unlike `asyncio.to_thread` nothing waits for the thread: not the end of the loop, not the end of the process.
    A caller that is cancelled leaves the thread to itself. Raises what `work` raises, and NoThread where no
    thread can be started, or where it has not begun within MAX_WAIT_TO_BEGIN.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    begun = False

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # a result, if there is no error
        else:
            future.set_exception(error)

    def give_up() -> None:
        if not begun and not future.done():
            future.set_exception(NoThread(f"a thread has not begun within {MAX_WAIT_TO_BEGIN:g} seconds"))

    def run() -> None:
        nonlocal begun
        begun = True
        if future.done():
            return  # it was given up
        result, error = None, None
        try:
            result = work(*arguments)
        except BaseException as caught:  # noqa: BLE001  # it is raised again where it is waited for
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    # Not threading.Thread: without memory its `start` waits forever for a thread that has ended before it began.
    try:
        _thread.start_new_thread(run, ())
    except (RuntimeError, MemoryError) as error:
        raise NoThread(f"no thread can be started: {str(error) or 'no memory'}") from error
    timer = loop.call_later(MAX_WAIT_TO_BEGIN, give_up)
    try:
        return await future
    finally:
        timer.cancel()
