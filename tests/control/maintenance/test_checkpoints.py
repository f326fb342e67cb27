"""Signed checkpoints: history that was rewritten, even with all hashes made anew, is found out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete, select, update
from support.control import Clock, Control, control
from support.processes import wait_for

from authz.control.maintenance.check import check_store, compare_checkpoints
from authz.control.store.ledger.chain import chained
from authz.control.store.ledger.changes import changes_of, read_heads
from authz.control.store.tables import changes, checkpoints, heads
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[Control, Path]]:
    """Give a control plane with two bans, and the checkpoints as somebody keeps them."""
    clock = Clock()
    with control(tmp_path / "c", clock=clock) as plane:
        plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.1", "period": "1d"})
        plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.2", "period": "1d"})
        plane.plane.publisher.close()
        clock.now += 3601
        plane.plane.publisher.publish_due()
        file = tmp_path / "kept.json"
        file.write_text(json.dumps(plane.ok("GET", "/v1/checkpoints")))
        yield plane, file


def problems(plane: Control, file: Path) -> list[str]:
    with plane.plane.store.reading() as tx:
        return [*check_store(tx).problems, *compare_checkpoints(tx, plane.plane.config, file)]


def test_a_checkpoint_is_made_each_hour_in_which_something_changed(tmp_path: Path) -> None:
    clock = Clock()
    with control(tmp_path / "c", clock=clock) as plane:
        assert wait_for(lambda: plane.ok("GET", "/v1/checkpoints?layer=bans"))
        plane.plane.publisher.close()
        for hours, expected in ((0, 1), (1, 1), (0, 1), (1, 2), (5, 2)):
            if expected == 2 and hours == 1:
                plane.ok("POST", "/v1/bans", {"address": "203.0.113.1", "period": "7d"})
            clock.now += hours * 3601
            for _ in range(2):
                plane.plane.publisher.publish_due()
            assert len(plane.ok("GET", "/v1/checkpoints?layer=bans")) == expected


def test_history_that_is_whole_agrees_with_its_checkpoints(kept: tuple[Control, Path]) -> None:
    plane, file = kept
    assert json.loads(file.read_text())
    assert problems(plane, file) == []


def test_history_rewritten_with_all_hashes_made_anew_is_found_out(kept: tuple[Control, Path]) -> None:
    plane, file = kept
    with plane.plane.store.writing() as tx:
        last = None
        for change in list(changes_of(tx.execute(select(changes).where(changes.c.layer == "bans")
                                                 .order_by(changes.c.sequence)))):  # fmt: skip
            import msgspec

            other = msgspec.structs.replace(change, actor="somebody else")
            last = chained(last or "0" * 64, other)
            where = (changes.c.layer == "bans") & (changes.c.sequence == change.sequence)
            tx.execute(update(changes).where(where).values(actor=other.actor, hash=last))
        tx.execute(update(heads).where(heads.c.layer == "bans").values(hash=last))
    assert any("history was rewritten" in problem for problem in problems(plane, file))
    with plane.plane.store.writing() as tx:
        tx.execute(delete(checkpoints))
    assert any("history was rewritten" in problem for problem in problems(plane, file))


def test_history_that_was_cut_off_is_found_out(kept: tuple[Control, Path]) -> None:
    plane, file = kept
    with plane.plane.store.writing() as tx:
        head = read_heads(tx)["bans"]
        tx.execute(delete(changes).where(changes.c.layer == "bans", changes.c.sequence == head.sequence))
        tx.execute(delete(checkpoints))
    assert any("is missing" in problem for problem in problems(plane, file))


def test_a_checkpoint_that_somebody_else_signed_is_none(kept: tuple[Control, Path]) -> None:
    plane, file = kept
    known = json.loads(file.read_text())
    envelope = json.loads(known[0]["envelope"])
    envelope["signatures"][0]["sig"] = "AAAA" + envelope["signatures"][0]["sig"][4:]
    known[0]["envelope"] = json.dumps(envelope)
    file.write_text(json.dumps(known))
    with pytest.raises(InputError, match="not signed by the layer's key"):
        problems(plane, file)
