"""What a look-up costs, counted in reads."""

from __future__ import annotations

import bisect
import math
import random
from typing import TYPE_CHECKING, Any

import pytest
from support.engine.scan import Counted, Subject, arrays_of, big, index_of

from authz.addresses import BITS, Network
from authz.engine.entries.lookup import Index, finder4
from authz.engine.entries.lookup_ipv6 import Arrays6, finder6

if TYPE_CHECKING:
    from collections.abc import Sequence


def most_reads(index: Index, version: int, values: Sequence[int]) -> int:
    """Return how many elements are read by the dearest of these look-ups, all arrays together."""
    names = {4: ("starts", "sets", "directory"), 6: Arrays6._fields}[version]
    arrays: list[Any] = [Counted(index.arrays[f"v{version}.{name}"]) for name in names]
    find = finder4(*arrays) if version == 4 else finder6(Arrays6(*arrays))
    most = 0
    for value in values:
        Counted.reads = 0
        assert find(value) == index.find(version, value)
        most = max(most, Counted.reads)
    return most


@pytest.mark.parametrize("version", [4, 6])
def test_a_look_up_among_a_million_spread_pieces_reads_six_elements(version: int) -> None:
    # Every second /20, so 2^20 pieces, four in each of the 2^18 parts of the directory, or slots.
    bits = BITS[version]
    index = big(version, range(0, 1 << bits, 1 << bits - 19), 20)
    assert index.pieces[version] == 1 << 20
    chance = random.Random(1)
    values = [chance.getrandbits(bits) for _ in range(2000)] + [0, (1 << bits) - 1]
    # Two of the directory (or of the slot and its end), log2(4) + 1 of the starts, and the number of the set.
    assert most_reads(index, version, values) <= 2 + 3 + 1


def test_a_look_up_where_nothing_begins_reads_no_start() -> None:
    index = big(4, [10 << 24, 12 << 24], 8)
    assert most_reads(index, 4, [*range(16 << 24, 1 << 32, 1 << 24)]) == 3
    index = big(6, [0x20010DB8 << 96], 32)
    assert most_reads(index, 6, [*range(3 << 124, 1 << 128, 1 << 124)]) == 0  # the list made at load says it
    assert most_reads(index, 6, [0x20010DB0 << 96]) > 0


def test_a_slot_that_one_piece_begins_with_is_answered_without_a_bisection() -> None:
    index = big(6, [0x2001 << 112 | number << 96 for number in range(0, 1 << 16, 2)], 32)
    assert most_reads(index, 6, [(0x2001 << 112 | n << 96) + 5 for n in range(0, 1 << 16, 97)]) == 1


def test_a_look_up_in_the_worst_part_of_the_directory_reads_as_many_elements_as_its_pieces_have_bits() -> None:
    index = big(4, range(10 << 24, (10 << 24) + 65_536, 2), 32)
    pieces = index.pieces[4]
    assert pieces > 65_000
    values = [*range((10 << 24) - 2, (10 << 24) + 65_540, 97), 0, (1 << 32) - 1]
    assert 10 < most_reads(index, 4, values) <= 3 + math.ceil(math.log2(pieces)) + 1


HOME = 0x20010DB8 << 96


def test_a_look_up_among_ipv6_pieces_that_share_their_high_half_bisects_once() -> None:
    index = big(6, range(HOME, HOME + 100_000, 2), 128)
    pieces = index.pieces[6]
    assert pieces > 99_000
    values = [*range(HOME, HOME + 99_998, 97), HOME + 99_998]
    # The slot and its end, the high halves of the first and the last, the low halves, and the number of the set.
    assert 10 < most_reads(index, 6, values) <= 5 + math.ceil(math.log2(pieces)) + 1


def test_a_look_up_beside_ipv6_networks_that_cut_a_64_reads_as_many_as_three_bisections() -> None:
    index = big(6, [*range(HOME, HOME + 60_000, 2), *range(HOME + (1 << 64), HOME + (1 << 64) + 60_000, 2)], 128)
    values = [HOME - 1, *range(HOME, HOME + 60_004, 97), HOME + (1 << 64) - 1, HOME + (5 << 64)]
    assert 10 < most_reads(index, 6, values) <= 7 + 3 * (math.ceil(math.log2(index.pieces[6])) + 1)


def test_low_halves_are_read_only_where_a_network_longer_than_64_is_near() -> None:
    index = big(6, [*range(HOME, HOME + (1 << 96), 1 << 80)], 64)
    lows = Counted(index.arrays["v6.starts_low"])
    arrays = Arrays6(*(index.arrays[f"v6.{name}"] for name in Arrays6._fields))
    find = finder6(arrays._replace(starts_low=lows))  # type: ignore[arg-type]  # counts
    Counted.reads = 0
    for value in range(HOME, HOME + (1 << 96), 1 << 77):
        assert find(value) == index.find(6, value) == (not value >> 64 & 0xFFFF)
    assert Counted.reads == 0


@pytest.mark.parametrize("longer", [1, 100, 20_000, 200_000])
def test_few_and_many_networks_longer_than_64_among_others_are_found(longer: int) -> None:
    chance = random.Random(longer)
    wide = [Network(6, 0x2A00 << 112 | number << 81, 48) for number in range(50_000)]
    step = 300_000 // longer
    long = [Network(6, 0x2A00 << 112 | n * step << 79 | 0x80 << 56, 96) for n in range(longer)]
    index = index_of(arrays_of([Subject(wide), Subject(long)]))
    assert list(index.problems(2)) == []
    starts = [*map(tuple, zip(index.arrays["v6.starts_high"], index.arrays["v6.starts_low"], strict=True))]
    values = [n.value + d for n in chance.choices(wide + long, k=2000) for d in (-1, 0, 1, 1 << 32, 1 << 63, 1 << 64)]
    for value in values:
        position = bisect.bisect_right(starts, (value >> 64, value & (1 << 64) - 1))
        assert index.find(6, value) == index.find6(value) == index.arrays["v6.sets"][position - 1]
