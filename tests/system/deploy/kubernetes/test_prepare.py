"""`authz control prepare`: a store without a person, as an init container makes it."""

from __future__ import annotations

import re
import stat
from typing import TYPE_CHECKING

import httpx
import pytest
from support.control import ControlProcess
from support.processes import PATIENCE, free_port
from support.suite.commands import Commands

from authz.control.store.database import migrate
from authz.errors import InputError
from authz.snapshot.signing.signers import generate_keys

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with control.yaml and keys, and no store."""
    for name in ("policy", "bans"):
        generate_keys(tmp_path / "keys", name)
    (tmp_path / "control.yaml").write_text(
        f'listen: "127.0.0.1:{free_port()}"\n'
        "layers: [{name: policy, key: keys/policy.key}, {name: bans, key: keys/bans.key}]\n"
    )
    return tmp_path


PREPARE = ("control", "prepare", "--config", "control.yaml", "--token-file", "first-token")


def test_a_new_store_is_made_and_its_token_is_put_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(folder, monkeypatch)
    ran = authz(*PREPARE)
    assert (ran.status, ran.err) == (0, "")
    token = (folder / "first-token").read_text().strip()
    assert re.fullmatch(r"authz_\S{40,}", token)
    assert token not in ran.out, "it would stand in the log of the pod"
    assert stat.S_IMODE((folder / "first-token").stat().st_mode) == 0o600
    with ControlProcess(folder) as control:
        listening = control.wait_for_line(r"listening on (\S+)")
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"http://{listening[1]}/v1/tokens", headers=headers, timeout=PATIENCE)
        assert answer.status_code == 200


def test_a_store_that_is_there_stays_as_it_is_and_gets_no_other_token(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authz = Commands(folder, monkeypatch)
    authz(*PREPARE)
    (folder / "first-token").unlink()
    ran = authz(*PREPARE)
    assert (ran.status, ran.out) == (0, "the store is there, and of this version")
    assert not (folder / "first-token").exists()


def test_an_older_store_is_brought_up_to_date(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(folder, monkeypatch)
    authz(*PREPARE)
    migrate(f"sqlite:///{folder}/control.sqlite", "0002")
    assert authz(*PREPARE).status == 0
    with ControlProcess(folder):
        pass


def test_a_token_that_could_not_be_kept_is_not_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authz = Commands(folder, monkeypatch)
    ran = authz(*PREPARE[:-1], "nowhere/first-token")
    assert ran.status == 2
    assert "its folder cannot be written to" in ran.err
    assert not (folder / "control.sqlite").exists()


def test_init_does_not_take_a_store_that_is_filled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from authz.control.maintenance.init import make_folder
    from authz.serve.config.values import Listen

    Commands(folder, monkeypatch)(*PREPARE)
    with pytest.raises(InputError, match="found a store in it, expected none"):
        make_folder(folder / "other", Listen("127.0.0.1", 9194), store=f"sqlite:///{folder}/control.sqlite")
