"""The columns of single addresses, compared with a list that is scanned from end to end."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.suite.effort import tries

from authz.addresses import BITS, Network, parse_network
from authz.errors import SnapshotRefused
from authz.publisher.bans.record import Ban
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_id, ban_number
from authz.snapshot.sections import SINGLES_TYPES, SIZES
from authz.snapshot.singles import Singles, tombstones

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

V4 = st.one_of(st.integers(0, 40), st.integers(0, (1 << 32) - 1), st.sampled_from([0, (1 << 32) - 1, 10 << 24]))
HALF = st.one_of(st.integers(0, 3), st.integers(0, (1 << 64) - 1), st.sampled_from([0, (1 << 64) - 1]))
V6 = st.builds(lambda high, low: high << 64 | low, HALF, HALF)
ADDRESSES = st.one_of(V4.map(lambda v: (4, v)), V6.map(lambda v: (6, v)))


def sections_of(bans: Iterable[Ban]) -> dict[str, memoryview]:
    return {name: memoryview(data) for name, (_, data) in BanTable.of(bans).sections().items()}


def bans_of(addresses: Iterable[tuple[int, int]], **fields: Any) -> list[Ban]:
    return [
        Ban(ban_id(number), Network(version, value, BITS[version]), **fields)
        for number, (version, value) in enumerate(addresses)
    ]


@settings(max_examples=tries(300), deadline=None)
@given(addresses=st.lists(ADDRESSES, max_size=40), others=st.lists(ADDRESSES, max_size=20))
def test_every_address_is_found_with_all_its_rows_and_no_other(
    addresses: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    singles = Singles(sections_of(bans_of(addresses)))
    assert list(singles.problems()) == []
    for version, value in [*addresses, *others, *((v, w ^ 1) for v, w in addresses)]:
        row = singles.find4(value) if version == 4 else singles.find6(value)
        found = [singles.row(r) for r in singles.rows_at(row)] if row else []
        assert all((single.version, single.value) == (version, value) for single in found)
        expected = [number for number, address in enumerate(addresses) if address == (version, value)]
        assert sorted(single.number for single in found) == expected


@settings(max_examples=tries(200), deadline=None)
@given(addresses=st.lists(ADDRESSES, max_size=40), ends=st.tuples(ADDRESSES, ADDRESSES))
def test_the_rows_of_a_range_are_those_whose_addresses_are_in_it(
    addresses: list[tuple[int, int]], ends: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    singles = Singles(sections_of(bans_of(addresses)))
    for version in (4, 6):
        mask = (1 << BITS[version]) - 1
        first, last = sorted(value & mask for _, value in ends)
        in_range = [singles.address(row) for row in singles.rows_in(version, first, last)]
        assert in_range == sorted(a for a in addresses if a[0] == version and first <= a[1] <= last)
        assert len(singles.rows_in(version, 0, mask)) == sum(a[0] == version for a in addresses)


def test_a_row_is_an_entry_with_its_template_its_id_and_its_times() -> None:
    bans = [
        Ban(ban_id(0xA1), parse_network("192.0.2.7"), "deny", frozenset({"shop"}), reason="guessing", author="ops",
            expires=2000, added=1000),
        Ban(ban_id(7), parse_network("2001:db8::1"), "gray", action="warn", added=900),
    ]  # fmt: skip
    singles = Singles(sections_of(bans))
    entry = singles.entry(singles.find4(0xC0000207))
    assert (entry.id, entry.list, entry.action, list(entry.applications)) == (
        "b-00000000000000a1", "deny", "block", ["shop"],
    )  # fmt: skip
    assert (entry.reason, entry.author, entry.expires, entry.added) == ("guessing", "ops", 2000, 1000)
    other = singles.entry(singles.find6(0x20010DB8 << 96 | 1))
    assert (other.id, other.list, other.action, other.HasField("expires"), other.added) == (
        "b-0000000000000007", "gray", "warn", False, 900,
    )  # fmt: skip


def test_the_last_end_is_known_and_never_is_the_last_of_all() -> None:
    assert Singles(sections_of([])).last_expiry == 0
    assert Singles(sections_of(bans_of([(4, 1), (6, 1)], expires=7))).last_expiry == 7
    assert Singles(sections_of(bans_of([(4, 1)]))).last_expiry == 0xFFFFFFFF


def test_the_id_of_a_ban_as_text_and_back() -> None:
    for number in (0, 0xA1, (1 << 64) - 1):
        assert ban_number(ban_id(number)) == number
    for text in ("", "b-", "b-00000000000000A1", "b-0000000000000001\n", "office", "e-00000000000000a1"):
        assert ban_number(text) is None


def test_tombstones_are_read_and_a_file_may_have_none() -> None:
    assert tombstones({}) == frozenset()
    assert tombstones({"tombstones": memoryview(struct.pack("<2Q", 7, 1 << 63))}) == {7, 1 << 63}
    with pytest.raises(SnapshotRefused, match="found 9 bytes"):
        tombstones({"tombstones": memoryview(bytes(9))})
    with pytest.raises(SnapshotRefused, match="found 100001 ids, expected at most 100000"):
        tombstones({"tombstones": memoryview(bytes(800_008))})


GOOD = sections_of(bans_of([(4, 1), (4, 2), (6, 1)], reason="why"))


@pytest.mark.parametrize("name", sorted(SINGLES_TYPES))
def test_columns_that_are_missing_or_do_not_fit_are_refused(name: str) -> None:
    size = SIZES[SINGLES_TYPES[name]]
    without = {key: data for key, data in GOOD.items() if key != name}
    for broken in (without, {**GOOD, name: GOOD[name][:-1]}, {**GOOD, name: GOOD[name][:-size]}):
        with pytest.raises(SnapshotRefused):
            Singles.of(broken)


def test_a_snapshot_without_the_columns_has_no_singles() -> None:
    assert Singles.of({}) is None


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "not in order": ("singles.v4", lambda data: data[4:] + data[:4]),
    "does not fit": ("singles.v4_directory", lambda data: data[:4] + bytes(4) + data[8:]),
    "found an id twice": ("singles.id", lambda data: data[:8] * 3),
}


@pytest.mark.parametrize("expected", BROKEN)
def test_what_only_reading_all_can_find_is_named(expected: str) -> None:
    name, change = BROKEN[expected]
    problems = list(Singles({**GOOD, name: memoryview(change(bytes(GOOD[name])))}).problems())
    assert any(expected in problem for problem in problems)


@pytest.mark.parametrize("name", ["singles.v4_directory", "singles.v6_directory"])
@pytest.mark.parametrize("position", [4, 0xFFFFFFFF])
def test_a_directory_that_points_behind_the_addresses_is_refused(name: str, position: int) -> None:
    """The look-up of each client raised an error: a key of bans could have every request fail."""
    positions = struct.unpack(f"<{len(GOOD[name]) // 4}I", GOOD[name])
    for place in range(1, len(positions) - 1):
        broken = struct.pack(f"<{len(positions)}I", *positions[:place], position, *positions[place + 1 :])
        with pytest.raises(SnapshotRefused, match=rf"{name}: not in order"):
            Singles({**GOOD, name: memoryview(broken)})


@settings(max_examples=tries(200), deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(n for n in SINGLES_TYPES if not n.startswith("templates"))))
def test_whatever_the_columns_hold_a_look_up_raises_nothing(data: st.DataObject, name: str) -> None:
    """Signed by a key that is online: what is accepted must answer for every client."""
    content = data.draw(st.binary(min_size=len(GOOD[name]), max_size=len(GOOD[name])))
    try:
        singles = Singles({**GOOD, name: memoryview(content)})
    except SnapshotRefused:
        return
    for value in (0, 1, 2, 3, 1 << 31, (1 << 32) - 1):
        for row in (singles.find4(value), singles.find6(value << 96), singles.find6(value)):
            for each in singles.rows_at(row) if row else ():
                singles.entry(each)


def test_a_template_that_is_not_there_is_refused() -> None:
    with pytest.raises(SnapshotRefused, match=r"found a number above 0, the last template"):
        Singles({**GOOD, "singles.template": memoryview(struct.pack("<3I", 0, 1, 0))})
