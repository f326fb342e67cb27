"""Signatures, thresholds, and the place that a file is for."""

from __future__ import annotations

import hashlib
import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from support.sidecar.loading import Loading
from support.snapshot.forge import Forge, canonical
from support.snapshot.refusal import code_of
from support.snapshot.shelf import SERIAL, payload_with, set_section

from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.errors import SnapshotRefused
from authz.serve.layers import accept
from authz.snapshot.heading import Requirement
from authz.snapshot.read import check_snapshot, read_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher


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


def test_what_nobody_who_is_trusted_has_signed_is_given_no_memory(
    good: Forge, base: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could write the volume had 256 MiB copied for each file that was then refused."""
    path = tmp_path / "lists.snapshot"
    path.write_bytes(good.data)
    asked: list[str] = []
    create = os.memfd_create

    def counted(name: str, flags: int) -> int:
        asked.append(name)
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", counted)
    with pytest.raises(SnapshotRefused, match="signed by"):
        read_snapshot(path, [base.key("b")], now=0)
    assert asked == []
    read_snapshot(path, [base.key()], now=0)
    assert len(asked) == 1


def test_an_unknown_key_is_named_with_what_to_do(good: Forge, base: Publisher) -> None:
    with pytest.raises(SnapshotRefused) as refused:
        check_snapshot(memoryview(good.data), [base.key("b")], now=0)
    assert refused.value.message == f"signed by {base.key('a').keyid[:16]}, expected {base.key('b').keyid[:16]}"
    assert refused.value.hint == "add its publisher's .pub file to trusted_keys in authz.yaml, if you trust it"


@pytest.mark.parametrize("now", [1999.0, 1999.9])
def test_a_snapshot_is_good_up_to_the_second_that_it_names(good: Forge, base: Publisher, now: float) -> None:
    data = good.with_payload(payload_with(good, expires=2000))
    assert check_snapshot(memoryview(data), [base.key()], now=now).manifest.expires == 2000


@pytest.mark.parametrize(("now", "ago"), [(2000.0, 0), (2000.9, 0), (2001.0, 1), (2059.0, 59)])
def test_a_snapshot_is_expired_from_the_second_that_it_names(
    good: Forge, base: Publisher, now: float, ago: int
) -> None:
    data = good.with_payload(payload_with(good, expires=2000))
    with pytest.raises(SnapshotRefused, match=f"expired {ago} seconds ago, expected a newer snapshot") as refused:
        check_snapshot(memoryview(data), [base.key()], now=now)
    assert refused.value.code == "expired"


def test_a_file_is_loaded_up_to_the_second_before_it_expires(
    good: Forge, base: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, clock = good.with_payload(payload_with(good, expires=2000)), SimpleNamespace(now=0.0)
    monkeypatch.setattr(accept, "time", SimpleNamespace(time=lambda: clock.now))
    for clock.now, code in ((1999.0, "ok"), (2000.0, "expired"), (2001.0, "expired")):
        loading = Loading(tmp_path / f"{clock.now:.0f}", [base.key()])
        loading.put(data)
        assert loading.load() == code


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
