"""The snapshot file: written, and read back."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import POLICY, Publisher
from support.sidecar.loading import Loading
from support.snapshot.forge import Forge, canonical, up
from support.snapshot.refusal import code_of
from support.snapshot.shelf import SERIAL

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import InputError
from authz.snapshot import write
from authz.snapshot.layout import FORMAT
from authz.snapshot.read import check_snapshot, inspect_snapshot, read_snapshot
from authz.snapshot.sections import ENTRY_TYPES, INDEX_TYPES
from authz.snapshot.write import write_snapshot
from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

if TYPE_CHECKING:
    from pathlib import Path


# Writing and reading back.


def test_what_was_written_is_read_back(base: Publisher, tmp_path: Path) -> None:
    manifest = Manifest(format=FORMAT, serial=7, created=1000, expires=2000)
    manifest.applications.add(name="*", mode="block")
    sections = {"one": ("u8", b"a" * 65), "empty": ("u8", b""), "two": ("u32", b"b" * 128)}
    size = write_snapshot(tmp_path / "f", manifest, sections, [base.signer("a"), base.signer("b")])
    opened = read_snapshot(tmp_path / "f", [base.key("a"), base.key("b")], 2, now=1999.0)
    assert size == opened.size == (tmp_path / "f").stat().st_size
    assert (opened.manifest.serial, opened.manifest.created, opened.manifest.expires) == (7, 1000, 2000)
    assert {name: bytes(data) for name, data in opened.sections.items()} == {n: d for n, (_, d) in sections.items()}
    assert opened.signed_by == sorted([base.key("a").keyid, base.key("b").keyid])
    assert opened.digest == hashlib.sha256(manifest.SerializeToString(deterministic=True)).hexdigest()


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
    first = base.publish(to="one", serial=9, created=1000).read_bytes()
    assert base.publish(to="two", serial=9, created=1000).read_bytes() == first


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


# The codes are documented, all of them and no other.


def test_a_policy_that_grows_and_shrinks_is_published_again_and_again(publisher: Publisher, tmp_path: Path) -> None:
    loading = Loading(tmp_path, [publisher.key()])
    for policy in (POLICY, "version: 1\n", POLICY.replace("203.0.113.0/24", "203.0.112.0/23"), "version: 1\n"):
        publisher.publish(policy)
        assert loading.load() == "ok"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "lists.snapshot", "policy.yaml", "state"]
