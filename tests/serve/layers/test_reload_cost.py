"""What a reload costs, counted: memory, objects, and the turns in which others can answer."""

from __future__ import annotations

import gc
import struct
import sys
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.loading import Loading

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.model import ANY_APPLICATION, Application, Entry
from authz.engine.request.request import Request
from authz.publisher.build import build_snapshot
from authz.publisher.index.build import EntryNetworks
from authz.publisher.index.prefixes import Prefixes
from authz.publisher.policy.read import Policy
from authz.snapshot import read as read_module
from authz.snapshot import sealed_memory as sealed_module
from authz.snapshot.cooperative import STEP
from authz.snapshot.read import read_snapshot

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 20_000  # entries
NOW = 1_795_000_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A publisher whose `lists.snapshot` has many entries, without networks."""
    publisher = Publisher(tmp_path_factory.mktemp("many"))
    entries = [Entry(f"e-{number:012x}", "deny", expires=NOW + number, reason="r" * 40) for number in range(COUNT)]
    empty = EntryNetworks(Prefixes.split(()), Prefixes.split(()))
    policy = Policy((Application(ANY_APPLICATION),), tuple(entries), (empty,) * COUNT)
    build_snapshot(policy, publisher.folder / "lists.snapshot", [publisher.signer()], serial=1, created=NOW)
    return publisher


def path_of(publisher: Publisher) -> Path:
    return publisher.folder / "lists.snapshot"


def test_many_entries_take_little_more_memory_than_their_bytes(many: Publisher) -> None:
    keys, size = [many.key()], path_of(many).stat().st_size
    OpenedSnapshot(read_snapshot(path_of(many), keys, now=0))  # what is imported and cached, once
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    try:
        loaded = OpenedSnapshot(read_snapshot(path_of(many), keys, now=0))
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    gc.collect()
    assert len(loaded.entries) == COUNT
    assert len(gc.get_objects()) - objects < 200, "objects for the collector to walk over at each reload"
    assert kept < size, "the envelope was given back; its base64 was a third more than the manifest"
    assert most < 4 * size


def test_an_entry_is_made_when_it_is_asked_for_and_not_kept(many: Publisher) -> None:
    loaded = OpenedSnapshot(read_snapshot(path_of(many), [many.key()], now=0))
    expected = Entry(f"e-{7:012x}", "deny", expires=NOW + 7, reason="r" * 40, added=NOW)
    assert loaded.entries[7] == loaded.entries[7] == expected
    assert loaded.entries[7] is not loaded.entries[7]


def test_long_work_is_done_in_turns(many: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = []
    for module in (read_module, sealed_module):
        monkeypatch.setattr(module, "next_turn", lambda name=module.__name__: turns.append(name))
    monkeypatch.setattr(sealed_module, "STEP", STEP // 16)
    monkeypatch.setattr(read_module, "STEP", STEP // 16)
    read_snapshot(path_of(many), [many.key()], now=0)
    size = path_of(many).stat().st_size
    for module in (read_module, sealed_module):
        assert turns.count(module.__name__) > size // STEP, module.__name__


def test_the_signature_covers_a_digest_of_the_entries_and_not_their_bytes(many: Publisher) -> None:
    """To check a signature is one call, during which nobody else has the interpreter."""
    (envelope,) = struct.unpack_from("<I", path_of(many).read_bytes(), 8)
    assert len(OpenedSnapshot(read_snapshot(path_of(many), [many.key()], now=0)).entries) == COUNT
    assert envelope < 8192


def test_a_reload_leaves_the_interpreter_as_it_was_and_its_objects_out_of_collections(
    many: Publisher, tmp_path: Path
) -> None:
    loading = Loading(tmp_path, [many.key()])
    frozen, interval = gc.get_freeze_count(), sys.getswitchinterval()
    try:
        loading.put(path_of(many).read_bytes())
        assert loading.load() == "ok"
        assert (gc.isenabled(), sys.getswitchinterval()) == (True, interval)
        assert gc.get_freeze_count() > frozen
        outcome, _ = loading.decider.check(Request("192.0.2.1"), NOW)
        assert outcome.serial == 1
    finally:
        gc.unfreeze()
