"""Entries in sections of their own: each is read when it is asked for, and none is believed unseen."""

from __future__ import annotations

import struct

import pytest

from authz.engine.entries.manifest import Entries, entry_message
from authz.engine.model import Entry as Made
from authz.errors import SnapshotRefused
from authz.snapshot.lazy_entries import MAX_ENTRY, PackedEntries, pack_entries
from authz.wire.snapshot.v1.snapshot_pb2 import Entry

ENTRIES = (
    Entry(id="bad", list="deny", action="block", reason="r" * 300, expires=1, added=-7),
    Entry(id="office", list="allow", action="block", applications=["shop", "admin"]),
)


def packed(*parts: bytes) -> dict[str, memoryview]:
    """Return the two sections for these serialized entries."""
    offsets = [0]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return {
        "entries.offset": memoryview(struct.pack(f"<{len(offsets)}I", *offsets)),
        "entries.data": memoryview(b"".join(parts)),
    }


def test_the_entries_are_read_one_by_one() -> None:
    sections = {name: memoryview(data) for name, (_, data) in pack_entries(ENTRIES).items()}
    assert sections == packed(*(entry.SerializeToString(deterministic=True) for entry in ENTRIES))
    entries = PackedEntries(sections)
    assert (len(entries), entries[1], entries[-1]) == (2, ENTRIES[1], ENTRIES[1])
    assert list(entries) == list(ENTRIES)
    assert list(entries[:1]) == [ENTRIES[0]]
    for beyond in (2, -3):
        with pytest.raises(IndexError):
            entries[beyond]


def test_no_entries_are_two_sections_too() -> None:
    assert list(PackedEntries({name: memoryview(data) for name, (_, data) in pack_entries([]).items()})) == []


def test_an_entry_is_the_same_after_it_was_packed() -> None:
    made = Made("bad", "deny", applications=frozenset({"shop"}), starts=0, reason="why", subjects=("tor",), added=9)
    sections = {name: memoryview(data) for name, (_, data) in pack_entries([entry_message(made)]).items()}
    assert list(Entries(PackedEntries(sections))) == [made]


def test_sections_that_do_not_fit_together_are_refused() -> None:
    good = packed(b"\x0a\x01a")
    for name, data in (
        ("entries.offset", b""),
        ("entries.offset", struct.pack("<2I", 1, 3)),
        ("entries.offset", struct.pack("<2I", 0, 4)),
        ("entries.offset", struct.pack("<3I", 0, 3, 2)),
        ("entries.data", b"\x0a\x01"),
    ):
        with pytest.raises(SnapshotRefused, match="expected to run from 0 to"):
            PackedEntries({**good, name: memoryview(data)})
    for name in good:
        with pytest.raises(SnapshotRefused, match=f"{name}: missing"):
            PackedEntries({key: value for key, value in good.items() if key != name})


def test_offsets_out_of_order_and_entries_of_megabytes_are_refused() -> None:
    """To read one is a single call: no request would be answered meanwhile."""
    sections = packed(b"\x0a\x01a", b"\x0a\x01b")
    for middle in (7, 1 << 31):
        sections["entries.offset"] = memoryview(struct.pack("<3I", 0, middle, 6))
        with pytest.raises(SnapshotRefused, match=r"entries.offset: not in order"):
            PackedEntries(sections)
    assert PackedEntries(packed(bytes(9), bytes(MAX_ENTRY))).longest == MAX_ENTRY
    with pytest.raises(
        SnapshotRefused, match=rf"found an entry of {MAX_ENTRY + 1} bytes, expected at most {MAX_ENTRY}"
    ):
        PackedEntries(packed(bytes(9), bytes(MAX_ENTRY + 1)))


@pytest.mark.parametrize("bad", [b"\x0a\x01\xff", b"\x0a\x03a b", b"\x0a\x01a\x12\x05block", b"\x12", b"\x0b"])
def test_every_entry_is_checked_before_any_is_asked_for(bad: bytes) -> None:
    good = [entry.SerializeToString() for entry in ENTRIES]
    assert [entry.id for entry in Entries(PackedEntries(packed(*good)))] == ["bad", "office"]
    with pytest.raises(SnapshotRefused, match=r"found|not valid protobuf"):
        Entries(PackedEntries(packed(*good, bad)))
