"""A counter for each client, in bounded memory, whatever clients there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.control.detect.counting import distinct
from authz.control.detect.counting import repeated as module
from authz.control.detect.counting.budget import Budget
from authz.control.detect.counting.counters import Counters, RequestCounters, ValueCounters
from authz.control.detect.counting.distinct import digest
from authz.control.detect.counting.repeated import Repeated
from authz.control.detect.counting.windows import SLICES

requests = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400).map(lambda tenths: tenths / 10)), max_size=120)


@given(requests, st.integers(1, 20))
def test_requests_of_each_client_are_counted_as_a_scan_does_up_to_the_limit(
    requests: list[tuple[int, float]], limit: int
) -> None:
    counters = RequestCounters(limit, 10.0, Budget())
    newest: dict[int, list[float]] = {}
    for client, time in sorted(requests, key=lambda request: request[1]):
        times = newest.setdefault(client, [])
        times.append(time)
        expected = sum(earlier > time - 10.0 for earlier in times)
        assert counters.add(client, time) == min(expected, limit + 1)


@given(st.lists(st.integers(0, 600).map(lambda tenths: tenths / 10), min_size=1, max_size=300))
def test_many_requests_are_counted_in_slices_and_none_is_missed(times: list[float]) -> None:
    counters = RequestCounters(100, 60.0, Budget())
    times.sort()
    for number, time in enumerate(times, start=1):
        count = counters.add(7, time)
        exact = sum(earlier > time - 60.0 for earlier in times[:number])
        assert exact <= count <= sum(earlier > time - 60.0 * (1 + 2 / SLICES) for earlier in times[:number])


@given(st.lists(st.tuples(st.integers(0, 400).map(lambda tenths: tenths / 10), st.integers(0, 9)), max_size=100))
def test_different_values_of_a_client_are_counted_as_a_scan_does(arrivals: list[tuple[float, int]]) -> None:
    counters = ValueCounters(20, 10.0, Budget())
    arrivals.sort()
    for number, (time, value) in enumerate(arrivals, start=1):
        expected = len({earlier for at, earlier in arrivals[:number] if at > time - 10.0})
        assert counters.add(7, time, value) == expected


def test_a_client_keeps_its_count_for_as_long_as_it_comes() -> None:
    counters = RequestCounters(50, 30.0, Budget())
    assert [counters.add(1, time) for time in (0.0, 9.0, 18.0, 27.0, 36.0)] == [1, 2, 3, 4, 4]


def test_a_client_that_stayed_away_for_two_windows_is_forgotten() -> None:
    counters = RequestCounters(50, 10.0, Budget())
    counters.add(1, 0.0)
    counters.add(2, 12.0)
    counters.add(2, 24.0)
    assert len(counters) == 1
    assert counters.add(1, 25.0) == 1


def test_random_addresses_push_out_nobody_who_comes_again_and_again() -> None:
    counters = RequestCounters(1000, 10.0, Budget(20_000))
    for number in range(10_000):
        counters.add(1000 + number, 1.0 + number / 10_000)
        if number % 50 == 0:
            counters.add(7, 1.0 + number / 10_000)
    assert counters.add(7, 2.0) == 201
    assert counters.weight <= 20_000
    assert counters.evicted > 9_000


def test_a_crowd_that_comes_again_is_bounded_too() -> None:
    budget = Budget(20_000)
    counters = RequestCounters(50, 1000.0, budget)
    for _ in range(3):
        for number in range(1000):
            counters.add(number, 1.0)
            counters.add(number, 2.0)
            assert budget.used <= 20_000
    assert len(counters) <= 100


def test_who_floods_one_trigger_pushes_out_nobody_of_another() -> None:
    budget = Budget(100_000)
    quiet, flooded = RequestCounters(50, 1000.0, budget), ValueCounters(50, 1000.0, budget)
    for client in range(100):
        quiet.add(client, 1.0)
    for number in range(20_000):
        flooded.add(number, 2.0, number)
    assert [quiet.add(client, 3.0) for client in range(100)] == [2] * 100
    assert (quiet.evicted, flooded.evicted > 19_000) == (0, True)


def test_one_trigger_can_use_what_the_others_leave() -> None:
    budget = Budget(1_000_000)
    many = [RequestCounters(50, 1000.0, budget) for _ in range(20)]
    for client in range(8_000):
        many[0].add(client, 1.0)
    assert (len(many[0]), many[0].evicted) == (8_000, 0)


def test_clients_with_sketches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "_KEY", b"the key of tests")  # a random one makes a wrong estimate now and then
    counters = ValueCounters(1000, 1000.0, Budget(20_000))
    for client in range(20):
        for value in range(70):
            counters.add(client, 1.0, digest(str(value)))
    assert counters.weight <= 20_000
    assert counters.evicted >= 10
    assert counters.add(19, 1.0, digest("70")) > 65


@pytest.mark.parametrize("limit", [5, 1000])
@pytest.mark.parametrize("kind", [RequestCounters, ValueCounters])
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40).map(float), st.integers(0, 99)), max_size=200))
def test_the_weight_is_that_of_what_is_kept(
    kind: type[Counters], limit: int, arrivals: list[tuple[int, float, int]]
) -> None:
    budget = Budget(15_000)
    counters = kind(limit, 10.0, budget)
    for client, time, value in arrivals:
        if value == 99:
            counters.forget(client)
        elif isinstance(counters, ValueCounters):
            counters.add(client, time, value)
        elif isinstance(counters, RequestCounters):
            counters.add(client, time)
        kept = [*counters._young.values(), *counters._old.values()]
        assert counters.weight == budget.used == sum(counters._weigh(known) for known in kept) <= 15_000
    budget.leave(counters)
    assert budget.used == 0


def test_an_event_that_came_before_is_known_again_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 20_000)
    repeated = Repeated()
    assert [repeated.before(number, 1.0) for number in (2, 3, 2, 0, 0, -1, -1)] == [
        False, False, True, False, True, False, True,
    ]  # fmt: skip
    for number in range(60_000):
        assert not repeated.before(number + 10, 2.0)
    assert repeated.before(60_009, 3.0)
    assert repeated.before(41_000, 3.0)
    assert len(repeated) <= 40_001


def test_a_repetition_is_forgotten_after_two_generations() -> None:
    repeated = Repeated()
    assert [repeated.before(7, time) for time in (0.0, 200.0, 500.0)] == [False, True, True]
    assert not Repeated().before(7, 500.0)
    repeated.before(8, 900.0)
    repeated.before(8, 1300.0)
    assert not repeated.before(7, 1301.0)
