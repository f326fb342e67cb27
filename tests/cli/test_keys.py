"""`authz keys`, as an operator types it."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Commands


def test_a_key_pair_is_made(authz: Commands, tmp_path: Path) -> None:
    made = authz("keys", "generate", "keys", "--name", "2026", "--json").json()
    assert (made["private"], made["public"]) == ("keys/2026.key", "keys/2026.pub")
    assert re.fullmatch("[0-9a-f]{64}", made["keyid"])
    assert stat.S_IMODE((tmp_path / "keys" / "2026.key").stat().st_mode) == 0o600


def test_a_key_pair_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real("keys", "generate", "keys", "--name", "2026")
    assert (ran.status, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["made", "private", "public", "key"]
    assert "keys/2026.key  (the publisher's: keep it secret)" in ran.out


@pytest.mark.usefixtures("shop")
def test_a_key_is_not_overwritten(authz: Commands, tmp_path: Path) -> None:
    before = (tmp_path / "keys" / "a.key").read_bytes()
    refused(
        authz.real("keys", "generate", "keys", "--name", "a"),
        "authz: error: keys/a.key: exists, expected no such file",
        "hint: choose another --name",
    )
    assert (tmp_path / "keys" / "a.key").read_bytes() == before


@pytest.mark.parametrize("name", ["../a", "a/b", "", ".a", "a b", "a\n", 65 * "a"])
def test_a_name_that_is_no_file_name_is_refused(authz: Commands, name: str, tmp_path: Path) -> None:
    ran = authz("keys", "generate", "keys", "--name", name)
    assert ran.status == 2
    assert ran.err.startswith("authz: error: --name: found '")
    assert ran.err.endswith("expected letters, digits, '.', '_' and '-'")
    assert list(tmp_path.iterdir()) == []
