"""The marks of a layer say of each /24 whether one of its files has to be asked; answers are those of all files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.small_layers import layer, policy
from support.publishing.worlds import deny

from authz.addresses import Address, Network, format_address
from authz.engine.entries import marks as marks_module
from authz.engine.entries.marks import marks_of
from authz.engine.entries.ruleset import Ruleset
from authz.errors import SnapshotRefused
from authz.publisher.bans import Ban, table
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.sections import MARKS, MARKS_SIZE
from authz.snapshot.singles import Singles

if TYPE_CHECKING:
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

VALUES = st.one_of(
    st.integers(0, 3000), st.integers(0, (1 << 32) - 1), st.sampled_from([0, (1 << 32) - 1, 0x800, 0xFF, 0x100])
)
SEVERAL = st.lists(VALUES, max_size=9)
NETWORKS = st.lists(st.tuples(VALUES, st.integers(17, 32)), max_size=3)


def file(values: list[int], networks: list[tuple[int, int]] = [], *, number: int = 1) -> OpenedSnapshot:  # noqa: B006
    bans = [Ban(ban_id(number << 32 | place), Network(4, value, 32)) for place, value in enumerate(values)]
    subjects = [
        deny(f"n{place}", str(Network(4, value >> 32 - length << 32 - length, length)))
        for place, (value, length) in enumerate(networks)
    ]
    return layer("bans", *subjects, bans=bans)


@settings(max_examples=50, deadline=None)
@given(SEVERAL, NETWORKS, SEVERAL, SEVERAL, st.booleans())
def test_exactly_the_24_are_marked_that_a_file_covers(
    recent: list[int], networks: list[tuple[int, int]], first: list[int], second: list[int], with_section: bool
) -> None:
    with patch.object(table, "MIN_FOR_MARKS", 1 if with_section else 1 << 16):
        head, parts = file(recent, networks), [file(first, number=2), file(second, number=3)]
    head.parts = tuple(parts)
    found = marks_of([head], marks_of(parts))
    assert found == marks_of([head, *parts])
    assert found is not None
    plain = Ruleset([policy(), head])
    head.marks = found
    marked = Ruleset([policy(), head])
    for value in {*recent, *first, *second, *(value for value, _ in networks)}:
        for near in (value, value ^ 1, value ^ 0x100, value ^ 0x800, value ^ 1 << 20):
            address = Address(4, near, format_address(4, near))
            assert marked.find(address) == plain.find(address)
    marked_24 = set(np.flatnonzero(np.unpackbits(np.frombuffer(found, np.uint8), bitorder="little")).tolist())
    covered = {value >> 8 for value in (*recent, *first, *second)}
    for value, length in networks:
        network = Network(4, value >> 32 - length << 32 - length, length)
        covered |= set(range(network.value >> 8, (network.last >> 8) + 1))
    assert marked_24 == covered


def test_a_file_that_is_asked_though_nothing_is_marked_would_be_seen() -> None:
    head, part = file([1]), file([0x0A000001], number=2)
    head.parts, head.marks = (part,), bytearray(MARKS_SIZE)
    find = Ruleset([policy(), head]).find_others
    assert find
    assert find(4, 1) is find(4, 0x0A000001) is None
    assert find(6, 1) is None


def test_networks_that_cover_very_much_leave_a_layer_without_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks_module, "MAX_WIDE", 4)
    assert marks_of([file([], [(0, 22)])]) is not None
    assert marks_of([file([], [(0, 21)])]) is None
    assert marks_of([file([], [(0, 22), (1 << 20, 24)])]) is None


def sections(values: list[int]) -> dict[str, memoryview]:
    bans = [Ban(ban_id(place), Network(4, value, 32)) for place, value in enumerate(values)]
    with patch.object(table, "MIN_FOR_MARKS", 1):
        return {name: memoryview(data) for name, (_, data) in BanTable.of(bans).sections().items()}


def test_many_addresses_bring_their_marks_and_few_do_not() -> None:
    assert MARKS in sections([7])
    assert MARKS not in BanTable.of([Ban(ban_id(1), Network(4, 7, 32))]).sections()
    assert list(Singles(sections([7, 1 << 31])).problems()) == []


def changed(data: memoryview, place: int) -> memoryview:
    return memoryview(bytes(data[:place]) + bytes([data[place] ^ 1]) + bytes(data[place + 1 :]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-1], "found 2097151 bytes, expected 2097152"),
        (lambda data: memoryview(bytes(data) + b"\0"), "found 2097153 bytes, expected 2097152"),
    ],
)
def test_marks_of_another_length_are_refused(spoil: Any, message: str) -> None:
    spoiled = sections([7])
    spoiled[MARKS] = spoil(spoiled[MARKS])
    with pytest.raises(SnapshotRefused, match=f"singles.v4_marks: {message}"):
        Singles(spoiled)


def test_marks_that_do_not_fit_the_addresses_are_a_problem() -> None:
    spoiled = sections([7])
    spoiled[MARKS] = changed(spoiled[MARKS], 5)
    assert list(Singles(spoiled).problems()) == ["singles.v4_marks: does not fit the addresses"]
