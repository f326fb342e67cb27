"""Blocks and leaves find what the directory finds."""

from __future__ import annotations

import random
from array import array
from typing import Any

import numpy as np
import pytest
from support.engine.scan import Counted, Subject, arrays_of, big, compare, index_of, network, problems, subject

from authz.engine.entries.lookup import Index, finder4, finder4_by_blocks
from authz.errors import SnapshotRefused
from authz.publisher.index import build
from authz.snapshot.sections import BLOCKS, CUT


@pytest.fixture
def always_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give small tables blocks, too, however finely they are cut."""
    monkeypatch.setattr(build, "MIN_FOR_BLOCKS", 0)
    monkeypatch.setattr(build, "MAX_CUT", 1.0)


def same_by_blocks(arrays: dict[str, Any]) -> Index:
    """Compare both ways of looking up at every start, right before it, and at the edges of its /24."""
    index = index_of(arrays)
    assert len(index.arrays["v4.blocks"]) == BLOCKS
    slow = finder4(index.arrays["v4.starts"], index.arrays["v4.sets"], index.arrays["v4.directory"])
    for start in index.arrays["v4.starts"]:
        for value in (start - 1, start, start + 1, start | 255, (start | 255) + 1, start & ~255, (start & ~255) - 1):
            if 0 <= value < 1 << 32:
                assert index.find4(value) == index.find(4, value) == slow(value), value
    return index


@pytest.mark.usefixtures("always_blocks")
@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["0.0.0.0/0"],
        ["0.0.0.0", "255.255.255.255"],
        ["0.0.0.1", "255.255.255.254"],
        ["255.255.255.0/24", "255.255.255.0/25"],
        ["10.1.2.0/24", "10.1.3.0/24", "10.1.4.0/23", "10.1.31.0/24", "10.1.32.0/24", "10.1.63.128/25"],
        ["10.1.2.0/25", "10.1.3.128/25", "10.1.3.7", "10.1.4.0/24", "10.1.31.255"],
        [f"10.0.0.{number}" for number in range(0, 256, 2)],
        [f"10.0.0.{number}" for number in range(1, 256, 2)],
    ],
    ids=lambda texts: texts[0] if texts else "nothing",
)
def test_blocks_find_what_the_directory_finds(texts: list[str]) -> None:
    subjects = [subject(text) for text in texts]
    same_by_blocks(arrays_of(subjects))
    compare(subjects)


@pytest.mark.usefixtures("always_blocks")
def test_blocks_find_what_the_directory_finds_in_many_networks() -> None:
    chance = random.Random(1)
    lengths = [8, 12, 16, 18, 19, 20, 22, 23, *[24] * 20, 25, 28, 32, 32]
    networks = [network(4, chance.getrandbits(32), chance.choice(lengths)) for _ in range(20_000)]
    index = same_by_blocks(arrays_of([Subject(networks[n::5]) for n in range(5)]))
    assert list(index.problems(5)) == []


@pytest.mark.usefixtures("always_blocks")
def test_the_first_24_may_be_cut_and_its_leaf_is_the_least_that_is() -> None:
    arrays = arrays_of([subject("0.0.0.7"), subject("0.0.0.0/24")])
    assert arrays["v4.leaves"].tolist()[:2] == [CUT | 1, 0]
    index = same_by_blocks(arrays)
    assert [index.members(index.find4(value)) for value in (0, 6, 7, 8, 255, 256)] == [
        [(1, 24)], [(1, 24)], [(0, 32), (1, 24)], [(1, 24)], [(1, 24)], [],
    ]  # fmt: skip


@pytest.mark.parametrize(("first", "leaf"), [(0, CUT), (1, CUT | 1), (2, CUT | 2)])
def test_a_leaf_is_cut_where_bit_31_is_set_whatever_the_rest_of_it(first: int, leaf: int) -> None:
    """A builder writes no place 0, for the first start is 0: by the format it is cut all the same."""
    starts, sets = memoryview(array("I", [0, 5, 9])), memoryview(array("I", [3, 1, 2]))
    find = finder4_by_blocks(starts, sets, memoryview(array("Q", [0])), memoryview(array("I", [leaf])))
    assert [find(value) for value in (starts[first], starts[first] + 1)] == [sets[first]] * 2
    assert find(255) == 2


@pytest.mark.parametrize("number", [0, 1, CUT - 1])
def test_a_leaf_is_a_match_set_where_bit_31_is_not_set(number: int) -> None:
    none, leaves = memoryview(array("I", [0])), memoryview(array("I", [number]))
    assert finder4_by_blocks(none, none, memoryview(array("Q", [0])), leaves)(7) == number


def test_a_table_has_blocks_where_it_is_large_and_seldom_cut_below_24() -> None:
    few = [(10 << 24) + (number << 9) for number in range(130_000)]
    many = [*few, *range(200 << 24, (200 << 24) + 4000, 512)]
    assert len(big(4, few, 24).arrays["v4.blocks"]) == 0
    index = big(4, many, 24)
    assert index.pieces[4] < build.MIN_FOR_BLOCKS
    many += [(100 << 24) + (number << 9) for number in range(10_000)]
    index = big(4, many, 24)
    assert index.pieces[4] >= build.MIN_FOR_BLOCKS
    assert len(index.arrays["v4.blocks"]) == BLOCKS
    assert list(index.problems(1)) == []
    assert len(big(4, many, 32).arrays["v4.blocks"]) == 0


@pytest.mark.usefixtures("always_blocks")
def test_a_look_up_by_blocks_reads_two_elements_and_bisects_only_in_a_24_that_is_cut() -> None:
    index = index_of(arrays_of([subject("10.0.0.0/8", "10.1.2.0/24"), *[subject(f"11.0.0.{n}") for n in range(99)]]))
    arrays = [Counted(index.arrays[f"v4.{name}"]) for name in ("starts", "sets", "blocks", "leaves")]
    find = finder4_by_blocks(*arrays)  # type: ignore[arg-type]  # they count
    for value, most in ((0, 2), (10 << 24, 2), (0x0A010203, 2), ((1 << 32) - 1, 2), (0x0B000007, 11), (0x0B000100, 2)):
        Counted.reads = 0
        assert find(value) == index.find(4, value)
        assert Counted.reads <= most


@pytest.mark.usefixtures("always_blocks")
@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("v4.blocks", 0, 1, "v4.blocks: block 0 does not continue the ones before it"),
        ("v4.blocks", 0, 1 << 32, "v4.blocks: block 0 does not continue the ones before it"),
        ("v4.blocks", 0, 1 << 63 | 1, "v4.blocks: block 0 does not continue the ones before it"),
        ("v4.blocks", 0x0A0102 >> 5, 1, "v4.blocks: block 20489 does not continue the ones before it"),
        ("v4.blocks", 0x0A0102 >> 5, 0b101 << 32 | 3, "v4.leaves: leaf 2 is not what the starts from 0xa010100 on say"),
        ("v4.leaves", 0, 1, "v4.leaves: leaf 0 is not what the starts from 0x0 on say"),
        ("v4.leaves", 2, CUT | 3, "v4.leaves: leaf 2 is not what the starts from 0xa010200 on say"),
        ("v4.leaves", 2, 1, "v4.leaves: leaf 2 is not what the starts from 0xa010200 on say"),
    ],
)
def test_a_broken_block_or_leaf_is_a_problem_that_is_named(name: str, place: int, value: int, expected: str) -> None:
    arrays = arrays_of([subject("10.0.0.0/8"), subject("10.1.2.128/25")])
    assert arrays["v4.leaves"].tolist() == [0, 1, CUT | 2, 1, 0]
    assert problems(arrays) == []
    arrays[name][place] = value
    assert problems(arrays) == [expected]


@pytest.mark.usefixtures("always_blocks")
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("v4.blocks", lambda a: a[:-1]),
        ("v4.blocks", lambda a: a[:0]),
        ("v4.leaves", lambda a: a[:-1]),
        ("v4.leaves", lambda a: a[:0]),
        ("v4.leaves", lambda a: np.append(a, a[:1])),
    ],
)
def test_blocks_that_do_not_go_with_the_leaves_are_refused(name: str, change: Any) -> None:
    arrays = arrays_of([subject("10.0.0.0/8")])
    arrays[name] = change(arrays[name])
    with pytest.raises(SnapshotRefused) as caught:
        index_of(arrays)
    assert str(caught.value) == f"v4.blocks and v4.leaves: expected none, or {BLOCKS} blocks with all leaves"
