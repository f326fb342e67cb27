"""Broken arrays of an index are refused, or their problems are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.engine.scan import index_of, problems

from authz.engine.entries.lookup import Index
from authz.errors import SnapshotRefused
from authz.snapshot.sections import INDEX_TYPES


def test_a_good_index_has_no_problems(arrays: dict[str, Any]) -> None:
    assert problems(arrays) == []


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("v4.starts", 2, 10 << 24, ["v4.starts: position 2 is not above the one before it"]),
        ("v4.starts", 3, 1 << 24, ["v4.starts: position 3 is not above the one before it"]),
        ("v4.starts", 4, 0xFFFFFFFF, ["v4.directory: position 1 is 5, expected 4"]),
        ("v6.starts_low", 1, 5, ["v6.starts: position 2 is not above the one before it"]),
        ("v6.starts_low", 2, 0, ["v6.starts: position 2 is not above the one before it"]),
        ("v6.starts_high", 4, 0x20010DB7 << 32, ["v6.starts: position 4 is not above the one before it"]),
        ("v4.directory", 0, 0, []),
        ("v4.directory", 1, 4, ["v4.directory: position 1 is 4, expected 5"]),
        ("v4.directory", 15, 6, ["v4.directory: position 15 is 6, expected 5"]),
        ("v6.parts", 1, 0x2101, ["v6.parts: not the parts in which a piece begins"]),
        ("v6.slots", 0, 3, ["v6.slots: slot 0 is (3, 0), expected (4294967295, 0)"]),
        ("v6.slots", 2, 3, ["v6.slots: slot 1 is (3, 4294967291), expected (0, 4294967291)"]),
        ("v6.slots", 3, 5, ["v6.slots: slot 1 is (0, 5), expected (0, 4294967291)"]),
        ("v6.slots", 3, 9, ["v6.slots: slot 1 is (0, 9), expected (0, 4294967291)"]),
        ("v4.sets", 1, 4, ["members.length: found 128 in a set of IPv4, expected at most 32"]),
        ("v4.sets", 1, 5, ["v4.sets: found number 5, expected less than 5"]),
        ("v6.sets", 2, 0xFFFFFFFF, ["v6.sets: found number 4294967295, expected less than 5"]),
        ("members.entry", 0, 2, ["members.entry: found number 2, expected less than 2"]),
        ("members.length", 0, 129, ["members.length: found 129, expected at most 128"]),
        ("members.length", 0, 128, ["members.length: found 128 in a set of IPv4, expected at most 32"]),
        ("members.length", 3, 128, []),
        ("sets.offset", 2, 4, ["sets.offset: not in order"]),
        ("sets.offset", 0, 1, ["sets.offset: not in order", "sets.offset: set 0 is not empty"]),
        ("sets.offset", 1, 1, ["sets.offset: set 0 is not empty"]),
    ],
)
def test_a_broken_element_is_a_problem_that_is_named(
    arrays: dict[str, Any], name: str, place: int, value: int, expected: list[str]
) -> None:
    arrays[name][place] = value
    assert problems(arrays) == expected


def test_all_problems_are_named(arrays: dict[str, Any]) -> None:
    arrays["v4.sets"][:] = 99
    arrays["v6.slots"][3] = 99
    assert problems(arrays, 1) == [
        "v6.slots: slot 1 is (0, 99), expected (0, 4294967291)",
        "v4.sets: found number 99, expected less than 5",
        "members.entry: found number 1, expected less than 1",
    ]


STARTS4 = "v4.starts and v4.sets: expected equal lengths, the first start 0"
STARTS6 = (
    "v6.starts_high, v6.starts_low and v6.sets (of a large table half of it): expected equal lengths, the first start 0"
)
PARTS = "v6.parts: found part {} of 2^{} slots, expected a number of 8 bits above {}, and at most 2^56 slots"
SLOTS = "v6.slots: found {} numbers, expected two for the {} slots of v6.parts"
MEMBERS = "sets.offset, members.entry and members.length: expected lengths that agree"


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("v4.starts", lambda a: a[:-1], STARTS4),
        ("v4.starts", lambda a: a + 1, STARTS4),
        ("v4.sets", lambda a: a[:0], STARTS4),
        ("v4.sets", lambda a: np.append(a, a[:1]), STARTS4),
        ("v6.starts_high", lambda a: a[1:], STARTS6),
        ("v6.starts_low", lambda a: a[1:], STARTS6),
        ("v6.starts_high", lambda a: a + np.uint64(1), STARTS6),
        ("v6.starts_low", lambda a: a + np.uint64(1), STARTS6),
        ("v6.sets", lambda a: a[:-1], STARTS6),
        ("v6.sets", lambda a: np.append(a, a), STARTS6),
        ("v4.directory", lambda a: a[:-1],
         "v4.directory: found 16 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: a[:0], "v4.directory: found 0 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: np.append(a[:8], a[-1:]),
         "v4.directory: found 9 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: np.append(np.repeat(a[:1], 1 << 19), a[-1:]),
         "v4.directory: found 524289 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: np.append(a[:1] + np.uint32(1), a[1:]), "v4.directory: expected to run from 0 to 5"),
        ("v4.directory", lambda a: np.append(a[:-1], a[-1:] + np.uint32(1)),
         "v4.directory: expected to run from 0 to 5"),
        ("v6.parts", lambda a: a[:0], SLOTS.format(6, 0)),
        ("v6.parts", lambda a: a[:1], SLOTS.format(6, 1)),
        ("v6.parts", lambda a: a[::-1], PARTS.format("0x0", 0, 32)),
        ("v6.parts", lambda a: a[[1, 1]], PARTS.format("0x20", 1, 32)),
        ("v6.parts", lambda a: a + np.uint32(57), PARTS.format("0x0", 57, -1)),
        ("v6.parts", lambda a: a + np.uint32(0x10000), PARTS.format("0x100", 0, -1)),
        ("v6.slots", lambda a: a[:-1], SLOTS.format(5, 3)),
        ("v6.slots", lambda a: np.append(a, a[:2]), SLOTS.format(8, 3)),
        ("sets.offset", lambda a: a[:-1], MEMBERS),
        ("sets.offset", lambda a: a[:1], MEMBERS),
        ("sets.offset", lambda a: a[:0], MEMBERS),
        ("members.entry", lambda a: a[:-1], MEMBERS),
        ("members.length", lambda a: a[:-1], MEMBERS),
        ("members.length", lambda a: np.append(a, a[:1]), MEMBERS),
    ],
)  # fmt: skip
def test_an_index_of_lengths_that_do_not_agree_is_refused(
    arrays: dict[str, Any], name: str, change: Any, expected: str
) -> None:
    arrays[name] = change(arrays[name])
    with pytest.raises(SnapshotRefused) as caught:
        index_of(arrays)
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", sorted(INDEX_TYPES))
def test_an_index_without_one_of_its_arrays_is_refused(arrays: dict[str, Any], name: str) -> None:
    del arrays[name]
    with pytest.raises(SnapshotRefused) as caught:
        index_of(arrays)
    assert str(caught.value) == f"{name}: missing"


@pytest.mark.parametrize(("name", "size"), [("v4.starts", 4), ("v6.starts_low", 8), ("sets.offset", 4)])
def test_an_index_with_half_an_element_is_refused(arrays: dict[str, Any], name: str, size: int) -> None:
    sections = {section: memoryview(array.tobytes()) for section, array in arrays.items()}
    sections[name] = sections[name][:-1]
    with pytest.raises(SnapshotRefused) as caught:
        Index(sections)
    assert str(caught.value) == f"{name}: found {len(sections[name])} bytes, expected a multiple of {size}"
