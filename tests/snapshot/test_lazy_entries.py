"""A manifest taken apart: always the same as protobuf reads it in one."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from authz.engine.manifest import Entries
from authz.errors import SnapshotRefused
from authz.snapshot.lazy_entries import unpack
from authz.wire.snapshot.v1.snapshot_pb2 import Entry, Manifest

MANIFEST = Manifest(format=1, serial=1 << 40, created=-1, expires=0)
MANIFEST.entries.add(id="bad", list="deny", action="block", reason="r" * 300, expires=1)
MANIFEST.entries.add(id="office", list="allow", action="block", applications=["shop", "admin"])
MANIFEST.applications.add(name="*")
MANIFEST.sections.add(name="v4.starts", sha256=bytes(range(32)))
PAYLOAD = MANIFEST.SerializeToString()


def whole(payload: bytes) -> Manifest:
    """Return a manifest that was taken apart, put together again."""
    manifest, entries = unpack(payload)
    manifest.entries.extend(entries)
    return manifest


def test_the_entries_are_not_in_the_manifest_and_read_one_by_one() -> None:
    manifest, entries = unpack(PAYLOAD)
    assert len(manifest.entries) == 0
    assert (manifest.serial, manifest.sections) == (MANIFEST.serial, MANIFEST.sections)
    assert (len(entries), entries[1], entries[-1]) == (2, MANIFEST.entries[1], MANIFEST.entries[1])
    assert list(entries[:1]) == [MANIFEST.entries[0]]
    with pytest.raises(IndexError):
        entries[2]


def field(number: int, content: bytes) -> bytes:
    """Return a field of wire type 2 with less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_entries_may_stand_anywhere() -> None:
    one, other = Entry(id="a").SerializeToString(), Entry(id="b").SerializeToString()
    payload = field(6, one) + b"\x10\x07" + field(6, other) + b"\x10\x08" + field(6, b"")
    manifest, entries = unpack(payload)
    assert (manifest.serial, [entry.id for entry in entries]) == (8, ["a", "b", ""])
    assert whole(payload) == Manifest.FromString(payload)


UNKNOWN = [b"\x7d1234", b"\x7912345678", b"\x78\x96\x01", field(15, b"x"), b"\xfa\x3f\x01x", b"\x30\x05"]


@pytest.mark.parametrize("unknown", UNKNOWN, ids=bytes.hex)
def test_fields_of_a_newer_publisher_are_passed_over(unknown: bytes) -> None:
    assert list(unpack(unknown + PAYLOAD + unknown)[1]) == list(MANIFEST.entries)


BROKEN = {
    "a varint without an end": b"\x10" + b"\xff" * 11,
    "a varint that is cut": b"\x10\xff",
    "a length without content": b"\x32\x05abc",
    "a length without an end": b"\x32\xff",
    "a length beyond all files": b"\x32" + b"\xff" * 9 + b"\x01",
    "a tag alone": b"\x32",
    "four bytes that are three": b"\x7d123",
    "a group": b"\x7b\x7c",
    "no wire type": b"\x37",
    "field zero": b"\x02\x01x",
    "text that is no UTF-8": field(5, field(1, b"\xff")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_manifest_is_refused(name: str) -> None:
    for payload in (BROKEN[name], PAYLOAD + BROKEN[name]):
        with pytest.raises(DecodeError):
            unpack(payload)


@settings(max_examples=500, deadline=None)
@given(place=st.integers(0, len(PAYLOAD) - 1), length=st.integers(0, 3), new=st.binary(max_size=4))
def test_an_edited_manifest_is_refused_or_read_as_protobuf_reads_it(place: int, length: int, new: bytes) -> None:
    payload = PAYLOAD[:place] + new + PAYLOAD[place + length :]
    try:
        found = whole(payload)
    except DecodeError:
        return
    assert found.SerializeToString(deterministic=True) == Manifest.FromString(payload).SerializeToString(
        deterministic=True
    )


def test_every_entry_is_checked_before_any_is_asked_for() -> None:
    for bad in (field(1, b"\xff"), field(1, b"a b"), field(1, b"a") + field(2, b"block"), b"\x12"):
        _, entries = unpack(PAYLOAD + field(6, bad))
        with pytest.raises(SnapshotRefused, match=r"found|no Manifest"):
            Entries(entries)
    _, entries = unpack(PAYLOAD)
    assert [entry.id for entry in Entries(entries)] == ["bad", "office"]
    assert Entries(entries)[-1:] == [Entries(entries)[1]]
