"""Building an index (publisher only; numpy).

1. Every network becomes a row: prefix, entry, and whether it is a hole (an `except` of the entry). Networks of an entry
   inside one of its holes are dropped, and so are repeated rows.
2. The address space is cut at every start and end; all pieces begin with match set 0, the empty one.
3. By rising prefix length, each network paints its pieces: their new set is their old one plus the entry with this
   length, or without the entry where the row is a hole. Networks nest or are apart, never cross, so before its turn a
   network's pieces all have the same set, and the work is one array operation a length.
4. Sets are interned: equal sets share a number. Neighbouring pieces with the same number are merged.

For 10.0.0.0/8 (a), 10.1.0.0/16 (b) and the hole 10.1.2.0/24 (a): the pieces 10.1.2.0-10.1.2.255 get {} -> {(a,8)} at
length 8, {(b,16),(a,8)} at 16 and {(b,16)} at 24.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from authz.errors import InputError
from authz.publisher.index.ipv6 import ipv6_sections
from authz.publisher.index.prefixes import Prefixes
from authz.snapshot.sections import BLOCKS, CUT, bits_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from authz.publisher.index.prefixes import Array
    from authz.publisher.progress import Progress

    MatchSet = tuple[tuple[int, int], ...]

MIN_FOR_BLOCKS = 1 << 18  # pieces; the blocks have 4 MiB
MAX_CUT = 1 / 8  # of the leaves: a cut one costs a bisection on top
MAX_MEMBERS = 1 << 26  # of all match sets together: 320 MB in the file; more is a mistake in the policy


class EntryNetworks(NamedTuple):
    """The networks of one entry, and its exceptions, by version (4, 6)."""

    networks: dict[int, Prefixes]
    holes: dict[int, Prefixes]


def build_index(entries: Sequence[EntryNetworks], progress: Progress = lambda *_: None) -> dict[str, Array]:
    """Return the arrays of the index by name (see authz.snapshot.sections); entry numbers are places in `entries`.

    Raises InputError if the entries overlap so much that the match sets pass `MAX_MEMBERS`.
    """
    sets = _Interner()
    high4, _, states4 = _merged(*_paint(4, _rows(entries, 4), sets, progress))
    high6, low6, states6 = _merged(*_paint(6, _rows(entries, 6), sets, progress))
    used, numbers = np.unique(np.concatenate([[0], states4, states6]), return_inverse=True)
    offsets, members = sets.members(used)
    starts4, sets4 = (high4 >> np.uint64(32)).astype("<u4"), numbers[1 : 1 + len(states4)].astype("<u4")
    blocks, leaves = _blocks(starts4.astype(np.int64), sets4)
    return {
        "v4.starts": starts4,
        "v4.sets": sets4,
        "v4.directory": directory_of(high4),
        "v4.blocks": blocks,
        "v4.leaves": leaves,
        "v6.starts_high": high6.astype("<u8"),
        "v6.starts_low": low6.astype("<u8"),
        **ipv6_sections(high6, low6, numbers[1 + len(states4) :].astype("<u4")),
        "sets.offset": offsets,
        "members.entry": members[:, 0].astype("<u4"),
        "members.length": members[:, 1].astype("u1"),
    }


class _Rows(NamedTuple):
    prefixes: Prefixes
    entry: Array  # i64
    hole: Array  # i64, 0 or 1


class _Interner:
    """Match sets and their numbers. A set is a tuple of (entry, length), longest first, then by entry."""

    def __init__(self) -> None:
        self._sets: list[MatchSet] = [()]
        self._numbers: dict[MatchSet, int] = {(): 0}
        self._size = 0

    def extended(self, numbers: Array, entries: Array, holes: Array, length: int) -> Array:
        """Return for each set the number of it with (or, for a hole, without) an entry of this prefix length."""
        # One key for each (set, entry, hole); far fewer keys than rows, so Python sees only the different ones.
        span = 2 * (int(entries.max()) + 1)
        keys, where = np.unique(numbers * span + entries * 2 + holes, return_inverse=True)
        results = [self._extend(*divmod(int(key), span), length) for key in keys]
        return np.array(results, np.int64)[where]

    def _extend(self, number: int, code: int, length: int) -> int:
        entry, hole = divmod(code, 2)
        kept = [member for member in self._sets[number] if member[0] != entry]
        if not hole:
            kept.append((entry, length))
            kept.sort(key=lambda member: (-member[1], member[0]))
        return self._number(tuple(kept))

    def _number(self, members: MatchSet) -> int:
        number = self._numbers.setdefault(members, len(self._sets))
        if number == len(self._sets):
            self._sets.append(members)
            self._size += len(members)
            if self._size > MAX_MEMBERS:
                raise InputError(
                    f"found more than {MAX_MEMBERS} members of match sets, expected fewer: too many entries overlap",
                    hint="give networks that share reason and window to one entry",
                )
        return number

    def members(self, used: Array) -> tuple[Array, Array]:
        """Return the offsets of the used sets, and all their members one after the other."""
        chosen = [self._sets[number] for number in used]
        offsets = np.concatenate([[0], np.cumsum([len(members) for members in chosen])]).astype("<u4")
        flat = np.fromiter((n for members in chosen for member in members for n in member), np.int64)
        return offsets, flat.reshape(-1, 2)


def _rows(entries: Sequence[EntryNetworks], version: int) -> _Rows:
    """Return the rows of all entries: sorted by length, start and entry, without repeats."""
    parts, numbers, holes = [], [], []
    for number, subject in enumerate(entries):
        networks, excepted = subject.networks[version], subject.holes[version]
        if len(excepted):
            kept = ~networks.inside(excepted)
            networks = Prefixes(*(column[kept] for column in networks))
        for part, is_hole in ((networks, 0), (excepted, 1)):
            if len(part):
                parts.append(part)
                numbers.append(np.full(len(part), number, np.int64))
                holes.append(np.full(len(part), is_hole, np.int64))
    if not parts:
        empty = np.zeros(0, np.int64)
        return _Rows(Prefixes.of(version, [], []), empty, empty)
    prefixes = Prefixes.concatenate(parts)
    columns: list[Array] = [
        np.concatenate(holes),
        np.concatenate(numbers),
        prefixes.low,
        prefixes.high,
        prefixes.length,
    ]
    order = np.lexsort(columns)
    columns = [column[order] for column in columns]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    hole, entry, low, high, length = (column[fresh] for column in columns)
    return _Rows(Prefixes(high, low, length), entry, hole)


def _paint(version: int, rows: _Rows, sets: _Interner, progress: Progress) -> tuple[Array, Array, Array]:
    """Return the starts of all pieces (high, low) and the number of the match set of each."""
    high, low, begins, ends = _cut(rows.prefixes)
    states = np.zeros(len(high), np.int64)
    count = len(rows.entry)
    edges = [*np.flatnonzero(np.diff(rows.prefixes.length.astype(np.int64), prepend=-1)), count]
    for begin, end in itertools.pairwise(edges):
        level = slice(int(begin), int(end))
        firsts = np.flatnonzero(np.diff(begins[level], prepend=-1))  # the first row of each network of this length
        first_pieces, end_pieces = begins[level][firsts], ends[level][firsts]
        painted = states[first_pieces]
        for which, row in _by_turns(firsts, len(begins[level])):
            entries, holes = rows.entry[level][row], rows.hole[level][row]
            painted[which] = sets.extended(painted[which], entries, holes, int(rows.prefixes.length[begin]))
        _fill(states, first_pieces, end_pieces, painted)
        progress(f"index IPv{version}", int(end), count)
    return high, low, states


def _by_turns(firsts: Array, count: int) -> Iterator[tuple[Array, Array]]:
    """Yield the first row of every network, then the second of those that have one, and so on.

    firsts: where the rows of each network begin, of `count` rows. Yields (numbers of networks, their rows).
    """
    rows = np.diff(firsts, append=count)
    for turn in range(int(rows.max())):
        which = np.flatnonzero(rows > turn)
        yield which, firsts[which] + turn


def _fill(states: Array, begins: Array, ends: Array, numbers: Array) -> None:
    """Set states[begins[i]:ends[i]] to numbers[i], for all i at once; the ranges are apart."""
    widths = ends - begins
    jumps = np.repeat(begins - np.concatenate([[0], np.cumsum(widths)[:-1]]), widths)
    states[np.arange(len(jumps)) + jumps] = np.repeat(numbers, widths)


def _cut(prefixes: Prefixes) -> tuple[Array, Array, Array, Array]:
    """Return the starts of all pieces (high, low), and for each network its first piece and the one behind its last."""
    count = len(prefixes)
    end_high, end_low = prefixes.ends()
    zero = np.zeros(1, np.uint64)
    highs = np.concatenate([zero, prefixes.high, end_high])
    lows = np.concatenate([zero, prefixes.low, end_low])
    order = np.lexsort([lows, highs]) if lows.any() else np.argsort(highs, kind="stable")
    sorted_high, sorted_low = highs[order], lows[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (sorted_high[1:] != sorted_high[:-1]) | (sorted_low[1:] != sorted_low[:-1])
    piece = np.empty(len(order), np.int64)
    piece[order] = np.cumsum(fresh) - 1
    begins, ends = piece[1 : 1 + count], piece[1 + count :]
    pieces = int(fresh.sum())
    # A network that reaches to the last address ends at (0, 0), the first piece: it means behind the last.
    return sorted_high[fresh], sorted_low[fresh], begins, np.where(ends == 0, pieces, ends)


def _merged(high: Array, low: Array, states: Array) -> tuple[Array, Array, Array]:
    keep = np.ones(len(states), np.bool_)
    keep[1:] = states[1:] != states[:-1]
    return high[keep], low[keep], states[keep]


def directory_of(high: Array) -> Array:
    """Return the positions between which to look, by the top bits of an address (left-aligned in 64)."""
    bits = bits_for(len(high))
    tops = high >> np.uint64(64 - bits)
    return np.searchsorted(tops, np.arange((1 << bits) + 1, dtype=np.uint64)).astype("<u4")


def _blocks(starts: Array, sets: Array) -> tuple[Array, Array]:
    """Return the blocks and leaves of IPv4 (see snapshot.sections): none for a table that is small or cut finely."""
    empty = np.zeros(0, "<u8"), np.zeros(0, "<u4")
    if len(starts) < MIN_FOR_BLOCKS:
        return empty
    places, inside = starts >> 8, (starts & 0xFF) != 0
    cut = np.unique(places[inside])
    begins = np.unique(np.concatenate([places[~inside], cut, cut + 1]))
    begins = begins[begins < 1 << 24]
    if len(cut) > MAX_CUT * len(begins):
        return empty
    behind = np.searchsorted(starts, begins << 8, side="right")
    leaves = np.where(np.isin(begins, cut), CUT | behind, sets[behind - 1])
    blocks = np.searchsorted(begins >> 5, np.arange(BLOCKS), side="right").astype(np.uint64) - np.uint64(1)
    others = begins[begins & 31 > 0]
    numbers, firsts = np.unique(others >> 5, return_index=True)
    marks = np.uint64(1) << ((others & 31) + 31).astype(np.uint64)
    if len(others):
        blocks[numbers] |= np.bitwise_or.reduceat(marks, firsts)
    return blocks.astype("<u8"), leaves.astype("<u4")
