"""Different values in a window: exact for few, within the promised error for many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.control.detect.counting import distinct
from authz.control.detect.counting.budget import Budget
from authz.control.detect.counting.counters import ValueCounters
from authz.control.detect.counting.distinct import (
    REGISTERS,
    ExactDistinct,
    HyperLogLog,
    SketchedDistinct,
    digest,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests are keyed at random, and with one key in a thousand an estimate is farther from the truth."""
    monkeypatch.setattr(distinct, "_KEY", b"the key of tests")


arrivals = st.lists(st.tuples(st.integers(0, 40).map(float), st.integers(0, 12)), min_size=1, max_size=80)


@given(arrivals)
def test_few_values_are_counted_as_a_scan_does(arrivals: list[tuple[float, int]]) -> None:
    counter = ExactDistinct(20, 10.0)
    for end in range(1, len(arrivals) + 1):
        begin = max(time for time, _ in arrivals[:end]) - 10.0
        expected = len({value for time, value in arrivals[:end] if time > begin})
        assert counter.add(*arrivals[end - 1]) == expected


def test_more_values_than_the_limit_are_not_kept() -> None:
    counter = ExactDistinct(3, 10.0)
    assert [counter.add(float(number) / 100, number) for number in range(9)] == [1, 2, 3, 4, 4, 4, 4, 4, 4]


def test_a_sketch_is_right_within_a_tenth() -> None:
    for many in (10, 100, 1000, 20_000):
        sketch = HyperLogLog()
        for number in range(many):
            sketch.add(digest(f"/page/{number}"))
        assert abs(sketch.estimate() - many) <= many / 10


def test_the_same_value_again_and_in_another_slice_counts_once() -> None:
    counter = SketchedDistinct(60.0)
    for repeat in range(5):
        for number in range(200):
            count = counter.add(repeat * 10.0 + number / 1000, digest(str(number)))
    assert abs(count - 200) <= 20


def test_what_is_out_of_the_window_is_forgotten() -> None:
    counter = SketchedDistinct(60.0)
    for number in range(500):
        counter.add(1000.0, digest(str(number)))
    assert counter.add(1000.0 + 120, digest("x")) == 1


def test_a_sketch_has_a_fixed_size() -> None:
    counter = SketchedDistinct(60.0)
    for number in range(20_000):
        counter.add(number / 20, digest(str(number)))
    assert sum(len(sketch.registers) for sketch in counter._sketches.values()) <= 7 * REGISTERS


def test_a_client_with_many_values_costs_no_sketch_and_no_union_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[HyperLogLog] = []
    unions: list[HyperLogLog] = []

    class CountedSketch(HyperLogLog):
        def __init__(self, *registers: bytes) -> None:
            super().__init__(*registers)
            made.append(self)

    def counted_union(sketches: Iterable[HyperLogLog]) -> HyperLogLog:
        unions.append(united := union(sketches))
        return united

    monkeypatch.setattr(distinct, "HyperLogLog", CountedSketch)
    monkeypatch.setattr(distinct, "union", counted_union)
    counters = ValueCounters(5000, 60.0, Budget())
    for number in range(20_000):
        counters.add(7, 1000.0 + number / 1000, digest(str(number)))  # 20 s: in two or three slices of 10 s
    assert 2 <= len(unions) <= 3
    assert len(made) <= 1 + 2 * 3  # the first whole, and for each slice its own and the whole anew


def test_nobody_outside_can_foresee_a_digest() -> None:
    first = digest("a")
    key, distinct._KEY = distinct._KEY, b"another secret.."  # type: ignore[misc]  # as after a restart
    try:
        assert digest("a") != first
    finally:
        distinct._KEY = key  # type: ignore[misc]
