"""A few bans are written without numpy, and their sections say what those of many say."""

from __future__ import annotations

from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from authz.addresses import BITS, Network
from authz.engine.entries.lookup import Index
from authz.publisher.bans import Ban, few
from authz.publisher.bans.table import BanTable
from authz.publisher.index.build import EntryNetworks, build_index
from authz.publisher.index.prefixes import Prefixes
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.sections import FEW_PIECES, INDEX_TYPES
from authz.snapshot.singles import Singles

NO_HOLES = Prefixes.split(())
VALUES = st.one_of(st.integers(0, 40), st.integers(0, (1 << 32) - 1), st.just((1 << 32) - 1))
ADDRESSES = st.one_of(
    st.builds(lambda value: Network(4, value, 32), VALUES),
    st.builds(lambda high, low: Network(6, high << 64 | low, 128), VALUES, VALUES),
)
BANS = st.builds(
    Ban, st.integers(0, (1 << 64) - 1).map(ban_id), ADDRESSES, st.sampled_from(["deny", "gray"]),
    st.frozensets(st.sampled_from(["shop", "api"])), reason=st.sampled_from(["", "guessing"]),
    expires=st.none() | st.integers(0, (1 << 32) - 2), added=st.integers(0, (1 << 32) - 1),
)  # fmt: skip


def network(version: int, value: int, length: int) -> Network:
    host = BITS[version] - length
    return Network(version, value >> host << host, length)


NETWORKS = st.one_of(
    st.builds(network, st.just(4), VALUES, st.sampled_from([0, 1, 8, 24, 29, 30, 31, 32])),
    st.builds(network, st.just(6), VALUES.map(lambda v: v << 70 | v), st.sampled_from([0, 32, 56, 64, 65, 127, 128])),
    st.builds(network, st.just(6), st.just((1 << 128) - 1), st.sampled_from([0, 1, 64, 128])),
)


def as_sections(sections: dict[str, tuple[str, bytes]]) -> dict[str, memoryview]:
    return {name: memoryview(data) for name, (_, data) in sections.items()}


@given(st.lists(BANS, min_size=1, max_size=40))
def test_the_columns_are_those_of_the_table(bans: list[Ban]) -> None:
    made = few.singles_sections(bans)
    assert made == BanTable.of(bans).sections()
    assert list(Singles(as_sections(made)).problems()) in ([], ["singles.id: found an id twice"])


@given(st.lists(NETWORKS, max_size=12))
def test_the_index_answers_as_that_of_the_publisher(networks: list[Network]) -> None:
    made = Index(as_sections(few.index_sections(networks)))
    arrays = build_index([EntryNetworks(Prefixes.split([network]), NO_HOLES) for network in networks])
    expected = Index({name: memoryview(arrays[name].tobytes()) for name in INDEX_TYPES})
    assert list(made.problems(len(networks))) == []
    assert 2 * few.MAX_NETWORKS + 1 <= FEW_PIECES, "else it would have to have ends"
    assert len(made.arrays["v4.starts"]) == len(expected.arrays["v4.starts"])
    assert len(made.arrays["v6.sets"]) == len(expected.arrays["v6.sets"])
    for version, value in chain.from_iterable(
        ((network.version, network.value), (network.version, network.last),
         (network.version, max(network.value - 1, 0)),
         (network.version, min(network.last + 1, (1 << BITS[network.version]) - 1)), (10 - network.version, 0))
        for network in networks
    ):  # fmt: skip
        assert made.members(made.find(version, value)) == expected.members(expected.find(version, value))
