"""Pieces, ranges, their addresses and networks; plain numbers are the second opinion."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.worlds import ZONES, World, deny, load, worlds

from authz.addresses import BITS, Network, range_to_networks
from authz.analysis import space
from authz.analysis.space import Cut, check_whole, cut_of, overlay
from authz.engine.model import Application
from authz.errors import SnapshotRefused

LAST = {version: (1 << bits) - 1 for version, bits in BITS.items()}
STARTS = {
    4: [1, 2, 3, 4, 7, 8, 255, 256, 1 << 31, LAST[4]],
    6: [1, 2, 3, 4, (1 << 64) - 1, 1 << 64, (1 << 64) + 1, 3 << 64, 1 << 127, LAST[6] - 1, LAST[6]],
}


def cut(version: int, starts: list[int]) -> Cut:
    left = [start << 128 - BITS[version] for start in starts]
    return Cut(version, np.array([s >> 64 for s in left], np.uint64),
               np.array([s & LAST[6] >> 64 for s in left], np.uint64))  # fmt: skip


@st.composite
def cuts(draw: st.DrawFn, version: int) -> tuple[Cut, list[int]]:
    starts = [0, *sorted(draw(st.sets(st.sampled_from(STARTS[version]))))]
    return cut(version, starts), starts


@st.composite
def chosen(draw: st.DrawFn) -> tuple[Cut, list[int], list[int], list[int]]:
    """A cut, its starts, some of its pieces, and a key for each of those."""
    whole, starts = draw(st.sampled_from([4, 6]).flatmap(cuts))
    kept = [piece for piece in range(len(starts)) if draw(st.booleans())]
    return whole, starts, kept, [draw(st.integers(0, 1)) for _ in kept]


def plain(version: int, starts: list[int], kept: list[int], keys: list[int]) -> list[tuple[int, int]]:
    """Return first and last address of each range, merged one piece after the other."""
    stretches: list[tuple[int, int, int]] = []
    for piece, key in zip(kept, keys, strict=True):
        first, last = starts[piece], [*starts, LAST[version] + 1][piece + 1] - 1
        if stretches and stretches[-1][1] + 1 == first and stretches[-1][2] == key:
            stretches[-1] = stretches[-1][0], last, key
        else:
            stretches.append((first, last, key))
    return [(first, last) for first, last, _ in stretches]


@settings(deadline=None)
@given(chosen())
def test_ranges_are_the_pieces_merged_where_their_keys_are_equal(
    case: tuple[Cut, list[int], list[int], list[int]],
) -> None:
    whole, starts, kept, keys = case
    ranges = whole.ranges(np.array(kept, np.int64), np.array(keys, np.int64))
    assert [ranges.bounds(place) for place in range(len(ranges))] == plain(whole.version, starts, kept, keys)


@settings(deadline=None)
@given(chosen())
def test_addresses_are_counted_exactly(case: tuple[Cut, list[int], list[int], list[int]]) -> None:
    whole, starts, kept, keys = case
    expected = plain(whole.version, starts, kept, [0] * len(keys))
    ranges = whole.ranges(np.array(kept, np.int64))
    assert ranges.addresses() == sum(last - first + 1 for first, last in expected)


@settings(deadline=None)
@given(chosen())
def test_networks_of_64_bits_are_counted_once_however_many_ranges_touch_them(
    case: tuple[Cut, list[int], list[int], list[int]],
) -> None:
    whole, starts, kept, _ = case
    if whole.version == 6:
        touched = []
        for first, last in plain(6, starts, kept, [0] * len(kept)):
            touched.append((first >> 64, last >> 64))
        count = sum(last - first + 1 for first, last in touched)
        count -= sum(one[1] == other[0] for one, other in pairwise(touched))
        assert whole.ranges(np.array(kept, np.int64)).networks64() == count


def test_everything_is_2_to_the_128_addresses_and_2_to_the_64_networks() -> None:
    ranges = cut(6, [0]).ranges(np.array([0]))
    assert (ranges.addresses(), ranges.networks64()) == (1 << 128, 1 << 64)


@settings(deadline=None)
@given(chosen(), st.integers(0, 12))
def test_the_largest_networks_are_the_first_of_all_networks_sorted(
    case: tuple[Cut, list[int], list[int], list[int]], count: int
) -> None:
    whole, starts, kept, keys = case
    ranges = whole.ranges(np.array(kept, np.int64), np.array(keys, np.int64))
    every = [
        (network, place)
        for place, (first, last) in enumerate(plain(whole.version, starts, kept, keys))
        for network in range_to_networks(whole.version, first, last)
    ]
    every.sort(key=lambda pair: (pair[0].length, pair[0].value))
    assert ranges.largest(count) == every[:count]


def test_the_search_for_the_largest_networks_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_into = []

    def counted(version: int, first: int, last: int) -> list[Network]:
        looked_into.append(first)
        return range_to_networks(version, first, last)

    monkeypatch.setattr(space, "range_to_networks", counted)
    starts = [0, *(n * 1024 + k for n in range(1, 2000) for k in (0, 256 if n < 50 else 1))]
    ranges = cut(4, starts).ranges(np.arange(1, len(starts), 2))
    assert [network.length for network, _ in ranges.largest(20)] == [24] * 20
    assert len(looked_into) < 50


@settings(deadline=None)
@given(cuts(4), cuts(4))
def test_two_cuts_laid_over_each_other_know_their_pieces(
    one: tuple[Cut, list[int]], other: tuple[Cut, list[int]]
) -> None:
    check_overlay(one, other)


@settings(deadline=None)
@given(cuts(6), cuts(6))
def test_two_cuts_of_ipv6_laid_over_each_other_know_their_pieces(
    one: tuple[Cut, list[int]], other: tuple[Cut, list[int]]
) -> None:
    check_overlay(one, other)


def check_overlay(one: tuple[Cut, list[int]], other: tuple[Cut, list[int]]) -> None:
    both, of_one, of_other = overlay(one[0], other[0])
    starts = sorted({*one[1], *other[1]})
    expected = cut(one[0].version, starts)
    assert both.high.tolist() == expected.high.tolist()
    assert both.low.tolist() == expected.low.tolist()
    for place, starts_of in ((of_one, one[1]), (of_other, other[1])):
        assert place.tolist() == [max(n for n, s in enumerate(starts_of) if s <= start) for start in starts]


@settings(deadline=None)
@given(chosen(), st.data())
def test_the_pieces_of_a_network_are_those_that_have_an_address_of_it(
    case: tuple[Cut, list[int], list[int], list[int]], data: st.DataObject
) -> None:
    whole, starts, _, _ = case
    bits = BITS[whole.version]
    length = data.draw(st.integers(0, bits))
    value = data.draw(st.sampled_from(starts)) >> bits - length << bits - length
    network = Network(whole.version, value, length)
    ends = [*starts[1:], LAST[whole.version] + 1]
    having = [
        n for n, (first, end) in enumerate(zip(starts, ends, strict=True)) if first <= network.last and end > value
    ]
    assert list(range(*whole.within(network))) == having


@settings(deadline=None)
@given(worlds())
def test_the_pieces_of_a_snapshot_are_those_that_are_looked_up(world: World) -> None:
    loaded = world.loaded()
    for zone in ZONES:
        version, value = zone.address.version, zone.address.value
        whole, sets = cut_of(loaded.index, version)
        first, end = whole.within(Network(version, value, BITS[version]))
        assert end == first + 1
        assert sets[first] == loaded.index.find(version, value)


@settings(deadline=None)
@given(worlds())
def test_a_good_index_is_whole(world: World) -> None:
    check_whole(world.loaded())


@pytest.mark.parametrize(
    ("array", "place", "value", "message"),
    [
        ("v4.starts", 1, 0, "v4.starts: found starts out of order, expected rising numbers"),
        ("v6.starts_low", 1, 0, "v6.starts: found starts out of order, expected rising numbers"),
        ("v4.sets", 0, 99, "v4.sets: found number 99, expected less than 3"),
        ("v6.sets", 0, 99, "v6.sets: found number 99, expected less than 3"),
        ("sets.offset", 1, 7, "sets.offset: found offsets out of order, expected rising numbers"),
        ("members.entry", 0, 9, "members.entry: found number 9, expected less than 1"),
    ],
)
def test_an_index_with_a_wrong_element_is_refused(array: str, place: int, value: int, message: str) -> None:
    loaded = load([Application("*")], [deny("a", "10.0.0.0/8", "::1/128")])
    wrong: Any = np.array(loaded.index.arrays[array])
    wrong[place] = value
    loaded.index.arrays = {**loaded.index.arrays, array: wrong}
    with pytest.raises(SnapshotRefused) as caught:
        check_whole(loaded)
    assert (caught.value.code, caught.value.message) == ("bad_section", message)
