"""The index against its slow twin, a list of entries that is scanned from end to end."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.engine.scan import Subject, arrays_of, compare, covers, edges, index_of, network, subject
from support.suite.effort import tries
from support.suite.shared import shared

from authz.addresses import BITS, Address, Network, network_of, parse_address, parse_networks
from authz.errors import InputError
from authz.publisher.index import build
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes, masks
from authz.publisher.policy.read import read_policy
from authz.snapshot.sections import INDEX_TYPES, MAX_SLOTS

if TYPE_CHECKING:
    from pathlib import Path

    from authz.engine.entries.lookup import Index


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
    [(0, 4), (8, 4), (9, 5), (16, 5), (33_000, 16), (34_000, 17), (40_000, 17), (70_000, 18), (140_000, 18)],
)
def test_the_directory_grows_with_the_number_of_pieces_up_to_a_limit(networks: int, bits: int) -> None:
    prefixes = Prefixes.of(4, [number << 8 for number in range(1, 2 * networks, 2)], [24] * networks)
    arrays = build_index([EntryNetworks({4: prefixes, 6: Prefixes.of(6, [], [])}, Prefixes.split([]))])
    assert len(arrays["v4.directory"]) == (1 << bits) + 1
    index = index_of(arrays)
    assert index.pieces == {4: 2 * networks + 1, 6: 1}
    assert list(index.problems(1)) == []


@pytest.mark.parametrize(
    ("networks", "parts"),
    [(0, [(0, 0)]), (7, [(0, 0), (0x20, 4)]), (2_048, [(0, 0), (0x2001, 12)]), (150_000, [(0, 0), (0x2001, 17)])],
)
def test_the_parts_of_ipv6_have_as_many_slots_as_pieces_up_to_a_limit(
    networks: int, parts: list[tuple[int, int]]
) -> None:
    places = [0x2001 << 112 | number << 80 for number in range(1, 2 * networks, 2)]
    some = {4: Prefixes.of(4, [], []), 6: Prefixes.of(6, places, [48] * networks)}
    arrays = build_index([EntryNetworks(some, Prefixes.split([]))])
    assert [(part >> 8, part & 0xFF) for part in arrays["v6.parts"].tolist()] == parts
    assert len(arrays["v6.slots"]) / 2 == sum(1 << k for _, k in parts) <= MAX_SLOTS
    index = index_of(arrays)
    assert index.pieces == {4: 1, 6: 2 * networks + 1}
    assert list(index.problems(1)) == []


def test_pieces_in_all_parts_of_ipv6_have_a_slot_each_at_least() -> None:
    networks = [Network(6, number << 112, 17) for number in range(1, 1 << 16, 9)]
    index = index_of(arrays_of([Subject(networks)]))
    assert len(index.arrays["v6.parts"]) > 7_000
    assert list(index.problems(1)) == []
    for some in networks[::7]:
        inside = {-1: False, 0: True, 1 << 110: True, (1 << 111) - 1: True, 1 << 111: False, 1 << 113: False}
        assert {step: index.find6(some.value + step) != 0 for step in inside} == inside


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


@settings(max_examples=tries(150), deadline=None)
@given(SUBJECTS)
@example([subject("::/0", "!::/65"), subject("::/64", "!::"), subject("::8000:0:0:0/65")])
def test_the_index_finds_what_a_scan_from_end_to_end_finds(subjects: list[Subject]) -> None:
    compare(subjects)


@settings(max_examples=tries(150), deadline=None)
@given(SUBJECTS, NETWORKS)
@example([subject("::/0", "!::/65"), subject("::/64", "!::"), subject("::8000:0:0:0/65")], network(6, 0, 64))
@example([subject("10.0.0.5"), subject("0.0.0.0/0")], network(4, 10 << 24, 24))
def test_the_sets_within_a_network_are_those_of_its_addresses(subjects: list[Subject], within: Network) -> None:
    index = index_of(arrays_of(subjects))
    places = {value for version, value in edges(subjects) if version == within.version}
    inside = {value for value in places if within.value <= value <= within.last} | {within.value}
    expected = {index.find(within.version, value) for value in inside}
    assert index.sets_within(within.version, within.value, within.last) == expected


@pytest.mark.parametrize("seed", range(8))
def test_the_index_finds_what_a_scan_finds_over_many_random_networks(seed: int) -> None:
    chance = random.Random(seed)

    def some(version: int, count: int, shortest: int) -> list[Network]:
        # A few starting points, and networks around them: like the blocks of a few providers.
        bits = BITS[version]
        homes = [chance.getrandbits(bits) for _ in range(5)]
        chosen = []
        for _ in range(count):
            value = chance.choice(homes) ^ chance.getrandbits(chance.randrange(1, bits + 1))
            chosen.append(network(version, value, chance.randrange(shortest, bits + 1)))
        return chosen

    subjects = [
        Subject(some(4, 8, 4) + some(6, 8, 8), some(4, 2, 8) + some(6, 2, 16) if number % 2 else [])
        for number in range(25)
    ]
    compare(subjects, [(version, chance.getrandbits(bits)) for version, bits in BITS.items() for _ in range(200)])


@settings(max_examples=tries(200))
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
