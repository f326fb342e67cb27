"""The snapshot file: written, read back, and a shelf of broken ones, each refused with its own code."""

from __future__ import annotations

import ast
import base64
import gc
import hashlib
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forge import Forge, canonical, flip, up
from support.loading import Loading
from support.publisher import POLICY, Publisher
from support.shelf import EMPTY, SERIAL, SHELF, payload_with, set_section, set_signature, signature

from authz.engine.opened_snapshot import OpenedSnapshot
from authz.errors import InputError, Refusal, SnapshotRefused
from authz.snapshot import envelope as envelope_module
from authz.snapshot import layout, read, write
from authz.snapshot.envelope import parse_envelope
from authz.snapshot.read import Requirement, check_snapshot, inspect_snapshot, read_snapshot
from authz.snapshot.sections import ENTRY_TYPES, INDEX_TYPES
from authz.snapshot.write import write_snapshot
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    """A publisher that all tests of this module share; they do not change its files."""
    return Publisher(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def good(base: Publisher) -> Forge:
    """A good snapshot whose serial is above the one that serves."""
    data = base.publish(serial=SERIAL + 1).read_bytes()
    return Forge(data, {name: base.signer(name) for name in ("a", "b")})


@pytest.fixture
def running(base: Publisher, tmp_path: Path) -> Loading:
    """What has loaded a good snapshot with the serial SERIAL."""
    loading = Loading(tmp_path, [base.key()])
    loading.put(base.publish(to="older", serial=SERIAL).read_bytes())
    assert loading.load() == "ok"
    assert loading.decider.ruleset is not None
    return loading


def code_of(data: bytes, publisher: Publisher, *, keys: tuple[str, ...] = ("a",), threshold: int = 1) -> str:
    """Return `ok`, or the code with which the bytes are refused."""
    try:
        OpenedSnapshot(
            check_snapshot(memoryview(data), [publisher.key(key) for key in keys], threshold, now=time.time())
        )
    except SnapshotRefused as error:
        return error.code
    return "ok"


# Writing and reading back.


def test_what_was_written_is_read_back(base: Publisher, tmp_path: Path) -> None:
    manifest = Manifest(format=2, serial=7, created=1000, expires=2000)
    manifest.applications.add(name="*", mode="block")
    sections = {"one": ("u8", b"a" * 65), "empty": ("u8", b""), "two": ("u32", b"b" * 128)}
    size = write_snapshot(tmp_path / "f", manifest, sections, [base.signer("a"), base.signer("b")])
    found = read_snapshot(tmp_path / "f", [base.key("a"), base.key("b")], 2, now=1999.0)
    assert size == found.size == (tmp_path / "f").stat().st_size
    assert (found.manifest.serial, found.manifest.created, found.manifest.expires) == (7, 1000, 2000)
    assert {name: bytes(data) for name, data in found.sections.items()} == {n: d for n, (_, d) in sections.items()}
    assert found.signed_by == sorted([base.key("a").keyid, base.key("b").keyid])
    assert found.digest == hashlib.sha256(manifest.SerializeToString(deterministic=True)).hexdigest()


def test_a_file_is_laid_out_as_the_documents_say(good: Forge) -> None:
    assert good.data[:8] == b"AZSNAP01"
    assert canonical(good.envelope) == good.data[12 : good.envelope_end]
    assert good.first_section % 64 == 0
    end = good.envelope_end
    for section in good.manifest.sections:
        start = good.first_section + section.offset
        assert start == up(end)
        assert good.data[end:start] == bytes(start - end)
        end = start + section.length
        assert hashlib.sha256(good.data[start:end]).digest() == section.sha256
    assert end == len(good.data)
    assert {section.name: section.type for section in good.manifest.sections} == ENTRY_TYPES | INDEX_TYPES


def test_a_file_put_together_by_the_documents_alone_is_accepted(good: Forge, base: Publisher) -> None:
    again = good.with_payload(good.payload)
    assert code_of(again, base) == "ok"
    assert again == good.data


def test_the_same_policy_serial_and_time_make_the_same_file(base: Publisher) -> None:
    one = base.publish(to="one", serial=9, created=1000).read_bytes()
    assert base.publish(to="two", serial=9, created=1000).read_bytes() == one


def test_a_snapshot_holds_what_the_policy_says(good: Forge, base: Publisher) -> None:
    loaded = OpenedSnapshot(check_snapshot(memoryview(good.data), [base.key()], now=time.time()))
    assert [application.name for application in loaded.applications] == ["*", "shop", "admin"]
    assert [(entry.id, entry.list, entry.applications) for entry in loaded.entries] == [
        ("office", "allow", frozenset()),
        ("bad", "deny", frozenset()),
        ("shop-only", "deny", frozenset({"shop"})),
    ]
    assert loaded.serial == SERIAL + 1
    assert list(loaded.index.problems(len(loaded.entries))) == []


def test_any_trusted_key_is_enough_where_one_must_sign(good: Forge, base: Publisher) -> None:
    assert code_of(good.with_payload(good.payload, keys=["b"]), base, keys=("a", "b")) == "ok"


def test_a_bad_signature_beside_a_good_one_is_no_harm_where_one_must_sign(good: Forge, base: Publisher) -> None:
    envelope = json.loads(good.signed_payload(good.payload, keys=["b", "a"]))
    envelope["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    assert code_of(good.with_envelope(canonical(envelope)), base, keys=("a", "b")) == "ok"
    assert code_of(good.with_envelope(canonical(envelope)), base, keys=("a", "b"), threshold=2) == "threshold_not_met"


def test_a_snapshot_can_be_shown_whoever_signed_it_and_however_old_it_is(base: Publisher) -> None:
    path = base.publish(to="old", serial=3, created=1000, expires=2000, keys=["b"])
    shown = inspect_snapshot(path)
    assert (shown.manifest.serial, shown.signed_by) == (3, [])


def test_a_snapshot_that_cannot_be_written_is_an_error_of_the_publisher(base: Publisher, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing/f: cannot be written: No such file or directory"):
        write_snapshot(tmp_path / "missing" / "f", Manifest(format=1), {}, [base.signer()])


@pytest.mark.parametrize(("cap", "limit"), [("MAX_FILE", 1000), ("MAX_ENVELOPE", 100)])
def test_a_snapshot_above_a_cap_is_not_written(
    base: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cap: str, limit: int
) -> None:
    monkeypatch.setattr(write, cap, limit)
    with pytest.raises(InputError, match=r"\d+ bytes with an envelope of \d+, expected at most \d+ and \d+"):
        write_snapshot(tmp_path / "f", Manifest(format=1), {"one": ("u8", bytes(2000))}, [base.signer()])
    assert list(tmp_path.iterdir()) == []


# The shelf.


@pytest.mark.parametrize("name", SHELF)
def test_a_broken_snapshot_is_refused_with_its_code_and_the_loaded_one_serves_on(
    name: str, good: Forge, running: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    code, make = SHELF[name]
    broken = make(good)
    running.put(broken)
    before = running.standing()
    with caplog.at_level(logging.WARNING, "authz"):
        assert running.load() == code
        assert running.load() == code, "looked at again, and unchanged"
    assert running.standing() == before
    assert running.decider.ruleset is before.ruleset
    assert running.path.read_bytes() == broken
    assert running.metrics.loads() == {"ok": 1, code: 1}
    assert len(caplog.messages) == 1
    assert f": {code}: " in caplog.messages[0]
    assert f"serial {SERIAL} serves on" in caplog.messages[0]
    running.put(good.data)
    assert running.load() == "ok"
    assert running.layer.refusal is None
    assert [serial for _, _, serial in running.standing().decisions] == [SERIAL + 1] * 4


def place_nothing(path: Path) -> None:
    path.unlink()


def place_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def place_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def place_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def place_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def place_endless_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def place_giant(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(layout.MAX_FILE + 1)  # a sparse file: takes no room


PLACES: dict[Callable[[Path], None], str] = {
    place_nothing: "absent",
    place_folder: "unreadable",
    place_socket: "unreadable",
    place_dangling_link: "absent",
    place_circle: "unreadable",
    place_endless_device: "unreadable",
    place_giant: "too_large",
}


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_of_bounded_size_is_refused(
    place: Callable[[Path], None], running: Loading, good: Forge
) -> None:
    place(running.path)
    before = running.standing()
    assert running.load() == PLACES[place]
    assert running.standing() == before
    if running.path.is_dir():
        running.path.rmdir()
    running.put(good.data)
    assert running.load() == "ok"


def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(running: Loading) -> None:
    running.path.unlink()
    os.mkfifo(running.path)
    rescued = threading.Event()

    def rescue() -> None:  # opening the other end lets go who waits, so that this test ends either way
        rescued.set()
        os.close(os.open(running.path, os.O_RDWR))

    timer = threading.Timer(10.0, rescue)
    timer.start()
    assert running.load() == "unreadable"
    timer.cancel()
    assert not rescued.is_set()


def test_a_file_whose_rights_change_is_tried_again(running: Loading) -> None:
    running.path.write_bytes(b"not yet")
    assert running.load() == "truncated"
    running.path.chmod(0o600)
    assert running.load() == "truncated"
    assert running.metrics.loads()["truncated"] == 2


def test_the_very_same_file_is_no_error(running: Loading) -> None:
    assert running.load(force=True) == "ok"
    running.put(running.path.read_bytes())
    assert running.load() == "ok"
    assert running.metrics.loads() == {"ok": 3}


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


# Signatures and thresholds.


def test_two_keys_must_have_signed_where_the_threshold_is_two(good: Forge, base: Publisher) -> None:
    both = good.with_payload(good.payload, keys=["a", "b"])
    assert code_of(both, base, keys=("a", "b"), threshold=2) == "ok"
    assert code_of(good.data, base, keys=("a", "b"), threshold=2) == "threshold_not_met"


def test_a_key_that_is_trusted_twice_counts_once(good: Forge, base: Publisher) -> None:
    assert code_of(good.data, base, keys=("a", "a"), threshold=2) == "threshold_not_met"


def test_a_key_that_signs_twice_counts_once(good: Forge, base: Publisher) -> None:
    twice = good.with_payload(good.payload, keys=["a", "a"])
    assert code_of(twice, base, keys=("a", "b"), threshold=2) == "bad_envelope"


def test_a_key_that_signs_twice_under_another_id_counts_once(good: Forge, base: Publisher) -> None:
    envelope = json.loads(good.signed_payload(good.payload, keys=["a"]))
    envelope["signatures"].append({"keyid": base.key("b").keyid, "sig": envelope["signatures"][0]["sig"]})
    assert code_of(good.with_envelope(canonical(envelope)), base, keys=("a", "b"), threshold=2) == "threshold_not_met"


def test_more_signatures_than_trusted_keys_are_never_enough(good: Forge, base: Publisher) -> None:
    assert code_of(good.data, base, keys=("a",), threshold=2) == "threshold_not_met"


def test_no_key_is_trusted_where_none_is_given(good: Forge, base: Publisher) -> None:
    assert code_of(good.data, base, keys=()) == "threshold_not_met"


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_below_one_accepts_nothing(good: Forge, base: Publisher, threshold: int) -> None:
    assert code_of(good.data, base, threshold=threshold) == "threshold_not_met"


def test_an_unknown_key_is_named_with_what_to_do(good: Forge, base: Publisher) -> None:
    with pytest.raises(SnapshotRefused) as refused:
        check_snapshot(memoryview(good.data), [base.key("b")], now=0)
    assert refused.value.message == f"signed by {base.key('a').keyid[:16]}, expected {base.key('b').keyid[:16]}"
    assert refused.value.hint == "add its publisher's .pub file to snapshot.trusted_keys, if you trust it"


def test_a_snapshot_is_expired_from_the_second_that_it_names(good: Forge, base: Publisher) -> None:
    data = memoryview(good.with_payload(payload_with(good, expires=2000)))
    assert check_snapshot(data, [base.key()], now=1999.9).manifest.expires == 2000
    with pytest.raises(SnapshotRefused, match=r"expired 0 seconds ago, expected a newer snapshot"):
        check_snapshot(data, [base.key()], now=2000.0)


def test_messages_repeat_no_more_than_a_little_of_a_hostile_file(good: Forge, base: Publisher) -> None:
    hostile = "\x1b[2J\n" * 10_000
    files = [
        good.with_envelope(good.signed_payload(good.payload, kind=hostile)),
        good.with_changed_envelope(lambda e: e["signatures"][0].update(keyid=hostile)),
        good.with_manifest(lambda m: set_section(m, 0, name=hostile, offset=1)),
        good.with_manifest(lambda m: set_section(m, 0, name=hostile, sha256=b"")),
        good.with_manifest(lambda m: set_section(m, 9, name=hostile, length=1 << 40)),
        good.with_manifest(lambda m: setattr(m.applications[0], "mode", hostile)),
        b"\x1b[2J\n\x1b[2J" + good.data,
    ]
    for data in files:
        with pytest.raises(SnapshotRefused) as refused:
            OpenedSnapshot(check_snapshot(memoryview(data), [base.key()], now=0))
        assert len(refused.value.message) < 300
        assert refused.value.message.isprintable()


# The place that a file is for.


def refused_at(publisher: Publisher, data: bytes, **place: Any) -> str:
    """Return `ok`, or the code with which a file is refused at a place."""
    (publisher.folder / "placed").write_bytes(data)
    try:
        read_snapshot(publisher.folder / "placed", [publisher.key()], now=0, **place)
    except SnapshotRefused as error:
        return error.code
    return "ok"


def test_a_file_of_another_layer_is_refused_though_the_key_is_the_same(good: Forge, base: Publisher) -> None:
    assert refused_at(base, good.data, layer="policy") == refused_at(base, good.data) == "ok"
    assert refused_at(base, good.data, layer="bans") == "wrong_layer"
    assert refused_at(base, good.with_manifest(lambda m: m.ClearField("layer")), layer="policy") == "wrong_layer"


def test_a_part_of_a_layer_is_no_layer_and_only_the_very_part_that_is_required_is_taken(
    good: Forge, base: Publisher
) -> None:
    data = good.with_manifest(lambda m: setattr(m, "part", True))
    digest = hashlib.sha256(Forge(data, good.signers).payload).hexdigest()
    assert refused_at(base, data) == "wrong_layer"
    assert refused_at(base, data, part=Requirement(SERIAL + 1, digest)) == "ok"
    assert refused_at(base, data, part=Requirement(SERIAL + 1, "0" * 64)) == "wrong_part"
    whole = hashlib.sha256(good.payload).hexdigest()
    assert refused_at(base, good.data, part=Requirement(SERIAL + 1, whole)) == "wrong_part"


# Caps: lowered, so that a small file passes them.


def test_a_file_above_the_cap_is_refused(
    base: Publisher, good: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(good.data)
    monkeypatch.setattr(read, "MAX_FILE", len(good.data))
    assert read_snapshot(tmp_path / "f", [base.key()], now=0).size == len(good.data)
    monkeypatch.setattr(read, "MAX_FILE", len(good.data) - 1)
    with pytest.raises(SnapshotRefused, match=f"found {len(good.data)} bytes, expected at most {len(good.data) - 1}"):
        read_snapshot(tmp_path / "f", [base.key()], now=0)


def test_the_caps_are_those_of_the_documents() -> None:
    assert (layout.MAX_FILE, layout.MAX_ENVELOPE) == (4 << 30, 8 << 20)
    page = (ROOT / "docs" / "snapshot-format.md").read_text()
    assert "at most 8 MiB" in page
    assert "4 GiB at most" in page


# The fuzzer: documented errors or unchanged content, nothing else.

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


def documented_codes() -> set[str]:
    return set(Refusal)


@settings(max_examples=400, deadline=None)
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


@settings(max_examples=300, deadline=None)
@given(edits=EDITS)
def test_a_well_signed_edited_manifest_is_refused_with_a_documented_code_or_loads(
    good: Forge, base: Publisher, edits: list[tuple[str, int, bytes]]
) -> None:
    code = code_of(good.with_payload(edited(good.payload, edits)), base)
    assert code in documented_codes() | {"ok"}


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(ENTRY_TYPES | INDEX_TYPES)), edits=EDITS)
def test_a_well_signed_edited_index_is_refused_or_its_problems_are_named(
    good: Forge, base: Publisher, name: str, edits: list[tuple[str, int, bytes]]
) -> None:
    data = good.with_sections(lambda sections: sections.update({name: edited(sections[name], edits)}))
    try:
        loaded = OpenedSnapshot(check_snapshot(memoryview(data), [base.key()], now=0))
    except SnapshotRefused as refused:
        code = refused.code
        assert code in ({"bad_section", "bad_manifest"} if name in ENTRY_TYPES else {"bad_section"})
    else:
        assert all(isinstance(problem, str) for problem in loaded.index.problems(len(loaded.entries)))


# The codes are documented, all of them and no other.


def codes_in_the_code() -> set[str]:
    found = set()
    for path in (ROOT / "authz").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "Refusal" and path.stem != "errors":
                found.add(str(Refusal[node.attr]))
    return found


def test_every_code_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "snapshot-format.md").read_text().partition("| refused with |")[2]
    assert documented_codes() == codes_in_the_code()
    assert set(re.findall(r"`([a-z]+_?[a-z_]*)`", page.partition("\n\n")[0])) == codes_in_the_code()


def test_the_shelf_has_every_code_that_a_file_can_have() -> None:
    elsewhere = {
        "threshold_not_met",
        "state_unwritable",
        "internal_error",
        "wrong_layer",
        "wrong_part",
        "unreachable",
        "bad_answer",
    }
    elsewhere |= {"part_missing"} | {
        code for code in Refusal if code.startswith("not_permitted_")
    }  # tests/serve/layers/test_layers.py
    assert {code for code, _ in SHELF.values()} | set(PLACES.values()) == codes_in_the_code() - elsewhere


def test_a_policy_that_grows_and_shrinks_is_published_again_and_again(publisher: Publisher, tmp_path: Path) -> None:
    loading = Loading(tmp_path, [publisher.key()])
    for policy in (POLICY, "version: 1\n", POLICY.replace("203.0.113.0/24", "203.0.112.0/23"), "version: 1\n"):
        publisher.publish(policy)
        assert loading.load() == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "lists.snapshot", "policy.yaml", "state"]


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create is Linux's")
def test_the_memory_of_replaced_and_refused_snapshots_is_given_back(good: Forge, running: Loading) -> None:
    def copies() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:authz-snapshot")

    gc.collect()  # what other tests left
    before = copies()
    for code, make in SHELF.values():
        running.put(make(good))
        assert running.load() == code
    assert copies() <= before
    for serial in range(SERIAL + 1, SERIAL + 11):
        running.put(good.with_payload(payload_with(good, serial=serial)))
        assert running.load() == "ok"
    assert copies() <= before


def test_nothing_but_the_short_end_of_an_envelope_is_parsed_before_the_signatures_are_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[int] = []

    def loads(text: bytes) -> None:
        parsed.append(len(text))
        raise ValueError

    monkeypatch.setattr(envelope_module, "json", SimpleNamespace(loads=loads))
    lists = b"[" + b"[]," * 1_000_000 + b"0]"
    for data in (lists, b'{"payload":"","x":' + lists + b"}", b'{"payload":"' + b"A" * 4_000_000):
        with pytest.raises(SnapshotRefused) as error:
            parse_envelope(data)
        assert error.value.code == "bad_envelope"
    assert parsed == []
