"""A layer of a head and parts in the sidecar: nothing flaps while they are exchanged, and nothing is half."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher

from authz.addresses import Network
from authz.engine.decision.decider import Decider
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.publisher.bans import Ban, tiers
from authz.publisher.bans.tiers import Files, Tiers, write_files
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.file import FileSource
from authz.serve.layers.layer import Layer
from authz.serve.layers.memory import Memory
from authz.serve.layers.swap import Swap
from authz.serve.observe.metrics import Metrics
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.cooperative import Considerate
from authz.snapshot.heading import part_path
from authz.snapshot.layout import MAX_FILE
from authz.snapshot.read import read_snapshot, read_with_bytes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from authz.snapshot.heading import Requirement

NOW = 1_795_000_000
FIRST = 203 << 24 | 113 << 8  # 203.0.113.0


class Sidecar:
    """A policy and a layer of bans, loaded into one decider."""

    def __init__(self, folder: Path, publisher: Publisher) -> None:
        self.folder, self.path = folder, folder / "bans.snapshot"
        self.decider, self.swap, self.metrics = Decider(Settings()), None, Metrics()
        swap = Swap(self.decider)
        swap.keep(["policy", "bans"])
        memory = Memory(folder / "state" / "authz.json")
        memory.path.parent.mkdir(exist_ok=True)
        self.layers = {}
        for name in ("policy", "bans"):
            path = folder / f"{name}.snapshot"
            config = LayerConfig(name=name, path=str(path), trusted_keys=(), max_age=math.inf)
            acceptor = Acceptor(Rules(name, [publisher.key()], 1, MAX_FILE), memory)
            self.layers[name] = Layer(config, FileSource(path, config.poll), acceptor, swap, self.metrics)

    def load(self, name: str = "bans") -> str:
        layer = self.layers[name]
        asyncio.run(layer.load_if_changed(force=True))
        return layer.refusal.code if layer.refusal else "ok"

    def restore(self, name: str) -> None:
        asyncio.run(self.layers[name]._restore())

    def denied(self, count: int = 30) -> set[int]:
        """Return which of the addresses from 203.0.113.0 on are denied."""
        numbers = range(count)
        return {n for n in numbers if self.decider.check(Request(f"203.0.113.{n}"), NOW)[0].decision == "deny"}


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(tiers, "MAX_RECENT", 2)
    monkeypatch.setattr(tiers, "MAX_FIRST", 6)
    publisher = Publisher(tmp_path)
    publisher.publish("version: 1\n", to="policy.snapshot")
    return publisher


@pytest.fixture
def sidecar(tmp_path: Path, publisher: Publisher) -> Sidecar:
    sidecar = Sidecar(tmp_path, publisher)
    assert sidecar.load("policy") == "ok"
    return sidecar


def bans_of(publisher: Publisher) -> Tiers:
    serials = itertools.count(1)
    return Tiers("bans", [publisher.signer()], lambda: next(serials))


def ban(number: int) -> Ban:
    return Ban(ban_id(number), Network(4, FIRST + number, 32), expires=NOW + 3600, added=NOW)


def filled(publisher: Publisher, count: int = 10) -> tuple[Tiers, Files]:
    bans = bans_of(publisher)
    bans.load(map(ban, range(count)), created=NOW)
    return bans, bans.publish(created=NOW)


def test_bans_of_head_and_parts_deny_and_a_tombstone_ends_one(sidecar: Sidecar, publisher: Publisher) -> None:
    bans, files = filled(publisher)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    assert sidecar.denied() == set(range(10))
    bans.remove(ban_id(3))
    bans.add(ban(20))
    write_files(sidecar.path, bans.publish(created=NOW))
    assert sidecar.load() == "ok"
    assert sidecar.denied() == {*range(10), 20} - {3}


def test_a_part_that_is_loaded_is_not_read_again(
    sidecar: Sidecar, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    bans, files = filled(publisher)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    read, paths = read_with_bytes, []

    def counted(path: Path, *args: object, **keywords: object) -> object:
        paths.append(path.name)
        return read(path, *args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr("authz.serve.layers.accept.read_with_bytes", counted)
    bans.remove(ban_id(3))
    write_files(sidecar.path, bans.publish(created=NOW))
    assert sidecar.load() == "ok"
    assert paths == ["bans.snapshot"]
    assert sidecar.denied() == {*range(10)} - {3}


def test_the_collector_and_the_interpreter_are_as_ever_while_a_part_is_on_its_way(
    sidecar: Sidecar, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sent a part for ten minutes kept the collector off, and the interpreter switching, for as long."""
    considerate = Considerate()  # our own: another test's thread may still be in that of the process
    for module in ("accept", "overruled", "swap"):
        monkeypatch.setattr(f"authz.serve.layers.{module}.CONSIDERATE", considerate)
    source = sidecar.layers["bans"].source
    fetch, inside = source.fetch_part, list[int]()

    def fetch_part(part: Requirement) -> AbstractContextManager[Path]:
        inside.append(considerate.inside)
        return fetch(part)

    monkeypatch.setattr(source, "fetch_part", fetch_part)
    write_files(sidecar.path, filled(publisher)[1])
    assert sidecar.load() == "ok"
    assert inside
    assert set(inside) == {0}


def test_a_head_whose_part_is_missing_waits_and_the_old_layer_serves_on(sidecar: Sidecar, publisher: Publisher) -> None:
    bans, files = filled(publisher)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    for number in range(10, 20):
        bans.add(ban(number))
    newer = bans.publish(created=NOW)
    (new,) = newer.parts.keys() - files.parts.keys()
    write_files(sidecar.path, newer)
    part_path(sidecar.path, new).rename(sidecar.folder / "away")
    assert sidecar.load() == "part_missing"
    assert sidecar.denied() == set(range(10))
    (sidecar.folder / "away").rename(part_path(sidecar.path, new))
    assert sidecar.load() == "ok"
    assert sidecar.denied() == set(range(20))


def test_a_bans_key_cannot_replay_a_part_in_the_place_of_the_head(sidecar: Sidecar, publisher: Publisher) -> None:
    """A part is signed well and its serial may be the highest: it would end all other bans."""
    bans, files = filled(publisher)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    for number in range(10, 20):
        bans.add(ban(number))
    newer = bans.publish(created=NOW)
    sidecar.path.write_bytes(max(newer.parts.items())[1])
    assert sidecar.load() == "wrong_layer"
    assert sidecar.denied() == set(range(10))


def test_a_part_over_the_configured_size_is_refused(sidecar: Sidecar, publisher: Publisher) -> None:
    _, files = filled(publisher)
    (part,) = files.parts.values()
    acceptor = sidecar.layers["bans"].acceptor
    acceptor.rules = acceptor.rules._replace(max_size=len(part) - 1)
    write_files(sidecar.path, files)
    assert len(files.head) < len(part)
    assert sidecar.load() == "too_large"
    assert sidecar.denied() == set()


def test_a_bans_key_cannot_fill_the_memory_by_parts(sidecar: Sidecar, publisher: Publisher) -> None:
    """Each file was within `max_size`, and a head may require eight: nine times the memory that was configured."""
    bans, files = filled(publisher)
    (part,) = files.parts.values()
    acceptor = sidecar.layers["bans"].acceptor
    write_files(sidecar.path, files)
    acceptor.rules = acceptor.rules._replace(max_size=len(files.head) + len(part) - 1)
    assert sidecar.load() == "too_large"
    acceptor.rules = acceptor.rules._replace(max_size=len(files.head) + len(part))
    assert sidecar.load() == "ok"
    bans.add(ban(77))
    larger = bans.publish(created=NOW)  # with the part that is loaded
    assert larger.parts == files.parts
    write_files(sidecar.path, larger)
    assert len(larger.head) > len(files.head)
    assert sidecar.load() == "too_large"


def test_an_older_part_cannot_be_put_in_the_place_of_one(sidecar: Sidecar, publisher: Publisher) -> None:
    bans, files = filled(publisher)
    bans.remove(ban_id(0))
    for number in range(10, 20):
        bans.add(ban(number))
    newer = bans.publish(created=NOW)
    write_files(sidecar.path, newer)
    for part in newer.parts:
        part_path(sidecar.path, part).write_bytes(next(iter(files.parts.values())))
    assert sidecar.load() == "wrong_part"
    assert sidecar.denied() == set()


def test_after_a_restart_the_last_good_copy_has_its_parts(sidecar: Sidecar, publisher: Publisher) -> None:
    bans, files = filled(publisher)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    bans.remove(ban_id(3))
    write_files(sidecar.path, bans.publish(created=NOW))
    assert sidecar.load() == "ok"
    for path in [sidecar.path, *(part_path(sidecar.path, part) for part in files.parts)]:
        path.unlink()
    again = Sidecar(sidecar.folder, publisher)
    assert again.load("policy") == "ok"
    assert again.load() == "absent"
    again.restore("bans")
    assert again.denied() == {*range(10)} - {3}


def test_parts_that_no_copy_requires_are_dropped(sidecar: Sidecar, publisher: Publisher) -> None:
    bans = bans_of(publisher)
    for number in range(30):
        bans.add(ban(number))
        write_files(sidecar.path, bans.publish(created=NOW))
        assert sidecar.load() == "ok"
    head = read_snapshot(sidecar.path, [publisher.key()], now=NOW)
    copies = [path.name for path in (sidecar.folder / "state").rglob("*bans*.*") if path.suffix[1:].isdigit()]
    assert len(copies) == len(head.requires)
    assert sidecar.denied() == set(range(30))


def test_while_tiers_are_exchanged_every_answer_is_that_of_a_model(sidecar: Sidecar, publisher: Publisher) -> None:
    """A ban that is not touched denies in every moment; what is published is what answers after its load."""
    bans, files = filled(publisher, 5)
    write_files(sidecar.path, files)
    assert sidecar.load() == "ok"
    stop, wrong = threading.Event(), list[int]()

    def ask() -> None:
        while not stop.is_set():
            wrong.extend(set(range(5)) - sidecar.denied(5))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        model = set(range(5))
        for number in range(5, 60):
            bans.add(ban(number))
            model.add(number)
            if number % 3 == 0:
                bans.remove(ban_id(number - 3 if number > 8 else number))
                model.discard(number - 3 if number > 8 else number)
            write_files(sidecar.path, bans.publish(created=NOW))
            assert sidecar.load() == "ok"
            assert sidecar.denied(60) == model
    finally:
        stop.set()
        thread.join()
    assert wrong == []
