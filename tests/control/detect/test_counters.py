"""A counter for each client, in bounded memory, whatever clients there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from authz.control.detect.counting import counters as module
from authz.control.detect.counting.counters import RequestCounters, ValueCounters
from authz.control.detect.counting.distinct import SketchedDistinct
from authz.control.detect.counting.repeated import MAX_REMEMBERED, Repeated
from authz.control.detect.counting.windows import SLICES

if TYPE_CHECKING:
    import pytest

requests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400).map(lambda tenths: tenths / 10)), max_size=120)


@given(requests, st.integers(1, 20))
def test_requests_of_each_client_are_counted_as_a_scan_does_up_to_the_limit(
    requests: list[tuple[int, float]], limit: int
) -> None:
    counters = RequestCounters(limit, 10.0, 1000)
    newest: dict[int, list[float]] = {}
    for client, time in sorted(requests, key=lambda one: one[1]):
        times = newest.setdefault(client, [])
        times.append(time)
        expected = sum(one > time - 10.0 for one in times)
        assert counters.add(client, time) == min(expected, limit + 1)


@given(st.lists(st.integers(0, 600).map(lambda tenths: tenths / 10), min_size=1, max_size=300))
def test_many_requests_are_counted_in_slices_and_none_is_missed(times: list[float]) -> None:
    counters = RequestCounters(100, 60.0, 1000)
    times.sort()
    for number, time in enumerate(times, start=1):
        count = counters.add(7, time)
        exact = sum(one > time - 60.0 for one in times[:number])
        assert exact <= count <= sum(one > time - 60.0 * (1 + 2 / SLICES) for one in times[:number])


@given(st.lists(st.tuples(st.integers(0, 400).map(lambda tenths: tenths / 10), st.integers(0, 9)), max_size=100))
def test_different_values_of_a_client_are_counted_as_a_scan_does(arrivals: list[tuple[float, int]]) -> None:
    counters = ValueCounters(20, 10.0, 1000)
    arrivals.sort()
    for number, (time, value) in enumerate(arrivals, start=1):
        expected = len({one for at, one in arrivals[:number] if at > time - 10.0})
        assert counters.add(7, time, value) == expected


def test_a_client_keeps_its_count_for_as_long_as_it_comes() -> None:
    counters = RequestCounters(50, 30.0, 1000)
    assert [counters.add(1, time) for time in (0.0, 9.0, 18.0, 27.0, 36.0)] == [1, 2, 3, 4, 4]


def test_a_client_that_stayed_away_for_two_windows_is_forgotten() -> None:
    counters = RequestCounters(50, 10.0, 1000)
    counters.add(1, 0.0)
    counters.add(2, 12.0)
    counters.add(2, 24.0)
    assert len(counters) == 1
    assert counters.add(1, 25.0) == 1


def test_random_addresses_push_out_nobody_who_comes_again_and_again() -> None:
    counters = RequestCounters(1000, 10.0, 100)
    for number in range(10_000):
        counters.add(1000 + number, 1.0 + number / 10_000)
        if number % 50 == 0:
            counters.add(7, 1.0 + number / 10_000)
    assert counters.add(7, 2.0) == 201
    assert len(counters) <= 200
    assert counters.evicted > 9_000


def test_a_crowd_that_comes_again_is_bounded_too() -> None:
    counters = RequestCounters(50, 1000.0, 100)
    for _ in range(3):
        for number in range(1000):
            counters.add(number, 1.0)
    assert len(counters) <= 200


def test_clients_with_sketches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SKETCHED", 5)
    counters = ValueCounters(1000, 1000.0, 1000)
    for client in range(20):
        for value in range(70):
            counters.add(client, 1.0, value << 40)
    sketched = [one for one in counters._young.values() if isinstance(one, SketchedDistinct)]
    assert len(sketched) <= 5
    assert counters.evicted == 15


def test_an_event_that_came_before_is_known_again_and_memory_is_bounded() -> None:
    repeated = Repeated()
    assert [repeated.before(number, 1.0) for number in (1, 2, 1)] == [False, False, True]
    for number in range(3 * MAX_REMEMBERED):
        repeated.before(number + 10, 2.0)
    assert len(repeated._young) + len(repeated._old) <= 2 * MAX_REMEMBERED
