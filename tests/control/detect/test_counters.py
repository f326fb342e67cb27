"""A counter for each client, in bounded memory, whatever clients there are."""

from __future__ import annotations

from authz.control.detect.counting.counters import Counters


def counted(counters: Counters[list[float]], client: object, time: float) -> int:
    counter = counters.get(client, time)
    counter.append(time)
    return len(counter)


def test_a_client_keeps_its_counter_for_as_long_as_it_comes() -> None:
    counters: Counters[list[float]] = Counters(list, 10.0)
    assert [counted(counters, "a", time) for time in (0.0, 9.0, 18.0, 27.0)] == [1, 2, 3, 4]


def test_a_client_that_stayed_away_for_two_windows_is_forgotten() -> None:
    counters: Counters[list[float]] = Counters(list, 10.0)
    counted(counters, "a", 0.0)
    counted(counters, "b", 12.0)
    counted(counters, "b", 24.0)
    assert len(counters) == 1
    assert counted(counters, "a", 25.0) == 1


def test_random_addresses_push_out_nobody_who_comes_again_and_again() -> None:
    counters: Counters[list[float]] = Counters(list, 10.0, most=100)
    for number in range(10_000):
        counted(counters, ("random", number), 1.0 + number / 10_000)
        if number % 50 == 0:
            counted(counters, "guesser", 1.0 + number / 10_000)
    assert counted(counters, "guesser", 2.0) == 201
    assert len(counters) <= 200
    assert counters.evicted > 9_000


def test_a_crowd_that_comes_again_is_bounded_too() -> None:
    counters: Counters[list[float]] = Counters(list, 1000.0, most=100)
    for _ in range(3):
        for number in range(1000):
            counted(counters, number, 1.0)
    assert len(counters) <= 200
