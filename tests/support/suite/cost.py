"""What a piece of work costs, counted: calls, and instructions of the interpreter."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Cost(NamedTuple):
    """Of one piece of work. calls: of functions in Python and in C. instructions: of the interpreter."""

    calls: int
    instructions: int


def cost_of(work: Callable[[], object]) -> Cost:
    """Count what `work` does, after it was done twice: what is remembered is not counted."""
    work()
    work()
    calls = 0

    def profile(_: FrameType, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    try:
        gc.disable()  # a collection calls hooks of hypothesis
        sys.setprofile(profile)
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return Cost(calls - 1, instructions_of(work))  # the call that ends counting


def instructions_of(work: Callable[[], object]) -> int:
    """Count the instructions of the interpreter while `work` is done once."""
    instructions = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal instructions
        frame.f_trace_opcodes = True
        instructions += event == "opcode"
        return trace

    before = sys.gettrace()
    try:
        gc.disable()
        sys.settrace(trace)
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return instructions


def within(spent: Cost, budget: Cost) -> None:
    """Assert that a cost keeps to a budget, and that the budget is not far above it."""
    assert spent.calls <= budget.calls
    assert spent.instructions <= budget.instructions
    assert spent.calls >= budget.calls * 0.8, "the budget is too generous: lower it"
