"""The heading of a manifest, written and read without protobuf, says what protobuf says of the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from authz.errors import BadValue, SnapshotRefused
from authz.snapshot import heading
from authz.snapshot.heading import Heading, Requirement, SectionPlace, manifest_bytes, read_heading
from authz.snapshot.layout import FORMAT, HEADER, MAGIC, PAYLOAD_TYPE
from authz.snapshot.read import inspect_manifest
from authz.snapshot.signing.envelope import Envelope, canonical
from authz.wire.plain import fields
from authz.wire.snapshot.v1.snapshot_pb2 import Application, Manifest

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
U64 = st.integers(0, (1 << 64) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
DIGESTS = st.binary(min_size=32, max_size=32)
HEADINGS = st.builds(
    Heading, TEXTS, U64, I64, st.none() | I64, st.booleans(),
    st.lists(st.builds(Requirement, U64, DIGESTS.map(bytes.hex)), max_size=3).map(tuple), TEXTS, TEXTS,
    st.lists(TEXTS, max_size=3).map(tuple), U64, st.lists(TEXTS, max_size=3).map(tuple),
    st.just(frozenset()),
)  # fmt: skip
SECTIONS = st.lists(st.builds(SectionPlace, TEXTS, U64, U64, TEXTS, DIGESTS), max_size=3)


def applications_of(written: Heading) -> list[bytes]:
    return [Application(name=name).SerializeToString() for name in written.applications]


def as_protobuf(written: Heading, sections: list[SectionPlace]) -> Manifest:
    manifest = Manifest(format=FORMAT, layer=written.layer, serial=written.serial, created=written.created,
                        expires=written.expires, part=written.part, protected=written.protected)  # fmt: skip
    for name in written.applications:
        manifest.applications.add(name=name)
    for part in written.requires:
        manifest.requires.add(serial=part.serial, digest=bytes.fromhex(part.digest))
    for name, offset, length, kind, digest in sections:
        manifest.sections.add(name=name, offset=offset, length=length, type=kind, sha256=digest)
    if written.by or written.source or written.rollback_of:
        manifest.origin.by, manifest.origin.source = written.by, written.source
        manifest.origin.rollback_of = written.rollback_of
    return manifest


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HEADINGS, SECTIONS)
def test_a_manifest_is_written_as_protobuf_writes_it(written: Heading, sections: list[SectionPlace]) -> None:
    expected = as_protobuf(written, sections).SerializeToString(deterministic=True)
    assert manifest_bytes(written, applications_of(written), sections) == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HEADINGS, SECTIONS)
def test_what_is_written_is_read(written: Heading, sections: list[SectionPlace]) -> None:
    assert heading._heading(manifest_bytes(written, applications_of(written), sections)) == written


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=60))
def test_bytes_that_protobuf_refuses_raise_nothing_but_bad_value(data: bytes) -> None:
    try:
        list(fields(data))
    except BadValue:
        return
    try:
        Manifest.FromString(data)
    except DecodeError:  # groups, or a field of another type, both of which the heading refuses later
        return


def file_of(payload: bytes, folder: Path) -> Path:
    envelope = canonical(Envelope(payload, PAYLOAD_TYPE, {}))
    path = folder / "lists.snapshot"
    path.write_bytes(HEADER.pack(MAGIC, len(envelope)) + envelope)
    return path


BAD = {
    "empty": b"",
    "a later format": b"\x08%c" % (FORMAT + 1),
    "cut": b"\xff",
    "cut text": b"\x08%c\x52\x05a" % FORMAT,
    "no UTF-8": b"\x08%c\x52\x01\xff" % FORMAT,
    "cut part": b"\x08%c\x6a\x01\x08" % FORMAT,
}


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
def test_a_bad_manifest_is_refused_as_the_reader_refuses_it(payload: bytes, tmp_path: Path) -> None:
    path = file_of(payload, tmp_path)
    codes = set()
    for read in (read_heading, inspect_manifest):
        with pytest.raises(SnapshotRefused) as refused:
            read(path)
        codes.add(refused.value.code)
    assert len(codes) == 1
