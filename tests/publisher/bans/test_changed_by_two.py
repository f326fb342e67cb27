"""A bans file that more than one changes, or more than one key has signed, and a change that the history lacks."""

from __future__ import annotations

import re
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands, commands_with_bans

from authz.snapshot.read import read_snapshot
from authz.snapshot.signing.keys import load_public_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return commands_with_bans(tmp_path, monkeypatch)


def test_a_file_that_an_editor_saved_over_a_newer_one_is_told_with_how_to_see_what_is_gone(authz: Commands) -> None:
    """Two changed it: one by an editor that was open meanwhile. The other's ban ended without a word."""
    path = authz.folder / "bans.yaml"
    opened = path.read_text()
    authz("ban", "203.0.113.9")
    path.write_text(opened)
    told = authz("ban", "203.0.113.10")
    assert told.status == 0
    assert told.err.startswith("authz: warning: bans.yaml: found serial ")
    command = re.search("`authz (.*)`", told.err)
    assert command is not None
    assert "203.0.113.9" in authz(*command[1].split()).out
    assert authz("ban", "203.0.113.11").err == ""


def test_a_ban_holds_though_its_history_cannot_be_kept(authz: Commands) -> None:
    """It said that the archive cannot be written, with the status of a mistake: as if nobody were banned."""
    shutil.rmtree(authz.folder / "archive", ignore_errors=True)
    (authz.folder / "archive").write_text("")
    told = authz("ban", "203.0.113.9", "--json")
    assert told.status == 0
    assert told.err.startswith("authz: warning: archive/bans: bans.snapshot cannot be archived")
    assert told.err.rstrip().endswith("what was changed holds, and the history does not have it")
    key = load_public_key(authz.folder / "keys" / "bans.pub")
    singles = read_snapshot(authz.folder / "bans.snapshot", [key], now=time.time(), layer="bans").singles()
    assert singles is not None
    assert len(singles) == 1


def test_a_build_of_another_key_is_not_gone_back_to(authz: Commands) -> None:
    made = authz("ban", "203.0.113.9", "--json").json()
    assert authz("keys", "generate", "keys", "--name", "other").status == 0
    ran = authz("bans", "rollback", str(made["serial"]), "--key", "keys/other.key")
    assert ran.status == 2
    assert "unknown_key" in ran.err
    assert "--trusted-key" in ran.err
    by_name = ("--key", "keys/other.key", "--trusted-key", "keys/bans.pub")
    assert authz("bans", "rollback", str(made["serial"]), *by_name).status == 0
