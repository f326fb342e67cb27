"""Killed, or without room on the disk, at every point of a load, a build, a ban: the old or the new, whole.

The short forms have faults at renames, where the new becomes visible; the long ones at every call that changes a disk.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.fuzz.failpoints import CHANGES, FULL, KILL, RENAMES, ROOM, Ended, every_fault, needs_strace
from support.publishing.publisher import POLICY, Publisher

from authz.errors import SnapshotRefused
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.memory import Memory
from authz.snapshot.read import read_snapshot
from authz.snapshot.rollback_guard import load_states

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from authz.snapshot.heading import Requirement

AUTHZ = (sys.executable, "-m", "authz")
LOAD = """\
from contextlib import nullcontext
from pathlib import Path
from authz.errors import SnapshotRefused
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.memory import Memory
from authz.snapshot.signing.keys import load_public_key
rules = Rules("policy", [load_public_key(Path("keys/a.pub"))], 1, 1 << 20)
try:
    Acceptor(rules, Memory(Path("state/authz.json"))).accept(Path("lists.snapshot"), lambda _: nullcontext(Path()))
except SnapshotRefused as refused:
    print("refused:", refused.code)
"""
LONG = [
    pytest.param(KILL, CHANGES, None, id="killed, all", marks=pytest.mark.long),
    pytest.param(FULL, ROOM, None, id="disk full, all", marks=pytest.mark.long),
]
FIRST = pytest.param(KILL, RENAMES, 1, id="killed, first")
FAULTS = pytest.mark.parametrize(("fault", "calls", "most"), [FIRST, *LONG])
MORE_FAULTS = pytest.mark.parametrize(
    ("fault", "calls", "most"),
    [
        pytest.param(KILL, RENAMES, None, id="killed, some"),
        pytest.param(FULL, RENAMES, 1, id="disk full, first"),
        *LONG,
    ],
)
needs_strace = pytest.fixture(autouse=True)(needs_strace)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    folder.mkdir()
    return folder


def no_part(_: Requirement) -> AbstractContextManager[Path]:
    raise AssertionError("the file has no parts")


def was_told(ended: Ended, fault: str) -> None:
    """Check how it ended: killed, or with an error that is none of ours to see as a traceback."""
    if "write(1," in ended.call or "write(2," in ended.call:
        return  # what it says has no place to go
    assert "Traceback" not in ended.output, ended
    if fault == FULL:
        assert ended.status in {0, 2}, ended
        assert ended.status == 0 or "No space left on device" in ended.output, ended
    else:
        assert ended.status == -9, ended


@MORE_FAULTS
def test_a_load_leaves_the_old_state_or_the_new_one(template: Path, fault: str, calls: str, most: int | None) -> None:
    publisher = Publisher(template)

    def acceptor(folder: Path) -> Acceptor:
        return Acceptor(Rules("policy", [publisher.key()], 1, 1 << 20), Memory(folder / "state" / "authz.json"))

    def load(folder: Path) -> int:
        return acceptor(folder).accept(folder / "lists.snapshot", no_part).serial

    (template / "state").mkdir()
    publisher.publish(serial=4, to="older.snapshot")
    publisher.publish(serial=5)
    assert load(template) == 5
    publisher.publish(serial=6)
    for folder, ended in every_fault([sys.executable, "-c", LOAD], template, calls, fault, most=most):
        was_told(ended, fault)
        if fault == FULL and "write(1," not in ended.call:
            assert ended.output in {"refused: state_unwritable\n", ""}, ended
        kept, known = acceptor(folder).restore(), load_states(folder / "state" / "authz.json")["policy"]
        assert known.serial <= kept.serial, ended
        assert {known.serial, kept.serial} <= {5, 6}
        shutil.copy(folder / "older.snapshot", folder / "lists.snapshot")
        with pytest.raises(SnapshotRefused) as refused:
            load(folder)
        assert refused.value.code == "rolled_back"
        shutil.copy(template / "lists.snapshot", folder / "lists.snapshot")
        assert load(folder) == 6
        assert acceptor(folder).restore().serial == 6
        assert load_states(folder / "state" / "authz.json")["policy"].serial == 6


def authz(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*AUTHZ, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@FAULTS
def test_a_build_leaves_the_old_snapshot_or_the_new_one(
    template: Path, fault: str, calls: str, most: int | None
) -> None:
    publisher = Publisher(template)
    key = publisher.key()
    build = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")
    (template / "policy.yaml").write_text(POLICY)
    authz(template, *build, "--serial", "5")
    (template / "policy.yaml").write_text(POLICY.replace("203.0.113.0/24", "203.0.113.0/25"))
    for folder, ended in every_fault([*AUTHZ, *build, "--serial", "6"], template, calls, fault, most=most):
        was_told(ended, fault)
        assert read_snapshot(folder / "lists.snapshot", [key], now=time.time()).manifest.serial in {5, 6}
        authz(folder, *build, "--serial", "7")
        assert read_snapshot(folder / "lists.snapshot", [key], now=time.time()).manifest.serial == 7
        assert leftovers(folder) == []


def leftovers(folder: Path) -> list[str]:
    """Return what was begun and is still there; an archive drops that after an hour."""
    return [path.name for path in folder.rglob("*.new") if "archive" not in path.parts]


def bans(folder: Path) -> set[str]:
    return {ban["network"] for ban in json.loads(authz(folder, "bans", "--layer", "bans.yaml", "--json"))["bans"]}


@FAULTS
def test_a_ban_is_there_or_not_and_the_next_one_signs_both(
    template: Path, fault: str, calls: str, most: int | None
) -> None:
    publisher = Publisher(template)
    authz(template, "bans", "init", "bans.yaml", "--key", "keys/a.key", "--snapshot", "bans.snapshot")
    ban = ("--for", "2h", "--layer", "bans.yaml")
    authz(template, "ban", "203.0.113.1", *ban)

    def signed(folder: Path) -> Any:
        return read_snapshot(folder / "bans.snapshot", [publisher.key()], now=time.time(), layer="bans")

    before = signed(template).manifest.serial
    for folder, ended in every_fault([*AUTHZ, "ban", "203.0.113.2", *ban], template, calls, fault, most=most):
        was_told(ended, fault)
        there = bans(folder)
        assert there in ({"203.0.113.1"}, {"203.0.113.1", "203.0.113.2"})
        between = signed(folder).manifest.serial
        assert between >= before
        authz(folder, "ban", "203.0.113.3", *ban)
        assert bans(folder) == there | {"203.0.113.3"}
        assert signed(folder).manifest.serial > between
        assert leftovers(folder) == []
