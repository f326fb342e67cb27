"""Blocking work beside the event loop: where no thread can be had, the loop goes on and is told."""

from __future__ import annotations

import _thread
import asyncio
from typing import TYPE_CHECKING

import pytest

from authz.errors import NoThread
from authz.serve import background

if TYPE_CHECKING:
    from collections.abc import Callable


def start(_work: Callable[[], object], _arguments: tuple[()]) -> int:
    """Stand for `_thread.start_new_thread` where the thread ends before it begins."""
    return 1


def refuse(_work: Callable[[], object], _arguments: tuple[()]) -> int:
    raise RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    ("starting", "message"),
    [(start, "a thread has not begun within 0.01 seconds"), (refuse, "no thread can be started: can't start new")],
)
def test_a_thread_that_never_begins_is_an_error_and_stalls_nothing(
    monkeypatch: pytest.MonkeyPatch, starting: Callable[..., int], message: str
) -> None:
    monkeypatch.setattr(background, "MAX_WAIT_TO_BEGIN", 0.01)
    monkeypatch.setattr(_thread, "start_new_thread", starting)
    with pytest.raises(NoThread) as caught:
        asyncio.run(background.in_thread(list))
    assert caught.value.message.startswith(message)


def test_work_that_was_given_up_is_not_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    late: list[Callable[[], object]] = []
    monkeypatch.setattr(background, "MAX_WAIT_TO_BEGIN", 0.01)
    monkeypatch.setattr(_thread, "start_new_thread", lambda run, _: late.append(run))
    done: list[int] = []
    with pytest.raises(NoThread):
        asyncio.run(background.in_thread(done.append, 1))
    late[0]()
    assert done == []
