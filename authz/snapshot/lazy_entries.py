"""The entries of a snapshot: serialized messages one after the other, each parsed when it is asked for.

100,000 entries as messages or objects would be ten times their bytes, and parsing them in one call would hold the
interpreter, and every request, for as long. So they stand in two sections:

    entries.data      0a 03 "bad" 12 04 "deny" ...   0a 06 "office" ...
    entries.offset    0                              11                    ...   one more at the end
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import sub
from typing import TYPE_CHECKING, Final, overload

from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.cooperative import next_turn
from authz.snapshot.sections import array_of, bad_section, packed
from authz.wire.snapshot.v1.snapshot_pb2 import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


MAX_ENTRY: Final = 4 << 20  # bytes: reading one is a single call, in which no request is answered
_CHUNK: Final = 1 << 12  # offsets that are looked at in one turn


class PackedEntries(Sequence[Entry]):
    """The entries of a snapshot, by number.

    Reading one raises DecodeError if its bytes are not an Entry.

    Args:
        sections: The bytes of every section by name.
        prefix: What the names of the two sections begin with.

    Attributes:
        longest: Bytes of the longest one.

    Raises:
        SnapshotRefused: `bad_section`: one of the two sections is missing, or they do not fit together; `too_large`.
    """

    def __init__(self, sections: Mapping[str, memoryview], prefix: str = "entries") -> None:
        self._data = array_of(sections, f"{prefix}.data", "u8")
        self._offsets = array_of(sections, f"{prefix}.offset", "u32")
        self._count = _check_offsets(prefix, self._offsets, len(self._data))
        self.longest = _longest(prefix, self._offsets)
        if self.longest > MAX_ENTRY:
            found, expected = f"an entry of {self.longest} bytes", f"at most {MAX_ENTRY}"
            raise SnapshotRefused(Refusal.TOO_LARGE, f"{prefix}.offset", found=found, expected=expected)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Entry]: ...

    def __getitem__(self, number: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(number, slice):
            return [self[index] for index in range(self._count)[number]]
        if not -self._count <= number < self._count:
            raise IndexError(number)
        number %= self._count
        return Entry.FromString(bytes(self._data[self._offsets[number] : self._offsets[number + 1]]))


def _longest(prefix: str, offsets: memoryview[int]) -> int:
    most = 0
    for start in range(0, len(offsets) - 1, _CHUNK):
        some = offsets[start : start + _CHUNK + 1].tolist()
        if some != sorted(some):
            raise bad_section(f"{prefix}.offset: not in order")
        most = max(most, *map(sub, some[1:], some))
        next_turn()
    return most


def _check_offsets(prefix: str, offsets: memoryview[int], size: int) -> int:
    """Return how many parts the offsets tell apart; each is checked when it is read. Raises SnapshotRefused."""
    if not len(offsets) or offsets[0] != 0 or offsets[len(offsets) - 1] != size:
        raise bad_section(f"{prefix}.offset: expected to run from 0 to {size}, as {prefix}.data does")
    return len(offsets) - 1


def pack_entries(entries: Iterable[Entry], prefix: str = "entries") -> dict[str, tuple[str, bytes]]:
    """Return the two sections for some entries: by name, the element type and the bytes."""
    return packed((entry.SerializeToString(deterministic=True) for entry in entries), prefix)
