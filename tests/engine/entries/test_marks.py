"""The marks of a layer say of each /24 whether one of its files has to be asked; answers are those of all files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.small_layers import layer, policy
from support.publishing.worlds import NOW, deny
from support.suite.effort import tries

from authz.addresses import BITS, Address, Network, format_address, parse_network
from authz.engine.decision.decider import Decider
from authz.engine.entries import marks as marks_module
from authz.engine.entries.marks import marks_of
from authz.engine.entries.ruleset import Ruleset
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.errors import SnapshotRefused
from authz.publisher.bans import Ban, table
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.sections import MARKS, MARKS_SIZE
from authz.snapshot.singles import Singles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from authz.engine.entries.opened_snapshot import OpenedSnapshot

VALUES = st.one_of(
    st.integers(0, 3000), st.integers(0, (1 << 32) - 1), st.sampled_from([0, (1 << 32) - 1, 0x800, 0xFF, 0x100])
)
HALVES = st.one_of(st.integers(0, 3), VALUES.map(lambda value: value << 14), st.integers(0, (1 << 64) - 1))
ADDRESSES = st.one_of(
    st.builds(lambda value: Network(4, value, 32), VALUES),
    st.builds(lambda high, low: Network(6, high << 64 | low, 128), HALVES, HALVES),
)
SEVERAL = st.lists(ADDRESSES, max_size=9)
NETWORKS = st.lists(st.tuples(ADDRESSES, st.integers(0, 15), st.integers(0, 80)), max_size=3).map(
    lambda networks: [wider(address, v4 if address.version == 4 else v6) for address, v4, v6 in networks]
)


def wider(address: Network, host_bits: int) -> Network:
    """Return the network around an address that has so many more bits for hosts."""
    return Network(address.version, address.value >> host_bits << host_bits, address.length - host_bits)


def file(
    addresses: list[Network], networks: Sequence[Network] = (), *, number: int = 1, of: str = "bans"
) -> OpenedSnapshot:
    bans = [Ban(ban_id(number << 32 | place), address) for place, address in enumerate(addresses)]
    subjects = [deny(f"n{place}", str(network)) for place, network in enumerate(networks)]
    return layer(of, *subjects, bans=bans)


def v4(*values: int) -> list[Network]:
    return [Network(4, value, 32) for value in values]


def numbers_of(network: Network) -> set[int]:
    """Return the bits that stand for a network."""
    if network.version == 4:
        return set(range(network.value >> 8, (network.last >> 8) + 1))
    return {number % 16_777_213 for number in range(network.value >> 80, (network.last >> 80) + 1)}


def near(network: Network) -> Iterator[Address]:
    """Yield addresses in a network, beside it, and far from it."""
    bits = BITS[network.version]
    for flipped in (0, 1, 0x100, 1 << 11, 1 << 20, *((1 << 64, 1 << 80, 1 << 90) if bits == 128 else ())):
        value = network.value ^ flipped
        yield Address(network.version, value, format_address(network.version, value))


@settings(max_examples=tries(50), deadline=None)
@given(SEVERAL, NETWORKS, SEVERAL, SEVERAL, st.booleans())
def test_exactly_those_are_marked_that_a_file_covers(
    recent: list[Network], networks: list[Network], first: list[Network], second: list[Network], with_section: bool
) -> None:
    with patch.object(table, "MIN_FOR_MARKS", 1 if with_section else 1 << 16):
        head, parts = file(recent, networks), [file(first, number=2), file(second, number=3)]
    head.parts = tuple(parts)
    found = marks_of([head], marks_of(parts))
    at_once = marks_of([head, *parts])
    assert found is not None
    assert at_once is not None
    plain = Ruleset([policy(), head])
    head.marks = found
    marked = Ruleset([policy(), head])
    covered = [*recent, *networks, *first, *second]
    decides, as_without = Decider(Settings()), Decider(Settings())
    decides.load(marked)
    as_without.load(plain)
    for network in covered:
        for address in near(network):
            numbers = tuple(file.find(address) for file in (head, *parts) if not file.empty)
            expected = numbers if any(numbers) else ()
            assert marked.find(address).others == plain.find(address).others == expected
            asked = Request(address.text, (), "shop")
            answers = [decider.check(asked, NOW)[0].decision for decider in (decides, as_without)]
            assert answers == ["deny" if expected else "allow"] * 2
    expected_bits = set().union(*map(numbers_of, covered))
    for marks in (found, at_once):
        set_bits = set(np.flatnonzero(np.unpackbits(np.frombuffer(marks, np.uint8), bitorder="little")).tolist())
        assert set_bits == {number % (8 * len(marks)) for number in expected_bits}


@settings(max_examples=tries(50), deadline=None)
@given(st.lists(st.tuples(SEVERAL, NETWORKS, SEVERAL, st.booleans()), min_size=1, max_size=4), st.booleans())
def test_several_layers_answer_as_without_marks(
    contents: list[tuple[list[Network], list[Network], list[Network], bool]], policy_has_a_part: bool
) -> None:
    first, *rest = contents
    base = policy()
    base.parts = (file(first[2], number=90, of="policy"),) if policy_has_a_part else ()
    layers = []
    for number, (recent, networks, settled, marked) in enumerate([first, *rest]):
        head = file(recent, networks, number=2 * number, of=f"bans-{number}")
        head.parts = (file(settled, number=2 * number + 1, of=f"bans-{number}"),)
        head.marks = marks_of([head, *head.parts]) if marked else None
        layers.append(head)
    marked_rules = Ruleset([base, *layers])
    for head in layers:
        head.marks = None
    plain = Ruleset([base, *layers])
    for network in [network for recent, networks, settled, _ in contents for network in (*recent, *networks, *settled)]:
        for address in near(network):
            assert marked_rules.find(address) == plain.find(address)


def test_a_file_that_is_asked_though_nothing_is_marked_would_be_seen() -> None:
    addresses = [Network(6, 1, 128), *v4(0x0A000001)]
    head, part = file(v4(1)), file(addresses, number=2)
    head.parts, head.marks = (part,), bytearray(MARKS_SIZE)
    other = file(v4(7), of="other")
    for rules in (Ruleset([policy(), head]), Ruleset([policy(), head, other])):
        for version, value in ((4, 1), (4, 0x0A000001), (6, 1)):
            assert rules.find(Address(version, value, "")).others == ()


@pytest.mark.parametrize(("few", "many"), [("0.0.0.0/22", "0.0.0.0/21"), ("2001:db8::/46", "2001:db8::/45")])
def test_networks_that_cover_very_much_leave_a_layer_without_marks(
    monkeypatch: pytest.MonkeyPatch, few: str, many: str
) -> None:
    monkeypatch.setattr(marks_module, "MAX_WIDE", 4)
    small = parse_network("192.0.2.0/24")
    assert marks_of([file([], [parse_network(few)])]) is not None
    assert marks_of([file([], [parse_network(many)])]) is None
    assert marks_of([file([], [parse_network(few), small])]) is None


@pytest.mark.parametrize(("count", "size"), [(1, 4096), (512, 4096), (513, 8192), (1_000, 8192), (1 << 16, 1 << 19)])
def test_marks_of_few_addresses_are_small(count: int, size: int) -> None:
    """Two MiB for each change of a thousand bans would cost more than all else: their pages are new each time."""
    some = file(v4(*range(0, count << 8, 1 << 8))) if count < 1 << 16 else file([], [parse_network("10.0.0.0/8")])
    marks = marks_of([some])
    assert marks is not None
    assert len(marks) == size
    set_bits = int.from_bytes(marks, "little").bit_count()
    assert set_bits == count
    assert set_bits <= 8 * size / 64


def test_marks_are_made_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []
    monkeypatch.setattr(marks_module, "next_turn", lambda: turns.append(1))
    marks_of([file(v4(1))], bytearray(MARKS_SIZE))
    assert len(turns) == MARKS_SIZE >> 16


def sections(*networks: Network) -> dict[str, memoryview]:
    bans = [Ban(ban_id(place), network) for place, network in enumerate(networks)]
    with patch.object(table, "MIN_FOR_MARKS", 1):
        return {name: memoryview(data) for name, (_, data) in BanTable.of(bans).sections().items()}


def test_many_addresses_bring_their_marks_and_few_do_not() -> None:
    assert MARKS in sections(*v4(7))
    assert MARKS not in BanTable.of([Ban(ban_id(1), Network(4, 7, 32))]).sections()
    assert list(Singles(sections(*v4(7, 1 << 31), Network(6, 7 << 80, 128))).problems()) == []


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
    spoiled = sections(*v4(7))
    spoiled[MARKS] = spoil(spoiled[MARKS])
    with pytest.raises(SnapshotRefused, match=f"singles.marks: {message}"):
        Singles(spoiled)


def test_marks_that_do_not_fit_the_addresses_are_a_problem() -> None:
    spoiled = sections(*v4(7))
    spoiled[MARKS] = changed(spoiled[MARKS], 5)
    assert list(Singles(spoiled).problems()) == ["singles.marks: does not fit the addresses"]
