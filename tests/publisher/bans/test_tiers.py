"""Tiers of bans: whatever was moved where, the files say the bans of a plain dictionary."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.publishing.publisher import Publisher
from support.suite.effort import tries

from authz.addresses import Network, parse_network
from authz.publisher.bans import Ban, tiers
from authz.publisher.bans.table import BanTable
from authz.publisher.bans.tiers import Files, Tiers, write_files
from authz.snapshot.ban_ids import ban_id, ban_number
from authz.snapshot.heading import part_path
from authz.snapshot.read import check_snapshot, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_795_000_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("tiers"))


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a few bans move through all tiers."""
    for name, limit in (("MAX_RECENT", 2), ("MAX_FIRST", 5), ("MAX_TOMBSTONES", 3)):
        monkeypatch.setattr(tiers, name, limit)


def tiers_of(keys: Publisher) -> Tiers:
    serials = itertools.count(1)
    return Tiers("bans", [keys.signer()], lambda: next(serials))


def live(keys: Publisher, files: Files, now: int) -> dict[str, tuple[Any, ...]]:
    """Return the bans that hold, as a sidecar unites head and parts: tombstones of the head cancel in the parts."""
    head = check_snapshot(memoryview(files.head), [keys.key()], now=now)
    assert set(head.requires) == set(files.parts)
    gone = head.tombstones()
    by_id: dict[str, tuple[Any, ...]] = {}
    for ban in BanTable.from_sections(head.sections).bans():
        by_id[ban.id] = (ban.network, ban.expires)
    for entry in head.entries():
        by_id[entry.id] = (None, entry.expires)
    for requirement, content in files.parts.items():
        part = check_snapshot(memoryview(content), [keys.key()], now=now)
        assert (part.manifest.part, part.digest) == (True, requirement.digest)
        for ban in BanTable.from_sections(part.sections).bans():
            if ban_number(ban.id) not in gone:
                assert ban.id not in by_id, "a ban in two files"
                by_id[ban.id] = (ban.network, ban.expires)
    return {name: said for name, said in by_id.items() if said[1] is None or said[1] > now}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 11), st.integers(1, 9)),
        st.tuples(st.just("add"), st.integers(0, 11), st.integers(1, 9)),
        st.tuples(st.just("remove"), st.integers(0, 11), st.just(0)),
        st.tuples(st.just("publish"), st.just(0), st.integers(0, 2)),
        st.tuples(st.just("network"), st.integers(20, 22), st.integers(1, 9)),
    ),
    max_size=60,
)


@pytest.mark.usefixtures("small")
@settings(max_examples=tries(150), deadline=None)
@given(steps=STEPS)
def test_any_order_of_changes_says_the_same_as_a_dictionary(keys: Publisher, steps: list[tuple[str, int, int]]) -> None:
    layer, model, now = tiers_of(keys), dict[str, tuple[Any, ...]](), NOW
    for step, number, amount in [*steps, ("publish", 0, 0)]:
        name = ban_id(number)
        if step in {"add", "network"}:
            network = Network(4, number, 32) if step == "add" else parse_network(f"10.{number}.0.0/24")
            layer.add(Ban(name, network, expires=now + amount, added=now))
            model[name] = (network if step == "add" else None, now + amount)
        elif step == "remove":
            layer.remove(name)
            model.pop(name, None)
        else:
            now += amount
            expected = {name: said for name, said in model.items() if said[1] > now}
            assert live(keys, layer.publish(created=now), now) == expected


def numbered(first: int, count: int) -> Iterator[Ban]:
    return (Ban(ban_id(n), Network(4, n, 32), expires=NOW + 60) for n in range(first, first + count))


@pytest.mark.usefixtures("small")
def test_an_unban_of_a_settled_ban_builds_only_the_head(keys: Publisher) -> None:
    layer = tiers_of(keys)
    layer.load(numbered(0, 100), created=NOW)
    before = layer.publish(created=NOW)
    layer.remove(ban_id(7))
    after = layer.publish(created=NOW)
    assert list(after.parts) == list(before.parts)
    assert check_snapshot(memoryview(after.head), [keys.key()], now=NOW).tombstones() == {7}
    assert len(live(keys, after, NOW)) == 99


@pytest.mark.usefixtures("small")
def test_what_settles_keeps_its_id_and_leaves_a_small_head(keys: Publisher) -> None:
    layer = tiers_of(keys)
    sizes = []
    for ban in numbered(0, 40):
        layer.add(ban)
        files = layer.publish(created=NOW)
        head = check_snapshot(memoryview(files.head), [keys.key()], now=NOW)
        sizes.append(len(head.singles() or ()))
    assert max(sizes) <= 2
    assert live(keys, files, NOW).keys() == {ban_id(n) for n in range(40)}


@pytest.mark.usefixtures("small")
def test_files_are_written_parts_first_and_old_parts_go_after_a_while(keys: Publisher, tmp_path: Path) -> None:
    layer, path = tiers_of(keys), tmp_path / "bans.snapshot"
    layer.load(numbered(0, 10), created=NOW)
    first = layer.publish(created=NOW)
    write_files(path, first)
    head = read_snapshot(path, [keys.key()], now=NOW, layer="bans")
    (required,) = head.requires
    part = read_snapshot(part_path(path, required), [keys.key()], now=NOW, layer="bans", part=required)
    assert len(part.singles() or ()) == 10
    for ban in numbered(10, 20):
        layer.add(ban)
    write_files(path, layer.publish(created=NOW))
    old = part_path(path, required)
    assert old.exists(), "a sidecar may still read the old head"
    os.utime(old, (0, time.time() - tiers.GRACE - 1))
    (tmp_path / "bans.snapshot.mine").touch()
    os.utime(tmp_path / "bans.snapshot.mine", (0, 0))
    write_files(path, layer.publish(created=NOW))
    assert not old.exists()
    assert (tmp_path / "bans.snapshot.mine").exists(), "only files of numbers are ours"


@pytest.mark.usefixtures("small")
def test_a_part_stays_for_a_while_after_it_was_required_however_old_it_is(keys: Publisher, tmp_path: Path) -> None:
    """Its age counted: a part that was made long ago went in the moment in which no head required it any more."""
    layer, path = tiers_of(keys), tmp_path / "bans.snapshot"
    layer.load(numbered(0, 10), created=NOW)
    files = layer.publish(created=NOW)
    write_files(path, files)
    (required,) = files.parts
    old = part_path(path, required)
    os.utime(old, (0, time.time() - 10 * tiers.GRACE))
    write_files(path, layer.publish(created=NOW))
    for ban in numbered(10, 30):
        layer.add(ban)
    again = layer.publish(created=NOW)
    assert required not in again.parts
    write_files(path, again)
    assert old.exists(), "a sidecar may still read the old head"


@pytest.mark.usefixtures("small")
def test_a_crash_between_parts_and_head_leaves_the_old_layer_whole(
    keys: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, path = tiers_of(keys), tmp_path / "bans.snapshot"
    layer.load(numbered(0, 10), created=NOW)
    write_files(path, layer.publish(created=NOW))
    for ban in numbered(10, 20):
        layer.add(ban)
    files = layer.publish(created=NOW)

    def crash(place: Path, write: Any) -> None:
        if place == path:
            raise OSError("killed")
        place.write_bytes(b"")
        with place.open("wb") as file:
            write(file)

    monkeypatch.setattr(tiers, "replace_file", crash)
    with pytest.raises(OSError, match="killed"):
        write_files(path, files)
    head = read_snapshot(path, [keys.key()], now=NOW)
    for required in head.requires:
        read_snapshot(part_path(path, required), [keys.key()], now=NOW, part=required)


@pytest.mark.usefixtures("small")
def test_a_settled_ban_that_is_made_anew_holds_while_others_move_to_part_1(keys: Publisher) -> None:
    """Its id has a tombstone as long as part 2 has it as it was; in part 1 that would cancel it too."""
    layer = tiers_of(keys)
    layer.load(numbered(0, 10), created=NOW)
    layer.publish(created=NOW)
    layer.add(Ban(ban_id(3), Network(4, 3, 32), expires=NOW + 3600))
    for ban in numbered(10, 3):
        layer.add(ban)
    files = layer.publish(created=NOW)
    assert len(files.parts) == 2
    bans = live(keys, files, NOW)
    assert bans.keys() == {ban_id(n) for n in range(13)}
    assert bans[ban_id(3)] == (Network(4, 3, 32), NOW + 3600)
