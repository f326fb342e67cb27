"""The file of a layer that control.yaml names, and who else writes it: the command line, or a copy."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from support.control import init, opened
from support.processes import wait_for
from support.suite.commands import Commands

from authz.control.publish.one_layer import MAX_AHEAD
from authz.control.store.ledger.changes import read_changes, read_heads
from authz.publisher.bans.build import build_bans_layer
from authz.snapshot.archive import Archive
from authz.snapshot.heading import CONTROL_PLANE, Heading, read_heading
from authz.snapshot.signing.signers import load_signer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control

    from authz.control.store.ledger.changes import Head

KEY = ("--key", "control/keys/policy.key")


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    """Give a control plane that writes both layers to files, too."""
    folder = tmp_path / "control"
    _, token = init(folder)
    text = (folder / "control.yaml").read_text()
    text = text.replace("keys/policy.key", "keys/policy.key, file: layers/policy.snapshot")
    (folder / "control.yaml").write_text(text.replace("keys/bans.key", "keys/bans.key\n    file: layers/bans.snapshot"))
    with opened(folder, token) as control:
        # The ban names an application, which the policy gets, too. Each layer is offered first, and then written.
        control.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9", "applications": ["shop"]})
        with control.plane.store.reading() as tx:
            heads = read_heads(tx)
        wait_for(lambda: all(is_written(control, head) for head in heads.values()), "both layers are written")
        yield control


def file_of(plane: Control, layer: str) -> Path:
    return plane.folder / "layers" / f"{layer}.snapshot"


def is_written(plane: Control, head: Head) -> bool:
    file = file_of(plane, head.layer)
    return file.exists() and read_heading(file).serial >= head.sequence


def bans_of(plane: Control) -> Heading:
    return read_heading(file_of(plane, "bans"))


def put(plane: Control, serial: int) -> None:
    """Write a file of bans as somebody else who has the key."""
    now = int(time.time())
    signer = load_signer(str(plane.folder / "keys" / "bans.key"))
    file_of(plane, "bans").write_bytes(build_bans_layer([], layer="bans", serial=serial, created=now, signers=[signer]))


def warnings(plane: Control) -> str:
    return " ".join(plane.plane.publisher.warnings["bans"])


def test_the_command_line_replaces_no_file_of_a_control_plane(
    plane: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its serial was the clock: sidecars refused for days what the control plane published afterwards."""
    authz = Commands(tmp_path, monkeypatch)
    policy, before = file_of(plane, "policy"), bans_of(plane)
    Archive(tmp_path / "archive", "policy").keep(policy, now=int(time.time()))
    serial = next(iter(Archive(tmp_path / "archive", "policy").builds())).manifest.serial
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    (tmp_path / "bans.yaml").write_text(
        "version: 1\nlayer: bans\nsnapshot: control/layers/bans.snapshot\nkey: control/keys/bans.key\n"
        "serial: 0\nbans: []\n"
    )
    for command in (
        ("snapshot", "rollback", str(serial), "-o", policy, *KEY, "--archive", "archive"),
        ("snapshot", "build", "policy.yaml", "-o", policy, *KEY, "--force"),
        ("ban", "203.0.113.77"),
    ):
        ran = authz(*command)
        assert ran.status == 2
        assert "is written by a control plane" in ran.err
        assert "authz rollback TIME" in " ".join(ran.err.split())
    assert (read_heading(policy).source, bans_of(plane)) == (CONTROL_PLANE, before)
    shutil.move(policy, tmp_path / "moved")  # whoever leaves the control plane
    assert authz("snapshot", "build", "policy.yaml", "-o", "new.snapshot", *KEY).status == 0


def test_a_file_of_somebody_else_is_told_and_the_next_is_above_it(
    plane: Control, caplog: pytest.LogCaptureFixture
) -> None:
    """The control plane replaced it in silence, by a serial that every sidecar refused."""
    assert bans_of(plane).source == CONTROL_PLANE
    foreign = int(time.time()) + 1000
    put(plane, foreign)
    wait_for(lambda: f"found serial {foreign} of somebody else" in warnings(plane), "it is noticed")
    assert f"layer bans: {file_of(plane, 'bans')}: found serial {foreign}" in caplog.text
    assert bans_of(plane).serial == foreign  # what somebody has done in need holds until the next change
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.10"})
    wait_for(lambda: bans_of(plane).source == CONTROL_PLANE, "it is replaced")
    assert bans_of(plane).serial > foreign
    wait_for(lambda: warnings(plane) == "", "it is over")
    with plane.plane.store.reading() as tx:
        changes = read_changes(tx, "bans", foreign, read_heads(tx)["bans"].sequence)
    assert [change.reason for change in changes] == [f"the file had serial {foreign} of somebody else"]
    last = bans_of(plane).serial
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.11"})
    wait_for(lambda: bans_of(plane).serial == last + 1, "all goes on")


def test_a_serial_far_from_the_clock_is_told_and_not_followed(plane: Control) -> None:
    """Whoever may write the file could use up all serials; nobody has verified who signed it."""
    foreign = int(time.time()) + 10 * MAX_AHEAD
    put(plane, foreign)
    wait_for(lambda: "of somebody else" in warnings(plane), "it is noticed")
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.10"})
    wait_for(lambda: bans_of(plane).source == CONTROL_PLANE, "it is replaced")
    assert bans_of(plane).serial < foreign - 8 * MAX_AHEAD


def test_what_is_no_snapshot_is_replaced(plane: Control) -> None:
    before = bans_of(plane).serial
    file_of(plane, "bans").write_bytes(b"nothing")
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.10"})
    wait_for(
        lambda: file_of(plane, "bans").stat().st_size > 7 and bans_of(plane).serial == before + 1, "it is replaced"
    )
