"""Bans compiled into a layer: whatever their form in the file, they say what they said."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.publisher import Publisher
from support.publishing.worlds import NOW as WORLD_NOW
from support.publishing.worlds import ZONES, Subject, entries, load, moments
from support.suite.effort import tries

from authz.addresses import BITS, Network, parse_network
from authz.analysis.listing import list_networks
from authz.engine.decision.verdict import decide
from authz.engine.entries.lookup import Index
from authz.engine.entries.manifest import Entries
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.model import ANY_APPLICATION, Application
from authz.publisher.bans import Ban, build_bans_layer, new_ban_id
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_id, ban_number
from authz.snapshot.heading import Requirement
from authz.snapshot.read import Snapshot, check_snapshot
from authz.snapshot.sections import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = 1_795_000_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("bans"))


def built(keys: Publisher, bans: Iterable[Ban], **fields: Any) -> Snapshot:
    values = {"layer": "bans", "serial": 7, "created": NOW, "signers": [keys.signer()], **fields}
    return check_snapshot(memoryview(build_bans_layer(bans, **values)), [keys.key()], now=NOW)


def listed(snapshot: Snapshot) -> list[Ban]:
    """Return every ban of a file, read back from rows and entries."""
    index, bans = Index(snapshot.sections), list(BanTable.from_sections(snapshot.sections).bans())
    for number, entry in enumerate(Entries(snapshot.entries())):
        (network,) = list_networks(index, number).networks
        bans.append(Ban(
            entry.id, network, entry.list, entry.applications, entry.action, entry.reason, entry.author, entry.starts,
            entry.expires, entry.added or 0,
        ))  # fmt: skip
    return sorted(bans)


def network(version: int, value: int, host_bits: int) -> Network:
    return Network(version, value >> host_bits << host_bits, BITS[version] - host_bits)


NETWORKS = st.one_of(
    st.builds(network, st.just(4), st.integers(0, (1 << 32) - 1), st.sampled_from([0, 0, 0, 8])),
    st.builds(network, st.just(6), st.integers(0, (1 << 128) - 1), st.sampled_from([0, 0, 64])),
)
BANS = st.builds(
    Ban,
    st.one_of(st.integers(0, (1 << 64) - 1).map(ban_id), st.sampled_from(["mine", "b-1"])),
    NETWORKS,
    st.sampled_from(["deny", "gray", "allow"]),
    st.sampled_from([frozenset[str](), frozenset({"shop"}), frozenset({"shop", "admin"})]),
    st.sampled_from(["block", "warn"]),
    st.sampled_from(["", "guessing", "é\n"]),
    st.sampled_from(["", "ops"]),
    st.sampled_from([None, None, NOW - 5, NOW + 5]),
    st.sampled_from([None, NOW - 1, NOW, NOW + 1, NOW + 7200, 1 << 32, (1 << 32) - 1]),
    st.sampled_from([NOW, NOW - 7]),
)


@settings(max_examples=tries(200), deadline=None)
@given(bans=st.lists(BANS, max_size=12, unique_by=lambda ban: ban.id))
def test_what_was_built_says_the_same_bans_but_those_that_are_over(keys: Publisher, bans: list[Ban]) -> None:
    snapshot = built(keys, bans)
    live = [ban for ban in bans if ban.expires is None or ban.expires > NOW]
    # A row has no start: it began already when the file was built.
    rows = {ban.id for ban in live if ban.is_single(NOW)}
    expected = sorted(ban._replace(starts=None) if ban.id in rows else ban for ban in live)
    assert listed(snapshot) == expected
    singles = snapshot.singles()
    assert (0 if singles is None else len(singles)) == len(rows)
    assert singles is None or list(singles.problems()) == []


def test_the_manifest_names_layer_parts_and_tombstones(keys: Publisher) -> None:
    part = Requirement(3, "ab" * 32)
    snapshot = built(keys, [], requires=[part], tombstones=[9, 2], expires=NOW + 60)
    assert (snapshot.layer, snapshot.serial, snapshot.manifest.expires) == ("bans", 7, NOW + 60)
    assert snapshot.requires == (part,)
    assert snapshot.tombstones() == frozenset({2, 9})
    assert snapshot.singles() is None


def test_new_ids_are_ids_of_bans_and_differ() -> None:
    ids = {new_ban_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(ban_number(id_) is not None for id_ in ids)


def test_tables_are_joined_with_ids_kept_and_equal_templates_once() -> None:
    first = BanTable.of([Ban(ban_id(1), parse_network("192.0.2.1"), reason="a"), Ban(ban_id(2), parse_network("::1"))])
    two = BanTable.of([Ban(ban_id(3), parse_network("192.0.2.0"), reason="a", expires=NOW)])
    joined = BanTable.joined([first, two])
    assert (joined.size, len(joined.templates)) == (3, 2)
    assert [(b.id[-1], str(b.network), b.reason, b.expires) for b in joined.bans()] == [
        ("3", "192.0.2.0/32", "a", NOW),
        ("1", "192.0.2.1/32", "a", None),
        ("2", "::1/128", "", None),
    ]


def test_what_is_over_or_cancelled_leaves_a_table() -> None:
    bans = [Ban(ban_id(n), parse_network(f"192.0.2.{n}"), expires=NOW + n) for n in range(5)]
    kept = BanTable.of(bans).live(NOW + 1, over=[3])
    assert [ban.id[-1] for ban in kept.bans()] == ["2", "4"]


def test_a_hundred_thousand_rows_make_no_object_each() -> None:
    """The cost of compaction follows array operations, so a table of parts is joined without its bans."""
    bans = [Ban(ban_id(n), Network(4, n * 37, 32), expires=NOW + 60) for n in range(100_000)]
    table = BanTable.of(bans)
    assert all(column.dtype.hasobject is False for columns in table.rows.values() for column in columns)
    besides = ("singles.v4", MARKS)  # the addresses, and bits whose number does not depend on that of bans
    size = sum(len(data) for name, (_, data) in table.sections().items() if not name.startswith(besides))
    assert size < 100_000 * 21


@settings(max_examples=tries(150), deadline=None)
@given(subjects=st.lists(st.tuples(st.integers(0, 9), entries("x")), max_size=8, unique_by=lambda pair: pair[0]))
def test_bans_decide_as_ordinary_entries_of_the_same_content(
    keys: Publisher, subjects: list[tuple[int, Subject]]
) -> None:
    """Whatever is a row and whatever an entry: every address, application, precedence and time is decided alike."""
    bans, twins = [], []
    for number, subject in subjects:
        for place, held in enumerate(subject.networks):
            entry = subject.entry._replace(id=ban_id(number * 100 + place))
            twins.append(Subject(entry, (held,)))
            bans.append(Ban(
                entry.id, held, entry.list, entry.applications, entry.action, entry.reason, entry.author, entry.starts,
                entry.expires, WORLD_NOW,
            ))  # fmt: skip
    data = build_bans_layer(bans, layer="bans", serial=1, created=WORLD_NOW, signers=[keys.signer()])
    layer = OpenedSnapshot(check_snapshot(memoryview(data), [keys.key()], now=WORLD_NOW))
    ordinary = load([Application(ANY_APPLICATION)], twins)
    settings_of = [Application(name, mode=mode, precedence=precedence)
                   for name in ("shop", "other") for mode in ("block", "safe_blocking")
                   for precedence in ("allow_first", "deny_first", "most_specific")]  # fmt: skip
    for zone in ZONES:
        found = layer.matches(zone.address.version, layer.find(zone.address))
        expected = ordinary.matches(zone.address.version, ordinary.find(zone.address))
        for application, moment in itertools.product(settings_of, moments()):
            one = decide(application, found, attack=False, now=moment)
            other = decide(application, expected, attack=False, now=moment)
            assert (one.decision, one.reason, one.list, set(one.warnings)) == (
                other.decision, other.reason, other.list, set(other.warnings),
            )  # fmt: skip
