"""The index against its slow twin, a list of entries that is scanned from end to end."""

from __future__ import annotations

import bisect
import gzip
import itertools
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.shared import shared

from authz.addresses import BITS, Address, Network, network_of, parse_address, parse_networks
from authz.engine.lookup import Index, finder4, finder4_by_blocks, finder6
from authz.errors import InputError, SnapshotRefused
from authz.publisher.index import build
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes, masks
from authz.publisher.policy.read import read_policy
from authz.snapshot.sections import BLOCKS, CUT, INDEX_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Subject(NamedTuple):
    """An entry of the slow twin: its networks, and the holes in them."""

    networks: Sequence[Network]
    holes: Sequence[Network] = ()


def subject(*texts: str) -> Subject:
    """Return an entry of these networks; a text that begins with `!` is a hole."""
    networks = [n for text in texts if text[0] != "!" for n in parse_networks(text)]
    return Subject(networks, [n for text in texts if text[0] == "!" for n in parse_networks(text[1:])])


def arrays_of(subjects: Sequence[Subject]) -> dict[str, Any]:
    return build_index([EntryNetworks(Prefixes.split(s.networks), Prefixes.split(s.holes)) for s in subjects])


def index_of(arrays: dict[str, Any]) -> Index:
    return Index({name: memoryview(array.tobytes()) for name, array in arrays.items()})


def covers(network: Network, version: int, value: int) -> bool:
    return network.version == version and network.value <= value <= network.last


def scan(subjects: Sequence[Subject], version: int, value: int) -> list[tuple[int, int]]:
    """Return the match set of an address by looking at every network of every entry."""
    found = []
    for number, (networks, holes) in enumerate(subjects):
        lengths = [network.length for network in networks if covers(network, version, value)]
        if lengths and not any(covers(hole, version, value) for hole in holes):
            found.append((number, max(lengths)))
    return sorted(found, key=lambda member: (-member[1], member[0]))


def edges(subjects: Sequence[Subject]) -> set[tuple[int, int]]:
    """Return the first and last address of every network, the ones beside them, and the ends of both spaces."""
    found = {(version, value) for version, bits in BITS.items() for value in (0, 1, (1 << bits) - 1)}
    for network in itertools.chain.from_iterable(itertools.chain(s.networks, s.holes) for s in subjects):
        for value in (network.value - 1, network.value, network.value + 1, network.last, network.last + 1):
            if 0 <= value < 1 << BITS[network.version]:
                found.add((network.version, value))
    return found


def compare(subjects: Sequence[Subject], addresses: Sequence[tuple[int, int]] = ()) -> Index:
    """Compare the index with the twin at every edge and at the addresses that are given."""
    arrays = arrays_of(subjects)
    index = index_of(arrays)
    assert list(index.problems(len(subjects))) == []
    for version, value in sorted(edges(subjects)) + list(addresses):
        number = index.find(version, value)
        expected = scan(subjects, version, value)
        assert index.members(number) == expected, (version, value)
        assert (number == 0) == (not expected)
    for name in ("v4.sets", "v6.sets"):
        assert (arrays[name][1:] != arrays[name][:-1]).all()  # equal neighbours are one piece
    used = {0, *arrays["v4.sets"].tolist(), *arrays["v6.sets"].tolist()}
    assert used == set(range(index.set_count))
    assert len({tuple(index.members(number)) for number in used}) == len(used)  # equal sets share a number
    return index


def at(index: Index, text: str) -> list[tuple[int, int]]:
    address = parse_address(text)
    return index.members(index.find(address.version, address.value))


# By hand


def test_the_worked_example_of_the_format_is_what_is_built() -> None:
    arrays = arrays_of([subject("10.0.0.0/8"), subject("10.1.0.0/16")])
    starts = [0, 10 << 24, 10 << 24 | 1 << 16, 10 << 24 | 2 << 16, 11 << 24]
    assert arrays["v4.starts"].tolist() == starts
    assert arrays["v4.sets"].tolist() == [0, 1, 2, 1, 0]
    assert arrays["v4.directory"].tolist() == [0, *[5] * 16]
    assert arrays["sets.offset"].tolist() == [0, 0, 1, 3]
    assert arrays["members.entry"].tolist() == [0, 1, 0]
    assert arrays["members.length"].tolist() == [8, 16, 8]
    for name in ("v6.starts_high", "v6.starts_low", "v6.sets"):
        assert arrays[name].tolist() == [0]
    assert set(arrays) == set(INDEX_TYPES)


def test_the_worked_example_of_the_build_has_a_hole_in_the_outer_entry_only() -> None:
    index = compare([subject("10.0.0.0/8", "!10.1.2.0/24"), subject("10.1.0.0/16")])
    assert at(index, "10.1.1.255") == [(1, 16), (0, 8)]
    assert at(index, "10.1.2.7") == [(1, 16)]
    assert at(index, "10.2.0.0") == [(0, 8)]
    assert at(index, "11.0.0.0") == []


def test_an_index_of_nothing_finds_nothing() -> None:
    for subjects in ([], [Subject([])], [subject("!10.0.0.0/8")]):
        index = compare(subjects)
        assert index.pieces == {4: 1, 6: 1}
        assert index.set_count == 1
        assert at(index, "10.0.0.1") == at(index, "::") == []


def test_the_longest_prefix_of_an_entry_is_the_one_that_is_found() -> None:
    index = compare([subject("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3")])
    assert at(index, "10.1.2.3") == [(0, 32)]
    assert at(index, "10.1.2.4") == [(0, 24)]
    assert at(index, "10.1.3.0") == [(0, 16)]
    assert at(index, "10.2.0.0") == [(0, 8)]


def test_a_match_set_has_the_longest_prefix_first_and_then_the_first_entry() -> None:
    index = compare([subject("10.0.0.0/8"), subject("10.1.0.0/16"), subject("10.0.0.0/8"), subject("10.1.0.0/16")])
    assert at(index, "10.1.0.0") == [(1, 16), (3, 16), (0, 8), (2, 8)]


def test_repeated_networks_of_an_entry_count_once() -> None:
    assert index_of(arrays_of([subject("10.0.0.0/8", "10.0.0.0/8")])).pieces[4] == 3
    assert at(compare([subject("10.0.0.0/8", "10.0.0.0/8")]), "10.0.0.0") == [(0, 8)]


@pytest.mark.parametrize(
    ("texts", "pieces"),
    [
        (["10.0.0.0/9", "10.128.0.0/9"], 3),  # nothing, both, nothing
        (["10.0.0.0/8", "11.0.0.0/8"], 3),
        (["10.0.0.0/8", "12.0.0.0/8"], 5),
        (["10.0.0.0/9", "10.128.0.0/10"], 4),  # the lengths differ
        (["10.0.0.0/8", "!10.0.0.0/8"], 1),
        (["10.0.0.0/8", "!10.0.0.0/9"], 3),
        (["0.0.0.0/0"], 1),
        (["0.0.0.0/1", "128.0.0.0/1"], 1),
        (["192.0.2.0-192.0.2.255"], 3),
    ],
)
def test_neighbours_with_equal_match_sets_are_one_piece(texts: list[str], pieces: int) -> None:
    assert compare([subject(*texts)]).pieces[4] == pieces


def test_neighbours_of_different_entries_are_two_pieces() -> None:
    assert compare([subject("10.0.0.0/9"), subject("10.128.0.0/9")]).pieces[4] == 4


def test_equal_match_sets_of_both_versions_share_a_number() -> None:
    index = compare([subject("10.0.0.0/32", "2001:db8::/32"), subject("11.0.0.0/16")])
    assert index.set_count == 3
    assert index.find(4, 10 << 24) == index.find(6, 0x20010DB8 << 96) != 0


def test_networks_of_one_version_cover_nothing_of_the_other() -> None:
    index = compare([subject("0.0.0.0/0")])
    assert at(index, "::") == at(index, "ffff::") == []
    assert at(compare([subject("::/0")]), "0.0.0.0") == []


EDGES = [
    ["0.0.0.0/0", "::/0"],
    ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["0.0.0.0/0", "!0.0.0.0", "!255.255.255.255", "::/0", "!::", "!ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"],
    ["0.0.0.0/0", "!0.0.0.0/1", "::/0", "!8000::/1"],
    ["255.255.255.254/31", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "ffff:ffff:ffff:ffff::/64"],
    ["::/64", "0:0:0:1::/64", "0:0:0:1::", "0:0:0:0:ffff:ffff:ffff:ffff"],
    ["2001:db8::/63", "2001:db8::/64", "2001:db8::/65", "2001:db8:0:0:8000::/65", "2001:db8:0:1::/128"],
    ["2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::", "2001:db8::8000:0:0:0"],
]


@pytest.mark.parametrize("texts", EDGES, ids=lambda texts: texts[0])
def test_the_edges_of_the_address_space_and_of_halves_of_an_ipv6_address_are_exact(texts: list[str]) -> None:
    compare([subject(*texts)])
    compare([subject(*texts), subject(*reversed(texts)), subject("0.0.0.0/0", "::/0")])
    compare([subject(text) for text in texts if text[0] != "!"])


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("ones", [False, True])
def test_networks_may_be_nested_at_every_length(version: int, ones: bool) -> None:
    address = Address(version, (1 << BITS[version]) - 1 if ones else 0, "")
    nested = [network_of(address, length) for length in range(BITS[version] + 1)]
    index = compare([Subject(nested)])
    assert index.members(index.find(version, address.value)) == [(0, BITS[version])]
    index = compare([Subject([network]) for network in nested])
    assert index.members(index.find(version, address.value)) == [(n, n) for n in range(BITS[version], -1, -1)]


@pytest.mark.parametrize("text", ["192.0.2.0/24", "2001:db8::/48", "0.0.0.0/0"])
def test_many_entries_may_be_on_one_prefix(text: str) -> None:
    inner = network_of(Address(*parse_networks(text)[0][:2], ""), parse_networks(text)[0].length + 4)
    subjects = [Subject(parse_networks(text), [inner] if number % 3 == 0 else []) for number in range(300)]
    index = compare(subjects)
    assert len(index.members(index.find(inner.version, inner.value))) == 200
    assert len(index.members(index.find(inner.version, inner.last + 1))) == 300
    assert index.set_count == 3


def test_a_hole_takes_out_networks_that_are_longer_shorter_and_equal() -> None:
    index = compare([subject("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "!10.1.0.0/16", "!10.9.9.9")])
    assert at(index, "10.1.2.3") == at(index, "10.1.0.0") == at(index, "10.9.9.9") == []
    assert at(index, "10.0.255.255") == at(index, "10.2.0.0") == [(0, 8)]


def test_a_hole_of_one_entry_is_no_hole_of_another() -> None:
    index = compare([subject("10.0.0.0/8", "!10.0.0.0/8"), subject("10.0.0.0/8")])
    assert at(index, "10.0.0.0") == [(1, 8)]


@pytest.mark.parametrize(
    ("networks", "bits"),
    [(0, 4), (7, 4), (8, 5), (16, 6), (40_000, 17), (70_000, 18), (140_000, 18)],
)
def test_the_directory_grows_with_the_number_of_pieces_up_to_a_limit(networks: int, bits: int) -> None:
    one = Prefixes.of(4, [number << 8 for number in range(1, 2 * networks, 2)], [24] * networks)
    other = Prefixes.of(6, [number << 80 for number in range(1, 2 * networks, 2)], [48] * networks)
    arrays = build_index([EntryNetworks({4: one, 6: other}, Prefixes.split([]))])
    assert len(arrays["v4.directory"]) == (1 << bits) + 1
    assert len(arrays["v6.directory"]) == (1 << bits) + 1
    index = index_of(arrays)
    assert index.pieces == {4: 2 * networks + 1, 6: 2 * networks + 1}
    assert list(index.problems(1)) == []


def test_progress_is_told_up_to_the_end_for_both_versions() -> None:
    told: list[tuple[str, int, int]] = []
    entry = subject("10.0.0.0/8", "10.1.0.0/16", "!10.1.1.0/24", "2001:db8::/32", "2001:db8::1")
    networks = EntryNetworks(Prefixes.split(entry.networks), Prefixes.split(entry.holes))
    build_index([networks], lambda *step: told.append(step))
    assert told == [("index IPv4", 1, 3), ("index IPv4", 2, 3), ("index IPv4", 3, 3), ("index IPv6", 1, 2),
                    ("index IPv6", 2, 2)]  # fmt: skip


def test_entries_that_overlap_beyond_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_MEMBERS", 3)  # {a} and {a, b}
    assert at(compare([subject("10.0.0.0/8"), subject("10.0.0.0/8")]), "10.0.0.0") == [(0, 8), (1, 8)]
    with pytest.raises(InputError) as caught:
        arrays_of([subject("10.0.0.0/8")] * 3)
    assert caught.value.message == ("found more than 3 members of match sets, expected fewer: too many entries overlap")
    assert caught.value.hint == "give networks that share reason and window to one entry"


# Against the twin


def network(version: int, value: int, length: int) -> Network:
    host_bits = BITS[version] - length
    return Network(version, value >> host_bits << host_bits, length)


# Values from a small space at both ends of an address and beside the border of the halves, so that networks nest.
SMALL = st.integers(0, 7)
NETWORKS4 = st.builds(
    lambda high, low, length: network(4, high << 29 | low, length),
    SMALL, SMALL, st.sampled_from([0, 1, 2, 3, 4, 16, 29, 30, 31, 32]),
)  # fmt: skip
NETWORKS6 = st.builds(
    lambda high, middle, low, length: network(6, high << 125 | middle << 62 | low, length),
    SMALL, st.integers(0, 15), SMALL, st.sampled_from([0, 1, 2, 3, 32, 62, 63, 64, 65, 66, 125, 126, 127, 128]),
)  # fmt: skip
NETWORKS = st.one_of(NETWORKS4, NETWORKS6)
SUBJECTS = st.lists(st.builds(Subject, st.lists(NETWORKS, max_size=6), st.lists(NETWORKS, max_size=3)), max_size=5)


@settings(max_examples=150, deadline=None)
@given(SUBJECTS)
@example([subject("::/0", "!::/65"), subject("::/64", "!::"), subject("::8000:0:0:0/65")])
def test_the_index_finds_what_a_scan_from_end_to_end_finds(subjects: list[Subject]) -> None:
    compare(subjects)


@pytest.mark.parametrize("seed", range(8))
def test_the_index_finds_what_a_scan_finds_over_many_random_networks(seed: int) -> None:
    chance = random.Random(seed)

    def some(version: int, count: int, shortest: int) -> list[Network]:
        # A few starting points, and networks around them: like the blocks of a few providers.
        bits = BITS[version]
        homes = [chance.getrandbits(bits) for _ in range(5)]
        found = []
        for _ in range(count):
            value = chance.choice(homes) ^ chance.getrandbits(chance.randrange(1, bits + 1))
            found.append(network(version, value, chance.randrange(shortest, bits + 1)))
        return found

    subjects = [
        Subject(some(4, 8, 4) + some(6, 8, 8), some(4, 2, 8) + some(6, 2, 16) if number % 2 else [])
        for number in range(25)
    ]
    compare(subjects, [(version, chance.getrandbits(bits)) for version, bits in BITS.items() for _ in range(200)])


@settings(max_examples=200)
@given(st.lists(NETWORKS, max_size=8), st.lists(NETWORKS, max_size=4))
def test_prefixes_know_their_ends_and_what_lies_inside_them(some: list[Network], others: list[Network]) -> None:
    for version, bits in BITS.items():
        mine = [n for n in some if n.version == version]
        prefixes = Prefixes.split(some)[version]
        high, low = prefixes.ends()
        ends = [int(h) << 64 | int(low_half) for h, low_half in zip(high, low, strict=True)]
        assert ends == [((n.last + 1) << (128 - bits)) % (1 << 128) for n in mine]
        inside = prefixes.inside(Prefixes.split(others)[version]).tolist()
        assert inside == [any(covers(o, version, n.value) and o.length <= n.length for o in others) for n in mine]


@pytest.mark.parametrize("length", range(129))
def test_a_mask_has_as_many_leading_ones_as_asked_for(length: int) -> None:
    high, low = masks(length)
    assert f"{int(high):064b}{int(low):064b}" == "1" * length + "0" * (128 - length)


# What a look-up costs


class Counted:
    """An array that counts how often one of its elements is read."""

    reads = 0

    def __init__(self, array: Any) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place: Any) -> Any:
        Counted.reads += 1
        return self._array[place]


def most_reads(index: Index, version: int, values: Sequence[int]) -> int:
    """Return how many elements are read by the dearest of these look-ups, all arrays together."""
    names = {4: ("starts", "sets", "directory"), 6: ("starts_high", "starts_low", "sets", "directory")}[version]
    arrays: list[Any] = [Counted(index.arrays[f"v{version}.{name}"]) for name in names]
    find = finder4(*arrays) if version == 4 else finder6(*arrays)
    most = 0
    for value in values:
        Counted.reads = 0
        assert find(value) == index.find(version, value)
        most = max(most, Counted.reads)
    return most


def big(version: int, values: Sequence[int], length: int) -> Index:
    prefixes = {4: Prefixes.of(4, [], []), 6: Prefixes.of(6, [], [])}
    prefixes[version] = Prefixes.of(version, values, [length] * len(values))
    return index_of(build_index([EntryNetworks(prefixes, Prefixes.split([]))]))


@pytest.mark.parametrize("version", [4, 6])
def test_a_look_up_among_a_million_spread_pieces_reads_six_elements(version: int) -> None:
    # Every second /20, so 2^20 pieces, four in each of the 2^18 parts of the directory.
    bits = BITS[version]
    index = big(version, range(0, 1 << bits, 1 << bits - 19), 20)
    assert index.pieces[version] == 1 << 20
    chance = random.Random(1)
    values = [chance.getrandbits(bits) for _ in range(2000)] + [0, (1 << bits) - 1]
    # Two of the directory, log2(4) + 1 of the starts, and the number of the set.
    assert most_reads(index, version, values) <= 2 + 3 + 1


def test_a_look_up_where_nothing_begins_reads_no_start() -> None:
    index = big(4, [10 << 24, 12 << 24], 8)
    assert most_reads(index, 4, [*range(16 << 24, 1 << 32, 1 << 24)]) == 3
    index = big(6, [0x20010DB8 << 96], 32)
    assert most_reads(index, 6, [*range(3 << 124, 1 << 128, 1 << 124)]) == 3


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
    # Two of the directory, the high halves of the first and the last, the low halves, and the number of the set.
    assert 10 < most_reads(index, 6, values) <= 5 + math.ceil(math.log2(pieces)) + 1


def test_a_look_up_beside_ipv6_networks_that_cut_a_64_reads_as_many_as_three_bisections() -> None:
    index = big(6, [*range(HOME, HOME + 60_000, 2), *range(HOME + (1 << 64), HOME + (1 << 64) + 60_000, 2)], 128)
    values = [HOME - 1, *range(HOME, HOME + 60_004, 97), HOME + (1 << 64) - 1, HOME + (5 << 64)]
    assert 10 < most_reads(index, 6, values) <= 7 + 3 * (math.ceil(math.log2(index.pieces[6])) + 1)


def test_low_halves_are_read_only_where_a_network_longer_than_64_is_near() -> None:
    index = big(6, [*range(HOME, HOME + (1 << 96), 1 << 80)], 64)
    lows = Counted(index.arrays["v6.starts_low"])
    find = finder6(*[index.arrays["v6.starts_high"], lows, index.arrays["v6.sets"], index.arrays["v6.directory"]])  # type: ignore[arg-type]  # counts
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


# Blocks and leaves


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


# Broken arrays

GOOD = [subject("10.0.0.0/8", "2001:db8::/32", "2001:db8::1"), subject("10.1.0.0/16")]


@pytest.fixture
def arrays() -> dict[str, Any]:
    return arrays_of(GOOD)


def problems(arrays: dict[str, Any], entries: int = 2) -> list[str]:
    return list(index_of(arrays).problems(entries))


def test_a_good_index_has_no_problems(arrays: dict[str, Any]) -> None:
    assert problems(arrays) == []


@pytest.mark.parametrize(
    ("name", "place", "value", "expected"),
    [
        ("v4.starts", 2, 10 << 24, ["v4.starts: position 2 is not above the one before it"]),
        ("v4.starts", 3, 1 << 24, ["v4.starts: position 3 is not above the one before it"]),
        ("v4.starts", 4, 0xFFFFFFFF, ["v4.directory: position 1 is 5, expected 4"]),
        ("v6.starts_low", 2, 0, ["v6.starts: position 2 is not above the one before it"]),
        ("v6.starts_high", 4, 0x20010DB7 << 32, ["v6.starts: position 4 is not above the one before it"]),
        ("v4.directory", 0, 0, []),
        ("v4.directory", 1, 4, ["v4.directory: position 1 is 4, expected 5"]),
        ("v4.directory", 15, 6, ["v4.directory: position 15 is 6, expected 5"]),
        ("v6.directory", 3, 1, ["v6.directory: position 3 is 1, expected 5"]),
        ("v4.sets", 1, 4, []),
        ("v4.sets", 1, 5, ["v4.sets: found number 5, expected less than 5"]),
        ("v6.sets", 2, 0xFFFFFFFF, ["v6.sets: found number 4294967295, expected less than 5"]),
        ("members.entry", 0, 2, ["members.entry: found number 2, expected less than 2"]),
        ("members.length", 0, 129, ["members.length: found 129, expected at most 128"]),
        ("members.length", 0, 128, []),
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
    arrays["v6.directory"][3] = 99
    assert problems(arrays, 1) == [
        "v6.directory: position 3 is 99, expected 5",
        "v4.sets: found number 99, expected less than 5",
        "members.entry: found number 1, expected less than 1",
    ]


STARTS4 = "v4.starts and v4.sets: expected equal lengths, the first start 0"
STARTS6 = "v6.starts_high, v6.starts_low and v6.sets: expected equal lengths, the first start 0"
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
        ("v4.directory", lambda a: a[:-1],
         "v4.directory: found 16 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: a[:0], "v4.directory: found 0 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: np.append(a[:8], a[-1:]),
         "v4.directory: found 9 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v6.directory", lambda a: np.append(np.repeat(a[:1], 1 << 19), a[-1:]),
         "v6.directory: found 524289 positions, expected 2^k + 1 with k from 4 to 18"),
        ("v4.directory", lambda a: np.append(a[:1] + np.uint32(1), a[1:]), "v4.directory: expected to run from 0 to 5"),
        ("v6.directory", lambda a: np.append(a[:-1], a[-1:] + np.uint32(1)),
         "v6.directory: expected to run from 0 to 5"),
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
    sections = {one: memoryview(array.tobytes()) for one, array in arrays.items()}
    sections[name] = sections[name][:-1]
    with pytest.raises(SnapshotRefused) as caught:
        Index(sections)
    assert str(caught.value) == f"{name}: found {len(sections[name])} bytes, expected a multiple of {size}"


# Real data


def test_the_routing_table_of_the_internet_is_one_entry_and_every_answer_of_its_oracle_is_right(tmp_path: Path) -> None:
    table, oracle = shared("data/lpm/bgp-full-table-prefixes.txt.gz"), shared("data/lpm/bgp-lpm-oracle.tsv.gz")
    with gzip.open(table) as packed:
        (tmp_path / "bgp.txt").write_bytes(packed.read())
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nentries: [{id: routed, list: allow, sources: [bgp]}]\nfeeds: [{source: bgp, path: bgp.txt}]\n"
    )
    policy = read_policy(tmp_path / "policy.yaml")
    feed = policy.feeds[0].feed
    assert (feed.taken, feed.skipped) == (1_062_046, ())
    assert {version: len(prefixes) for version, prefixes in feed.networks.items()} == {4: 901_899, 6: 160_147}
    index = index_of(build_index(policy.networks))
    assert list(index.problems(1)) == []
    asked = 0
    with gzip.open(oracle, "rt") as lines:
        for line in lines:
            text, expected = line.split()
            address = parse_address(text)
            members = index.members(index.find(address.version, address.value))
            found = [str(network_of(address, length)) for entry, length in members if entry == 0]
            assert found == ([] if expected == "-" else [expected]), text
            asked += 1
    assert asked == 30_000
