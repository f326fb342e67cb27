"""Sliding windows, against a list of all times that is scanned from end to end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.control.detect.counting.windows import MAX_EXACT, SLICES, ExactWindow, SlicedWindow, make_window

times = st.lists(st.integers(0, 400).map(lambda tenths: tenths / 10), min_size=1, max_size=80)


def scan(times: list[float], within: float) -> int:
    """Return how many of the times so far are in the window that ends with the newest."""
    return sum(time > max(times) - within for time in times)


@given(times, st.integers(1, 20))
def test_an_exact_window_counts_as_a_scan_does_up_to_its_limit(times: list[float], limit: int) -> None:
    window = ExactWindow(limit, 10.0)
    for end, time in enumerate(times, start=1):
        assert window.add(time) == min(scan(times[:end], 10.0), limit + 1)


@given(times)
def test_a_sliced_window_counts_no_less_and_reaches_back_at_most_one_slice_more(times: list[float]) -> None:
    window = SlicedWindow(10.0)
    for end, time in enumerate(times, start=1):
        count = window.add(time)
        assert scan(times[:end], 10.0) <= count <= scan(times[:end], 10.0 * (1 + 2 / SLICES))


@pytest.mark.parametrize("limit", [1, MAX_EXACT, MAX_EXACT + 1, 100_000])
def test_the_memory_of_a_window_does_not_grow_with_what_comes(limit: int) -> None:
    window = make_window(limit, 60.0)
    generator = random.Random(1)
    for number in range(5000):
        window.add(number / 50 + generator.random())
    kept = window._times if isinstance(window, ExactWindow) else window._counts  # type: ignore[attr-defined]
    assert len(kept) <= max(limit + 1 if limit <= MAX_EXACT else 0, SLICES + 1)


def test_a_time_from_before_the_window_changes_nothing() -> None:
    window = ExactWindow(3, 10.0)
    assert [window.add(100.0), window.add(50.0), window.add(101.0)] == [1, 1, 2]
    sliced = SlicedWindow(10.0)
    assert [sliced.add(100.0), sliced.add(50.0), sliced.add(101.0)] == [1, 1, 2]
