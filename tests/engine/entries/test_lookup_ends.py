"""A large table of IPv6, whose pieces have their ends beside their match sets."""

from __future__ import annotations

import bisect
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.engine.scan import Counted, Subject, arrays_of, big, compare, index_of, network, problems, subject
from support.suite.effort import tries

from authz.engine.entries.lookup_ipv6 import Arrays6, finder6
from authz.errors import SnapshotRefused
from authz.publisher.index import ipv6
from authz.snapshot import sections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Network
    from authz.engine.entries.lookup import Index

HOME = 0x20010DB8 << 96


@contextmanager
def ends_always() -> Iterator[None]:
    """Give small tables ends, too, in however many slots they do not tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "FEW_PIECES", 0)
        patch.setattr(ipv6, "MAX_UNCLEAR", 2)
        yield


def has_ends(index: Index) -> bool:
    return len(index.arrays["v6.ends"]) > 0


@pytest.mark.parametrize(
    ("texts", "ends"),
    [
        ([], False),
        (["::/0"], False),
        (["2001:db8::/32"], True),
        (["2001:db8::/48", "2001:db8:2::/47", "2001:db8:ffff::/48"], True),
        (["2001:db8::/48", "2001:db8:0:8000::/49", "2001:db8:1::/48"], True),
        (["2001:db8::/48", "2001:db8::/64", "2001:db8::1", "2001:db8::3", "2001:db8:0:1::/65"], True),
        (["2000::/18", "2000:4000::/34", "2000:4000:1::/48", "2000:8000::/18", "2000:c000::/18"], True),
        (["::", "::/48", "ffff:ffff:ffff::/48", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], True),
        (["3fff:ffff:ffff::/48", "4000::/48", "4000:0:1::/48", "3fff:4000::/48", "3fff:8000::/48"], True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_ends_find_what_a_scan_finds(texts: list[str], *, ends: bool) -> None:
    with ends_always():
        assert has_ends(compare([subject(text) for text in texts])) == ends


# Around the borders of a part, of what its k has to tell apart, of a /48 and of a /64.
NETWORKS = st.builds(
    lambda part, quarter, middle, low, rest, length: network(
        6, part << 112 | quarter << 110 | middle << 80 | low << 62 | rest, length
    ),
    st.sampled_from([0x2001, 0x2002, 0xFFFF, 0]), st.integers(0, 3), st.integers(0, 5), st.integers(0, 15),
    st.integers(0, 3), st.sampled_from([0, 15, 16, 17, 18, 19, 32, 46, 47, 48, 48, 49, 50, 63, 64, 65, 126, 127, 128]),
)  # fmt: skip


@settings(max_examples=tries(120), deadline=None)
@given(st.lists(st.builds(Subject, st.lists(NETWORKS, max_size=8), st.lists(NETWORKS, max_size=2)), max_size=5))
@example([subject("2001:c000::/48"), subject("2001::/48"), subject("2001:c000::1")])
def test_ends_find_what_a_scan_finds_in_random_networks(subjects: list[Subject]) -> None:
    with ends_always():
        compare(subjects)


def routed(count: int) -> list[Network]:
    """Return random networks as they are routed: /29 to /48 of a few /16, and here and there a longer one."""
    chance = random.Random(count)
    tops = [0x2001, 0x2804, 0x2A00, 0x2A0E, 0x2C0F]
    lengths = chance.choices([29, 32, 36, 40, 44, 48, 56, 64, 128], [3, 10, 5, 10, 10, 60, 0.02, 0.02, 0.02], k=count)
    crowded = [chance.getrandbits(16) for _ in range(12)]
    some: dict[Network, None] = {}
    for length in lengths:
        second = chance.choice(crowded) if length > 36 else chance.getrandbits(16)
        some[network(6, chance.choice(tops) << 112 | second << 96 | chance.getrandbits(96), length)] = None
    return [*some]


def test_a_large_table_as_it_is_routed_has_ends_and_finds_all() -> None:
    networks = routed(8_000)
    subjects = [Subject(networks[number::7]) for number in range(7)]
    index = index_of(arrays_of(subjects))
    assert has_ends(index)
    assert list(index.problems(len(subjects))) == []
    starts = [*map(tuple, zip(index.arrays["v6.starts_high"], index.arrays["v6.starts_low"], strict=True))]
    steps = (-1, 0, 1, 1 << 63, 1 << 64, 1 << 79, 1 << 80, 1 << 95)
    edges = [high << 64 | low for high, low in starts[1:]]
    for value in (edge + step for edge in edges for step in steps):
        place = bisect.bisect_right(starts, (value >> 64, value & (1 << 64) - 1)) - 1
        assert index.find6(value) == index.arrays["v6.sets"][place]
        assert index.sets_within(6, value, value) == {index.arrays["v6.sets"][place]}


@pytest.mark.parametrize(("length", "ends"), [(48, True), (40, True), (49, False), (64, False), (128, False)])
def test_a_table_that_is_cut_finely_has_no_ends(length: int, *, ends: bool) -> None:
    index = big(6, [HOME + (number << 129 - length) for number in range(6_000)], length)
    assert index.pieces[6] > sections.FEW_PIECES
    assert has_ends(index) == ends
    assert list(index.problems(1)) == []


def test_a_look_up_by_ends_reads_no_start() -> None:
    """Each step read 64 bits of the high half; what was found, and the place before it, were further away."""
    index = big(6, range(HOME, HOME + (1 << 96), 1 << 81), 48)  # 65,536 pieces in one slot
    counted: dict[str, Any] = {name: Counted(index.arrays[f"v6.{name}"]) for name in Arrays6._fields}
    find = finder6(Arrays6(**counted))
    chance = random.Random(7)
    for value in (HOME | chance.getrandbits(96) for _ in range(500)):
        Counted.reads = 0
        assert find(value) == (not value >> 80 & 1)
        assert Counted.reads <= 2 + 16 + 1  # the slot, log2 of its pieces, and the match set
    for name in ("starts_high", "starts_low"):
        counted[name]._array = None  # not to be read
    assert find(HOME) == 1


def large() -> dict[str, Any]:
    """Return arrays with ends, of five pieces: ::, 2001:db8::, 2001:db8:1::, 2001:db8:2::, 2001:db8:3::."""
    return arrays_of([subject("2001:db8::/48", "2001:db8:2::/48")])


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("v6.sets", 0, 5, ["v6.sets: piece 0 ends at 0x5, expected 0xdb80000"]),
        ("v6.sets", 2, 0xFFFFFFFF, ["v6.sets: piece 1 ends at -0x1, expected 0xdb80001"]),
        ("v6.sets", 8, 1, ["v6.sets: piece 4 ends at 0x1, expected 0x0"]),
        ("v6.sets", 3, 9, ["v6.sets: found number 9, expected less than 2"]),
        ("v6.slots", 2, 1, ["v6.slots: slot 1 is (1, 4), expected (0, 4)"]),
        ("v6.slots", 3, 9, ["v6.slots: slot 1 is (0, 9), expected (0, 4)"]),
    ],
)
def test_a_broken_element_of_a_table_with_ends_is_a_problem_that_is_named(
    name: str, place: int, value: int, expected: list[str]
) -> None:
    with ends_always():
        arrays = large()
        assert problems(arrays) == []
        arrays[name][place] = value
        assert problems(arrays) == expected


def test_ends_that_are_too_few_are_refused_and_so_are_those_of_a_small_table() -> None:
    with ends_always():
        arrays = large()
        for wrong in (arrays["v6.sets"][:-1], arrays["v6.sets"][:-2], np.append(arrays["v6.sets"], [0])):
            with pytest.raises(SnapshotRefused, match=r"v6\.sets \(of a large table half of it\)"):
                index_of(arrays | {"v6.sets": wrong.astype("<u4")})
    with pytest.raises(SnapshotRefused, match="expected equal lengths"):
        index_of(arrays)


def test_slots_that_lie_raise_an_error_or_find_some_set_and_never_go_on_without_end() -> None:
    """Of a file that is signed and wrong: `problems` names them, and a look-up ends."""
    chance = random.Random(5)
    with ends_always():
        for _ in range(300):
            arrays = large()
            for name in ("v6.slots", "v6.sets"):
                arrays[name][chance.randrange(len(arrays[name]))] = chance.choice([0, 1, 4, 9, 1 << 31, 0xFFFFFFFF])
            index = index_of(arrays)
            for value in (0, HOME, HOME + (1 << 80), HOME + (5 << 80), (1 << 128) - 1):
                try:
                    assert 0 <= index.find6(value) <= 0xFFFFFFFF
                except IndexError:
                    assert list(index.problems(1))
