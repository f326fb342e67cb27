"""What a reload costs, counted: memory, objects, and the turns in which others can answer."""

from __future__ import annotations

import gc
import io
import struct
import sys
import time
import tracemalloc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import pytest
from support.publishing.publisher import Publisher
from support.publishing.worlds import deny, load
from support.sidecar.loading import Loading

from authz.addresses import Network
from authz.engine.decision.generation import Generation
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.permissions import May, first_violation
from authz.engine.entries.ruleset import Ruleset
from authz.engine.model import ANY_APPLICATION, Application, Entry
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.publisher.bans import Ban, build_bans_layer
from authz.publisher.build import build_snapshot
from authz.publisher.index.build import EntryNetworks
from authz.publisher.index.prefixes import Prefixes
from authz.publisher.policy.read import Policy
from authz.serve.layers import memory as memory_module
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.memory import Memory
from authz.serve.workers.share import layer_message, open_layer
from authz.snapshot import cooperative as cooperative_module
from authz.snapshot import read as read_module
from authz.snapshot import sealed_memory as sealed_module
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.cooperative import CONSIDERATE, STEP, in_turns, next_turn
from authz.snapshot.read import read_snapshot
from authz.snapshot.sealed_memory import give_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from authz.snapshot.heading import Requirement

COUNT = 20_000  # entries
NOW = 1_795_000_000
LONGEST = 9_000  # instructions between two turns; some 0.1 ms


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


def test_a_turn_is_taken_only_where_somebody_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = list[float]()
    monkeypatch.setattr(time, "sleep", turns.append)
    monkeypatch.setattr(cooperative_module, "_SHORT", -1)
    assert list(in_turns(range(7), 3)) == [0, 1, 2, 3, 4, 5, 6]
    assert turns == []
    with CONSIDERATE:
        assert list(in_turns(range(7), 3)) == [0, 1, 2, 3, 4, 5, 6]
    assert len(turns) == 2


def test_who_has_worked_for_less_than_a_turn_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty turns for the forty small pieces of a file of bans took longer than their work."""
    turns, now = list[float](), iter([0.0, 0.00004, 0.00006, 0.1, 0.10004, 0.10009, 0.2])
    monkeypatch.setattr(time, "sleep", turns.append)
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    with CONSIDERATE:
        for _ in range(4):
            next_turn()
    assert len(turns) == 2


def test_a_load_begins_with_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time: a short load is over before others have waited; a long one must come to its end."""
    pauses = list[float]()
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(cooperative_module, "_SHORT", -1)
    for _ in range(2):
        with CONSIDERATE:
            for _ in range(40):
                next_turn()
    assert pauses == ([0.0002] * 32 + [0.00001] * 8) * 2
    assert min(pauses) > 0, "a sidecar of real-time priority stood still for 0.4 s in each load"


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


def test_the_last_good_copy_is_written_in_turns(
    many: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes in one write(2) kept the core of the event loop for longer than a time slice, at each reload."""
    monkeypatch.setattr(cooperative_module, "STEP", STEP // 16)
    written: list[int | None] = []  # bytes of each call; None: a turn of others

    def recorded(_: Path, write: Callable[[BinaryIO], object], **__: int) -> None:
        class Recorded(io.BytesIO):
            def write(self, data: Any) -> int:
                written.append(len(data))
                return super().write(data)

            def writelines(self, pieces: Any) -> None:
                written.append(sum(map(len, pieces)))

        write(Recorded())

    monkeypatch.setattr(memory_module, "replace_file", recorded)
    monkeypatch.setattr(time, "sleep", lambda _: written.append(None))
    monkeypatch.setattr(cooperative_module, "_SHORT", -1)
    rules = Rules("policy", [many.key()], 1, 1 << 30)
    Acceptor(rules, Memory(tmp_path / "authz.json")).accept(path_of(many), no_part)
    sizes = [size for size in written if size is not None]
    assert sum(sizes) == path_of(many).stat().st_size
    assert max(sizes) == STEP // 16
    big = [index for index, size in enumerate(written) if size == STEP // 16]
    assert all(written[index + 1] is None for index in big)


def no_part(part: Requirement) -> NoReturn:
    pytest.fail(f"asked for part {part.serial}")


def stretches(work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many instructions of the interpreter `work` takes between two turns of others."""
    counts = [0]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        counts[-1] += event == "opcode"
        return trace

    before = sys.gettrace()
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: counts.append(0))
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
    return counts


def test_a_load_lets_go_of_the_interpreter_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is put aside while it holds the interpreter keeps every request waiting until it runs again."""
    publisher = Publisher(tmp_path)
    entries = [Entry(f"e-{number}", "deny", expires=NOW + 60, added=NOW) for number in range(1500)]
    networks = [
        EntryNetworks(Prefixes.split([Network(version, number << host, bits)]), Prefixes.split(()))
        for number in range(1500)
        for version, host, bits in [(4, 8, 24) if number % 2 else (6, 72, 56)]
    ]
    path = tmp_path / "lists.snapshot"
    build_snapshot(
        Policy((Application(ANY_APPLICATION),), tuple(entries), tuple(networks)), path, [publisher.signer()], serial=1,
        created=NOW,
    )  # fmt: skip
    rows = [Ban(ban_id(number), Network(4, number << 12, 32), expires=NOW + 60) for number in range(3000)]
    (tmp_path / "bans.snapshot").write_bytes(
        build_bans_layer(rows, layer="bans", serial=1, created=NOW, signers=[publisher.signer()])
    )

    def permit(opened: OpenedSnapshot) -> None:
        assert first_violation([opened], May(), (), NOW) is None

    for layer, file in (("policy", path), ("bans", tmp_path / "bans.snapshot")):
        rules = Rules(layer, [publisher.key()], 1, 1 << 30, permit)
        acceptor = Acceptor(rules, Memory(tmp_path / "state" / "authz.json"))
        (tmp_path / "state").mkdir(exist_ok=True)
        acceptor.accept(file, no_part)  # patterns that are compiled once
        lengths = stretches(lambda acceptor=acceptor, file=file: acceptor.accept(file, no_part), monkeypatch)  # type: ignore[misc]
        assert max(lengths) < LONGEST
        assert sum(lengths) > LONGEST, "or nothing was counted"


def test_a_worker_lets_go_of_the_interpreter_while_it_opens_what_was_loaded_for_it(
    many: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It did not: while 100,000 entries were opened, half of its requests waited 3 ms, and some 60."""
    rules = Rules("policy", [many.key()], 1, 1 << 30)
    accepted = Acceptor(rules, Memory(tmp_path / "authz.json"), share=True).accept(path_of(many), no_part)
    layer: Any = SimpleNamespace(opened=accepted, config=SimpleNamespace(name="policy"), last_good=False)
    opened: list[OpenedSnapshot | None] = []
    lengths = stretches(lambda: opened.append(open_layer(layer_message(layer), {})), monkeypatch)
    assert opened[0] is not None
    assert len(opened[0].entries) == COUNT
    assert max(lengths) < LONGEST < sum(lengths)
    views = [array for array in opened[0].index.arrays.values() if array.nbytes]
    assert give_back(views[0]) is not None, "its pages can be given back a few at a time"


def test_names_of_applications_cost_a_swap_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 10,000 that entries of a layer may name were made ready in the event loop: 20 ms at each of its files."""
    names = [frozenset(f"app-{number}-{n}" for n in range(20)) for number in range(100)]
    entries = [deny(f"e{n}", f"10.0.{n}.0/24", applications=names[n]) for n in range(100)]
    policy, bans = load([Application(ANY_APPLICATION)], []), load([Application(ANY_APPLICATION)], entries, layer="bans")
    made: list[Generation] = []
    lengths = stretches(lambda: made.append(Generation(Ruleset([policy, bans]), Settings())), monkeypatch)
    assert 0 < sum(lengths) < LONGEST
    first, other = (made[0].scope_of_name(name) for name in ("app-7-3", "nobody"))
    assert (first.application.name, first.unknown, other) == ("app-7-3", True, made[0].unknown)
    assert made[0].scopes["app-7-3"] is first


def test_entries_are_checked_against_may_one_by_one() -> None:
    """All at once 2 million had 500 MB, and 100,000 that were freed in one go held the interpreter for 20 ms."""
    entries = [deny(f"e{number}", f"10.0.{number >> 8}.{number & 255}", expires=1 << 40) for number in range(2000)]
    file = load([Application(ANY_APPLICATION)], entries, layer="bans")
    first_violation([file], May(longest=None), [], 0)
    tracemalloc.start()
    try:
        assert first_violation([file], May(longest=None), [], 0) is None
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 100 * len(entries)


def test_an_index_is_checked_without_a_copy_of_it() -> None:
    """`list` and `sorted` of all its elements held the interpreter for milliseconds, and every request with it."""
    networks = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(0, COUNT, 2)]
    index = load([Application(ANY_APPLICATION)], [deny("many", *networks)], layer="bans").index
    assert index.pieces[4] > COUNT - 2
    tracemalloc.start()
    try:
        assert list(index.problems(1)) == []
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 10 * COUNT


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
