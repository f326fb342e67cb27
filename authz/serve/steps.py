"""Work that takes milliseconds, cut into steps: between two of them the event loop is there for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    Steps: TypeAlias = Generator[None, None, T]  # yields after each step, and returns the result


def finished(steps: Steps[T]) -> T:
    """Return the result of steps that are taken one right after the other."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


async def in_turns(steps: Steps[T]) -> T:
    """Return the result of steps, each taken in a turn of the event loop of its own."""
    try:
        while True:
            next(steps)
            await asyncio.sleep(0)
    except StopIteration as end:
        result: T = end.value
        return result
