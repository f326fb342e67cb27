"""A layer of bans as one index: the same addresses, decided alike, whatever their form in the files."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher

from authz.addresses import Network, parse_address, parse_network
from authz.errors import SnapshotRefused
from authz.publisher import whole_layer
from authz.publisher.bans import Ban, tiers
from authz.publisher.bans.tiers import Tiers, write_files
from authz.publisher.whole_layer import open_whole
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import part_path
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_000_000


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a layer with a head, a part, a tombstone and a network, and return the path of the head."""
    monkeypatch.setattr(tiers, "MAX_RECENT", 2)
    publisher, serials = Publisher(tmp_path), itertools.count(1)
    bans = Tiers("bans", [publisher.signer()], lambda: next(serials))
    bans.load((Ban(ban_id(n), Network(4, n, 32), reason="old", expires=NOW + 60) for n in range(10)), created=NOW)
    bans.remove(ban_id(3))
    bans.add(Ban(ban_id(20), parse_network("2001:db8::1"), "gray", expires=NOW + 5))
    bans.add(Ban(ban_id(21), parse_network("192.0.2.0/24"), applications=frozenset({"shop"})))
    path = tmp_path / "bans.snapshot"
    write_files(path, bans.publish(created=NOW))
    return path


def covering(path: Path, address: str, now: int = NOW) -> list[str]:
    return [match.entry.id for match in open_whole(path, now=now).covering(parse_address(address))]


def test_head_and_parts_are_one_but_what_a_tombstone_cancels(layer: Path) -> None:
    assert covering(layer, "0.0.0.2") == [ban_id(2)]
    assert covering(layer, "0.0.0.3") == []
    assert covering(layer, "2001:db8::1") == [ban_id(20)]
    assert covering(layer, "192.0.2.9") == [ban_id(21)]
    opened = open_whole(layer, now=NOW)
    assert len(opened.entries) == 11
    assert (opened.entries[0].id, opened.entries[0].applications) == (ban_id(21), frozenset({"shop"}))


def test_what_is_over_is_left_out(layer: Path) -> None:
    assert covering(layer, "2001:db8::1", NOW + 5) == []
    assert covering(layer, "0.0.0.2", NOW + 59) == [ban_id(2)]


def test_very_many_addresses_become_an_entry_for_each_template(layer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_layer, "MAX_ROWS", 5)
    opened = open_whole(layer, now=NOW)
    said = {(entry.list, entry.reason, entry.subjects) for entry in opened.entries}
    assert said == {("deny", "", ()), ("gray", "", ("1 addresses",)), ("deny", "old", ("9 addresses",))}
    assert len(covering(layer, "0.0.0.2")) == 1
    assert covering(layer, "0.0.0.3") == []


def test_a_layer_without_one_of_its_parts_is_refused(layer: Path) -> None:
    part_path(layer, inspect_snapshot(layer).requires[0]).unlink()
    with pytest.raises(SnapshotRefused):
        open_whole(layer, now=NOW)
