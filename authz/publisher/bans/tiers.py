"""A layer of very many bans: a small file of what is new, and parts that settle.

    head       recent bans, networks, tombstones           bans.snapshot          each change    some 50 kB
    part 1     up to 50,000 settled bans of addresses      bans.snapshot.SERIAL   each 2,000     1 MB
    part 2     the rest                                    bans.snapshot.SERIAL   each 50,000    24 bytes a ban

A change costs what the head costs, however many bans there are: one that is new goes into the head; one that has
settled and ends before its time is named by a *tombstone* in the head, which cancels it in the parts. Where the head
has grown, its addresses move to part 1, and from there to part 2; ids stay, and what is over is left out.

The head requires its parts by serial and digest, and the parts are written first, under names of their own. So a
sidecar has the old head with its parts, or the new head with all of its parts, and a tombstone can cancel nothing but
bans of the parts that its own head names.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.addresses import BITS
from authz.durable import replace_file
from authz.errors import Refusal, SnapshotRefused
from authz.publisher.bans.build import build_bans_layer, build_part
from authz.publisher.bans.signed import bans_of
from authz.publisher.bans.table import BanTable
from authz.snapshot.ban_ids import ban_number
from authz.snapshot.heading import Requirement, part_path
from authz.snapshot.read import check_snapshot, requirement_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from authz.publisher.bans.record import Ban
    from authz.publisher.index.prefixes import Array
    from authz.snapshot.signing.envelope import Signer
    from authz.snapshot.signing.keys import PublicKey

MAX_RECENT = 2_000  # addresses in the head
MAX_FIRST = 50_000  # bans in part 1
MAX_TOMBSTONES = 20_000
GRACE = 600.0  # seconds that a part stays after no head requires it, for sidecars that still read the old head


class Part(NamedTuple):
    """A part that was built.

    Attributes:
        numbers: Its ids, sorted.
        ends: Of the bans, in the same order.
    """

    requirement: Requirement
    table: BanTable
    numbers: Array
    ends: Array
    content: bytes

    def has(self, number: int) -> bool:
        """Return whether the part has the ban of this id."""
        place = int(np.searchsorted(self.numbers, np.uint64(number)))
        return place < len(self.numbers) and int(self.numbers[place]) == number

    def count_live(self, now: int, gone: Array) -> int:
        """Return how many of its bans hold. gone: ids that are over, of this part or of others."""
        places = np.minimum(np.searchsorted(self.numbers, gone), len(self.numbers) - 1)
        cancelled = (self.numbers[places] == gone) & (self.ends[places] > now)
        return int(np.count_nonzero(self.ends > now)) - int(np.count_nonzero(cancelled))


class Files(NamedTuple):
    """What a layer consists of now.

    Attributes:
        head: The signed head.
        serial: Of the head.
        parts: By what the head requires; written before the head.
    """

    head: bytes
    serial: int
    parts: Mapping[Requirement, bytes]


class Tiers:
    """The bans of one layer. Not safe for several threads.

    Args:
        layer: Its name.
        signers: Each signs every file.
        next_serial: Gives a serial above all before; the head and each part take one.
        source: From what the head is made; see `build_bans_layer`.
    """

    def __init__(self, layer: str, signers: Sequence[Signer], next_serial: Callable[[], int], source: str = "") -> None:
        self._layer = layer
        self._signers = signers
        self._next_serial = next_serial
        self._source = source
        self._recent: dict[str, Ban] = {}
        self._parts: list[Part | None] = [None, None]
        self._tombstones: set[int] = set()

    def restore(self, head: bytes, parts: Sequence[bytes], keys: Sequence[PublicKey], *, now: float) -> int:
        """Go on from published files, and return the serial of the head.

        It takes as long as reading the columns; no record is made for each ban.

        Args:
            head: The head.
            parts: The parts that it requires, in any order.
            keys: The keys that may have signed them.
            now: Seconds since 1970.

        Raises:
            SnapshotRefused: The files are not of this layer and of one of the keys, or a part is missing.
        """
        snapshot = check_snapshot(memoryview(head), keys, now=now)
        contents = {requirement_of(content): content for content in parts}
        missing = [part for part in snapshot.requires if part not in contents]
        if snapshot.layer != self._layer or missing or len(snapshot.requires) > len(self._parts):
            raise SnapshotRefused(Refusal.WRONG_LAYER, f"expected a file of {self._layer} with its parts")
        self._recent = {ban.id: ban for ban in bans_of(snapshot)}
        self._tombstones = set(snapshot.tombstones())
        first = len(self._parts) - len(snapshot.requires)
        for place, requirement in enumerate(snapshot.requires, start=first):
            content = contents[requirement]
            part = check_snapshot(memoryview(content), keys, now=now)
            self._parts[place] = _part(BanTable.from_sections(part.sections), content)
        return snapshot.serial

    def add(self, ban: Ban) -> None:
        """Take up a ban, in the place of the one with the same id if there is one."""
        self.remove(ban.id)
        self._recent[ban.id] = ban

    def remove(self, ban_id: str) -> None:
        """End a ban; one that is not there is passed over."""
        self._recent.pop(ban_id, None)
        number = ban_number(ban_id)
        if number is not None and any(part.has(number) for part in self._parts if part):
            self._tombstones.add(number)

    def load(self, bans: Iterable[Ban], *, created: int) -> None:
        """Take up many bans at once, as at a start: addresses settle in part 2."""
        singles: list[Ban] = []
        for ban in bans:
            if ban.is_single(created):
                singles.append(ban)
            else:
                self.add(ban)
        self.load_table(BanTable.of(singles), created=created)

    def load_table(self, table: BanTable, *, created: int) -> None:
        """Take up a table of bans as part 2, beside what is there."""
        self._settle(1, [table, *(earlier.live(created, self._tombstones) for earlier in self._tables())], created)

    def count(self, now: int) -> int:
        """Return how many bans are live. It looks only at the ends in the parts: some 1 ns a ban.

        Args:
            now: Seconds since 1970.
        """
        gone = np.fromiter(self._tombstones, np.uint64)
        settled = sum(part.count_live(now, gone) for part in self._parts if part)
        return settled + sum(ban.live(now) for ban in self._recent.values())

    def covers_more(self, version: int, most: int, now: int) -> bool:
        """Return whether what is live covers more addresses of a version than this; one that two bans cover is two."""
        networks = [ban.network for ban in self._recent.values() if ban.network.version == version and ban.live(now)]
        recent, tables = sum(1 << BITS[version] - network.length for network in networks), self._tables()
        if recent + sum(len(table.rows[version].number) for table in tables) <= most:
            return False  # most need no second look, at what is over
        tables = [table.live(now, self._tombstones) for table in tables]
        return recent + sum(len(table.rows[version].number) for table in tables) > most

    def publish(self, *, created: int, expires: int | None = None) -> Files:
        """Build what has changed, and sign it.

        Args:
            created: Seconds since 1970.
            expires: When sidecars refuse the file, in seconds since 1970; None: never.
        """
        self._recent = {ban.id: ban for ban in self._recent.values() if ban.live(created)}
        singles = [ban for ban in self._recent.values() if ban.is_single(created)]
        if len(singles) > MAX_RECENT or len(self._tombstones) > MAX_TOMBSTONES:
            self._compact(singles, created)
        parts = [part for part in self._parts if part]
        serial = self._next_serial()
        head = build_bans_layer(
            self._recent.values(), layer=self._layer, serial=serial, created=created, expires=expires,
            signers=self._signers, source=self._source, requires=[part.requirement for part in parts],
            tombstones=self._tombstones,
        )  # fmt: skip
        return Files(head, serial, {part.requirement: part.content for part in parts})

    def _tables(self) -> list[BanTable]:
        return [part.table for part in self._parts if part]

    def _compact(self, singles: Sequence[Ban], created: int) -> None:
        """Move addresses from the head to part 1, or all there are to part 2.

        A ban whose period has changed has the id of a tombstone while part 2 has it as it was: it stays in the head
        until part 2 is rebuilt, for in part 1 the tombstone would cancel it too.
        """
        first = self._parts[0]
        movable = [ban for ban in singles if ban_number(ban.id) not in self._tombstones]
        size = len(movable) + (first.table.size if first else 0)
        if max(len(self._tombstones) - MAX_TOMBSTONES, size - MAX_FIRST, len(singles) - len(movable) - MAX_RECENT) > 0:
            moved, place, old = singles, 1, self._tables()
        else:
            moved, place, old = movable, 0, [first.table] if first else []
        for ban in moved:
            del self._recent[ban.id]
        self._settle(place, [BanTable.of(moved), *(table.live(created, self._tombstones) for table in old)], created)

    def _settle(self, place: int, tables: Sequence[BanTable], created: int) -> None:
        """Build a part of these tables, which are all that it and the parts before it have."""
        table = BanTable.joined(tables).live(created)
        self._parts[: place + 1] = [None] * (place + 1)
        if table.size:
            serial = self._next_serial()
            content = build_part(table, layer=self._layer, serial=serial, created=created, signers=self._signers)
            self._parts[place] = _part(table, content)
        rest = [part for part in self._parts[place + 1 :] if part]
        self._tombstones = {number for number in self._tombstones if any(part.has(number) for part in rest)}


def _part(table: BanTable, content: bytes) -> Part:
    numbers = table.numbers()
    order = np.argsort(numbers)
    return Part(requirement_of(content), table, numbers[order], table.ends()[order], content)


def write_files(path: Path, files: Files) -> None:
    """Write the files of a layer: first the missing parts, then the head.

    Parts that no head has required for `GRACE` seconds are removed.

    Args:
        path: Of the head; its parts stand beside it.
        files: The layer.

    Raises:
        OSError: A file cannot be written.
    """
    for requirement, content in files.parts.items():
        place = part_path(path, requirement)
        if place.exists():
            os.utime(place)  # when it was last required
        else:
            replace_file(place, lambda file, content=content: file.write(content))  # type: ignore[misc]  # bound at once
    replace_file(path, lambda file: file.write(files.head))
    _remove_old(path, {part_path(path, requirement) for requirement in files.parts})


def _remove_old(path: Path, required: set[Path]) -> None:
    name = re.compile(rf"{re.escape(path.name)}\.[0-9]+")
    for file in path.parent.iterdir():
        if name.fullmatch(file.name) and file not in required:
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_mtime < time.time() - GRACE:
                    file.unlink()
