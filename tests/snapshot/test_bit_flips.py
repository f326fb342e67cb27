"""Flipped bits, cuts and edits: documented errors or unchanged content, nothing else."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.snapshot.forge import Forge, flip
from support.snapshot.refusal import code_of, documented_codes
from support.snapshot.shelf import EMPTY, set_signature, signature
from support.suite.effort import tries

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import SnapshotRefused
from authz.snapshot.read import check_snapshot, inspect_snapshot
from authz.snapshot.sections import ENTRY_TYPES, INDEX_TYPES

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

# Each bit of each part.


def test_one_bit_flipped_in_the_magic_is_refused(good: Forge, base: Publisher) -> None:
    codes = {code_of(flip(good.data, byte, bit), base) for byte in range(8) for bit in range(8)}
    assert codes == {"bad_magic"}


@pytest.mark.parametrize("bit", range(32))
def test_one_bit_flipped_in_the_length_of_the_envelope_is_refused(good: Forge, base: Publisher, bit: int) -> None:
    broken = flip(good.data, 8 + bit // 8, bit % 8)
    (length,) = struct.unpack_from("<I", broken, 8)
    expected = "too_large" if length > 8 << 20 else "truncated" if 12 + length > len(broken) else "bad_envelope"
    assert code_of(broken, base) == expected


def test_one_bit_flipped_in_the_envelope_is_refused(good: Forge, base: Publisher) -> None:
    codes = {code_of(flip(good.data, byte, byte % 8), base) for byte in range(12, good.envelope_end)}
    assert codes == {"bad_envelope", "bad_signature", "unknown_key"}


def test_one_bit_flipped_in_the_payload_makes_the_signature_bad(good: Forge, base: Publisher) -> None:
    def broken(byte: int) -> bytes:
        payload = base64.b64encode(flip(good.payload, byte, byte % 8)).decode()
        return good.with_changed_envelope(lambda envelope: envelope.update(payload=payload))

    assert {code_of(broken(byte), base) for byte in range(len(good.payload))} == {"bad_signature"}


def test_one_bit_flipped_in_the_signature_makes_it_bad(good: Forge, base: Publisher) -> None:
    def broken(bit: int) -> bytes:
        return good.with_changed_envelope(lambda e: set_signature(e, flip(signature(e), bit // 8, bit % 8)))

    assert {code_of(broken(bit), base) for bit in range(64 * 8)} == {"bad_signature"}


def test_one_bit_flipped_in_any_padding_is_refused(good: Forge, base: Publisher) -> None:
    used = {*range(good.envelope_end), *(byte for start, end in good.places().values() for byte in range(start, end))}
    padding = set(range(len(good.data))) - used
    assert len(padding) > 100
    assert {code_of(flip(good.data, byte, byte % 8), base) for byte in padding} == {"bad_section"}


@pytest.mark.parametrize("name", [name for name in INDEX_TYPES if name not in EMPTY])
def test_one_bit_flipped_in_a_section_is_refused(good: Forge, base: Publisher, name: str) -> None:
    start, end = good.places()[name]
    assert {code_of(flip(good.data, byte, byte % 8), base) for byte in range(start, end)} == {"bad_digest"}


@pytest.mark.parametrize("name", [name for name in INDEX_TYPES if name not in EMPTY])
def test_one_bit_flipped_in_a_section_is_refused_when_the_snapshot_is_only_shown(
    good: Forge, tmp_path: Path, name: str
) -> None:
    (tmp_path / "f").write_bytes(flip(good.data, good.places()[name][0]))
    with pytest.raises(SnapshotRefused) as refused:
        inspect_snapshot(tmp_path / "f")
    assert refused.value.code == "bad_digest"


def test_every_cut_is_refused(good: Forge, base: Publisher) -> None:
    assert {code_of(good.data[:size], base) for size in range(len(good.data))} == {"truncated"}


# The fuzzer: documented errors or unchanged content, nothing else.


def test_blocks_with_leaves_that_are_not_there_are_a_problem(good: Forge, base: Publisher) -> None:
    """Found by fuzzing: `authz snapshot verify` ended with a traceback."""
    block = bytes.fromhex("050000000000005d")
    data = good.with_sections(lambda sections: sections.update({"v4.blocks": block}))
    loaded = OpenedSnapshot(check_snapshot(memoryview(data), [base.key()], now=0))
    assert [problem for problem in loaded.index.problems(len(loaded.entries)) if problem.startswith("v4.")] != []


KINDS = st.sampled_from(["set", "insert", "cut", "drop", "copy"])
EDITS = st.lists(st.tuples(KINDS, st.integers(0, 1 << 16), st.binary(max_size=12)), min_size=1, max_size=4)


def edited(data: bytes, edits: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, bytes_ in edits:
        at_ = place % (len(data) + 1)
        if kind == "set":
            data = data[:at_] + bytes_ + data[at_ + len(bytes_) :]
        elif kind == "insert":
            data = data[:at_] + bytes_ + data[at_:]
        elif kind == "cut":
            data = data[:at_]
        elif kind == "drop":
            data = data[:at_] + data[at_ + len(bytes_) :]
        else:
            data = data[:at_] + data[: len(bytes_)] + data[at_:]
    return data


@settings(max_examples=tries(400), deadline=None)
@given(edits=EDITS)
def test_an_edited_file_is_refused_with_a_documented_code_or_says_what_it_said(
    good: Forge, base: Publisher, edits: list[tuple[str, int, bytes]]
) -> None:
    data = edited(good.data, edits)
    try:
        snapshot = check_snapshot(memoryview(data), [base.key()], now=0)
    except SnapshotRefused as refused:
        code = refused.code
        assert data != good.data
        assert code in documented_codes()
    else:
        assert snapshot.manifest == good.manifest
        assert {name: bytes(section) for name, section in snapshot.sections.items()} == good.sections


@settings(max_examples=tries(300), deadline=None)
@given(edits=EDITS)
def test_a_well_signed_edited_manifest_is_refused_with_a_documented_code_or_loads(
    good: Forge, base: Publisher, edits: list[tuple[str, int, bytes]]
) -> None:
    code = code_of(good.with_payload(edited(good.payload, edits)), base)
    assert code in documented_codes() | {"ok"}


@settings(max_examples=tries(300), deadline=None)
@given(name=st.sampled_from(sorted(ENTRY_TYPES | INDEX_TYPES)), edits=EDITS)
def test_a_well_signed_edited_index_is_refused_or_its_problems_are_named(
    good: Forge, base: Publisher, name: str, edits: list[tuple[str, int, bytes]]
) -> None:
    data = good.with_sections(lambda sections: sections.update({name: edited(sections[name], edits)}))
    try:
        loaded = OpenedSnapshot(check_snapshot(memoryview(data), [base.key()], now=0))
    except SnapshotRefused as refused:
        code = refused.code
        assert code in ({"bad_section", "bad_manifest", "too_large"} if name in ENTRY_TYPES else {"bad_section"})
    else:
        assert all(isinstance(problem, str) for problem in loaded.index.problems(len(loaded.entries)))
