"""Very many bans beside the largest table: their files, a change of one, load, memory and look-up.

The bans are single addresses, in the columns of a head and two parts (see authz.publisher.bans.tiers). "A change" is
what a ban or an unban costs once they are settled: the head is built and signed, then read, checked and swapped in,
while the parts stay in memory. Memory is that of a real sidecar with the table alone, and with the bans as well.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from authz.addresses import Address, Network, format_address
from authz.engine.entries.marks import marks_of
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.publisher.bans import Ban, build_bans_layer
from authz.publisher.bans.table import BanTable, Columns
from authz.publisher.bans.tiers import MAX_RECENT, Tiers, write_files
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import part_path
from authz.snapshot.layout import MAX_FILE
from authz.snapshot.read import check_snapshot, read_snapshot
from authz.snapshot.signing.signers import load_signer
from benchmarks.data.networks import load_table
from benchmarks.data.policies import Publisher, deny_table
from benchmarks.processes import Sidecar, memory_of
from benchmarks.report.document import Check, Part
from benchmarks.rounds import cpu_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.publisher.bans.tiers import Files
    from benchmarks.scale import Scale

_MEGABYTE: Final = 1_000_000
_HOURS: Final = 2
_FEW: Final = 1_000  # bans of a usual layer
_FIRST, _END = 0x0B000000, 0xDF000000  # the addresses that are banned are spread over these
_REASONS: Final = ("password guessing", "forced browsing", "scraping", "payloads", "rate")


def run(scale: Scale, note: Callable[[str], None]) -> Part:
    """Build, change, load and ask."""
    part = Part("bans")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        publisher, table = Publisher(folder), load_table(scale.sizes[-1])
        note("building the table")
        publisher.publish("policy.snapshot", deny_table(table))
        bench = _Bench(folder, publisher, scale, part)
        note(f"building {scale.bans:,} bans")
        bench.build()
        note("banning and unbanning")
        bench.change()
        note("looking up")
        bench.look_up()
        note("starting sidecars")
        bench.memory()
        part.notes.append(f"beside {len(table.networks):,} networks ({table.source}); bans end within {_HOURS} hours; "
                          "times are of one thread on the wall, those of look-ups of the CPU")  # fmt: skip
    return part


class _Bench:
    def __init__(self, folder: Path, publisher: Publisher, scale: Scale, part: Part) -> None:
        self._folder, self._publisher, self._scale, self._part = folder, publisher, scale, part
        self._path = folder / "bans.snapshot"
        self._now = int(time.time())
        serials = itertools.count(1)
        self._tiers = Tiers("bans", [load_signer(str(folder / "keys" / "bench.key"))], lambda: next(serials))
        self._labels: dict[str, str] = {"bans": f"{scale.bans:,}"}
        random = np.random.default_rng(7)
        chosen = np.sort(random.choice(_END - _FIRST, scale.bans, replace=False)) + _FIRST
        self._addresses: list[int] = chosen.tolist()
        self._parts: tuple[OpenedSnapshot, ...] = ()
        self._marks: bytearray | None = None
        self._policy = OpenedSnapshot(self._read("policy.snapshot"))

    def _read(self, name: str, **keywords: Any) -> Any:
        return read_snapshot(self._folder / name, [self._publisher.key], now=self._now, most=MAX_FILE, **keywords)

    def _add(self, name: str, unit: str, values: Sequence[float], **labels: str) -> None:
        self._part.add(name, unit, {"authz": values}, **self._labels, **labels)

    def build(self) -> None:
        """Build all bans into a part, several times; the last one stays."""
        table = self._table()
        begin = time.process_time()
        times = [self._timed(partial(self._tiers.load_table, table, created=self._now))[0]]
        for _ in range(self._scale.rounds - 1):
            other = Tiers("bans", [load_signer(str(self._folder / "keys" / "bench.key"))], itertools.count(1).__next__)
            times.append(self._timed(partial(other.load_table, table, created=self._now))[0])
        used = (time.process_time() - begin) * 1000 / len(times)
        self._add("build of all bans into a part", "ms", times)
        self._add("build of all bans into a part, CPU", "ms", [used])
        files = self._publish()
        size = sum(map(len, files.parts.values()))
        self._add("size of the parts", "MB", [size / _MEGABYTE])
        self._add("size a ban", "bytes", [size / self._scale.bans])

    def _table(self) -> BanTable:
        """Return the bans as a table, in another order than that of a file."""
        count, random = self._scale.bans, np.random.default_rng(8)
        order = random.permutation(count)
        templates = BanTable.of(
            Ban(ban_id(number), Network(4, number, 32), reason=reason) for number, reason in enumerate(_REASONS)
        )
        high = np.array(self._addresses, np.uint64)[order] << np.uint64(32)
        ends = (self._now + 300 + random.integers(0, _HOURS * 3600 - 300, count)).astype("<u4")
        rows = Columns(
            high, np.zeros(count, np.uint64), ends, np.full(count, self._now, "<u4"),
            random.integers(0, len(_REASONS), count).astype("<u4"), order.astype("<u8") + np.uint64(1),
        )  # fmt: skip
        return templates._replace(rows={4: rows, 6: templates.rows[6]})

    @staticmethod
    def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
        begin = time.perf_counter()
        result = work()
        return (time.perf_counter() - begin) * 1000, result

    def _publish(self) -> Files:
        files: Files = self._tiers.publish(created=self._now)
        write_files(self._path, files)
        return files

    def change(self) -> None:
        """Ban and unban one after the other, with a full head; load each file as the sidecar does."""
        spare = (value for value in itertools.count(_END) if value)
        for number in range(MAX_RECENT - self._scale.changes - 1):
            self._tiers.add(self._ban(2 * self._scale.bans + number, next(spare)))
        self._publish()
        load, opened = self._timed(self._open)
        self._add("load of head and parts", "ms", [load])
        for what in ("ban", "unban of a settled one"):
            built, loaded, asked = [], [], []
            for number in range(self._scale.changes // 2):
                if what == "ban":
                    value = next(spare)
                    self._tiers.add(self._ban(3 * self._scale.bans + number, value))
                else:
                    value = self._addresses[number * 7]
                    self._tiers.remove(ban_id(number * 7 + 1))
                elapsed, files = self._timed(lambda: self._tiers.publish(created=self._now))
                built.append(elapsed)
                write_files(self._path, files)
                elapsed, opened = self._timed(self._open)
                loaded.append(elapsed)
                ruleset = Ruleset([self._policy, opened])
                banned = any(entry.layer == "bans" for entry in ruleset.covering(_address(value)))
                asked.append("" if banned == (what == "ban") else f"{format_address(4, value)} after {what}")
            self._add("build of the head", "ms", built, change=what)
            self._add("load of the head", "ms", loaded, change=what)
            self._part.checks.append(
                Check(f"a {what} holds once loaded", len(asked), [wrong for wrong in asked if wrong])
            )
        self._add("size of the head", "MB", [len(files.head) / _MEGABYTE])
        self._opened = opened

    def _ban(self, number: int, value: int) -> Ban:
        end = self._now + _HOURS * 3600
        return Ban(ban_id(number), Network(4, value, 32), reason=_REASONS[0], expires=end, added=self._now)

    def _open(self) -> OpenedSnapshot:
        """Read the head, and the parts that are not in memory yet."""
        head = self._read(self._path.name, layer="bans")
        known = {part.digest: part for part in self._parts}
        opened = OpenedSnapshot(head)
        parts = []
        for required in head.requires:
            part = known.get(required.digest)
            parts.append(
                part or OpenedSnapshot(self._read(part_path(self._path, required).name, layer="bans", part=required))
            )
        opened.parts = tuple(parts)
        if opened.parts != self._parts:
            self._parts, self._marks = opened.parts, marks_of(opened.parts)
        opened.marks = marks_of([opened], self._marks)
        return opened

    def look_up(self) -> None:
        """Look up addresses that are banned and others: without the layer of bans, with a usual one, and with all."""
        count = min(self._scale.addresses, len(self._addresses) // 8)
        random = np.random.default_rng(9)
        banned = [self._addresses[n] for n in random.choice(len(self._addresses), count, replace=False) if n % 7]
        others = random.integers(_FIRST, _END, count).tolist()
        layers = {
            "table": [self._policy],
            f"table and {_FEW:,} bans": [self._policy, self._few()],
            "table and bans": [self._policy, self._opened],
        }
        for name, files in layers.items():
            ruleset = Ruleset(files)
            for what, values in (("banned", banned), ("others", others)):
                addresses = [_address(value) for value in values]
                times = [self._of_all(ruleset, addresses) for _ in range(self._scale.rounds)]
                self._add("time of one look-up in all files", "ns", times, layers=name, address=what)
        ruleset = Ruleset([self._policy, self._opened])
        held = [any(entry.layer == "bans" for entry in ruleset.covering(_address(value))) for value in banned[:2000]]
        wrong = [format_address(4, value) for value, is_held in zip(banned, held, strict=False) if not is_held]
        self._part.checks.append(Check("banned addresses are banned", len(held), wrong))

    def _few(self) -> OpenedSnapshot:
        """Return a layer with the first bans alone, as `authz ban` makes it."""
        some = [
            self._ban(number + 1, value) for number, value in enumerate(self._addresses[:: self._scale.bans // _FEW])
        ]
        signers = [load_signer(str(self._folder / "keys" / "bench.key"))]
        data = build_bans_layer(some, layer="bans", serial=1, created=self._now, signers=signers)
        opened = OpenedSnapshot(check_snapshot(memoryview(data), [self._publisher.key], now=self._now))
        opened.marks = marks_of([opened])
        return opened

    @staticmethod
    def _of_all(ruleset: Ruleset, addresses: Sequence[Address]) -> float:
        def work() -> None:
            for address in addresses:
                ruleset.find(address)

        return cpu_ns(work, len(addresses))

    def memory(self) -> None:
        """Start a sidecar with the table, and one with the table and the bans."""
        for name, bans in (
            ("table", None),
            ("table and bans", f"path: {self._path.name}, trusted_keys: [keys/bench.pub]"),
        ):
            file = "policy" if bans is None else "both"
            with Sidecar(self._folder, file, snapshot="policy.snapshot", engine="auto", bans=bans) as sidecar:
                sizes = memory_of(sidecar.pid)
                self._add("start to ready", "s", [sidecar.ready_seconds], layers=name)
                for what, key in (("resident", "VmRSS"), ("own", "RssAnon"), ("snapshots", "RssShmem")):
                    self._add(f"memory, {what}", "MB", [sizes[key] / _MEGABYTE], layers=name)


def _address(value: int) -> Address:
    return Address(4, value, format_address(4, value))
