"""Heads with parts in the archive: kept together, and published again together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands

from authz.addresses import Network
from authz.publisher.bans import Ban
from authz.publisher.bans.tiers import Tiers, write_files
from authz.publisher.whole_layer import read_whole, table_of
from authz.snapshot.archive import Archive
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import part_path
from authz.snapshot.read import inspect_manifest
from authz.snapshot.signing.keys import load_public_key
from authz.snapshot.signing.signers import load_signer

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_000_000


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Commands in a folder with keys `a` and `b`."""
    commands = Commands(tmp_path, monkeypatch)
    for name in ("a", "b"):
        assert commands("keys", "generate", "keys", "--name", name).status == 0
    return commands


def tiers(folder: Path, bans: int) -> Tiers:
    """Return a layer of which all bans but one have settled in a part."""
    serials = itertools.count(1)
    made = Tiers("bans", [load_signer(str(folder / "keys" / "a.key"))], lambda: next(serials))
    made.load((of_address(number) for number in range(bans)), created=NOW)
    made.add(of_address(bans))
    return made


def of_address(number: int) -> Ban:
    return Ban(ban_id(number), Network(4, (203 << 24) + number, 32), added=NOW)


def banned(path: Path, key: str) -> set[str]:
    keys = [load_public_key(path.parent / "keys" / key)]
    return {ban.id for ban in table_of(*read_whole(path, keys, now=NOW), NOW).bans()}


def test_a_head_comes_back_with_its_parts_signed_by_the_key_of_today(authz: Commands, tmp_path: Path) -> None:
    path, layer = tmp_path / "bans.snapshot", tiers(tmp_path, 5)
    files = layer.publish(created=NOW)
    write_files(path, files)
    Archive(tmp_path / "archive", "bans").keep(path, now=NOW)
    for part in [part_path(path, requirement) for requirement in files.parts]:
        part.unlink()
    path.unlink()
    write_files(path, tiers(tmp_path, 2).publish(created=NOW))
    rolled = authz("snapshot", "rollback", str(files.serial), "-o", str(path), "--key", "keys/b.key", "--layer", "bans",
                   "--trusted-key", "keys/a.pub", "--json").json()  # fmt: skip
    assert rolled["rollback_of"] == files.serial
    assert banned(path, "b.pub") == {ban_id(number) for number in range(6)}
    assert inspect_manifest(path).serial == rolled["serial"]


@pytest.mark.parametrize("spoil", ["absent", "changed", "another"])
def test_a_head_whose_parts_are_not_what_they_were_is_no_build_to_go_back_to(
    authz: Commands, tmp_path: Path, spoil: str
) -> None:
    path = tmp_path / "bans.snapshot"
    files = tiers(tmp_path, 5).publish(created=NOW)
    write_files(path, files)
    kept = Archive(tmp_path / "archive", "bans").keep(path, now=NOW)
    [part] = [part_path(kept, requirement) for requirement in files.parts]
    content = part.read_bytes()
    part.unlink()  # it is another name of the file that was published
    if spoil == "changed":
        part.write_bytes(content[:-1] + b"\0")
    elif spoil == "another":
        other = tiers(tmp_path, 3).publish(created=NOW)
        part.write_bytes(next(iter(other.parts.values())))
    before = path.read_bytes()
    ran = authz("snapshot", "rollback", str(files.serial), "-o", str(path), "--key", "keys/a.key", "--layer", "bans")
    expected = {"absent": "absent", "changed": "bad_digest", "another": "wrong_part"}[spoil]
    assert (ran.status, expected in ran.err) == (2, True), ran.err
    assert path.read_bytes() == before


def test_parts_leave_the_archive_with_the_last_head_that_requires_them(tmp_path: Path, authz: Commands) -> None:
    assert authz("--version").status == 0
    path, archive = tmp_path / "bans.snapshot", Archive(tmp_path / "archive", "bans", max_files=2)
    layer = tiers(tmp_path, 5)
    for number in range(4):
        layer.add(of_address(100 + number))
        write_files(path, layer.publish(created=NOW))
        archive.keep(path, now=NOW)
    heads = [build.path for build in archive.builds()]
    assert len(heads) == 2
    names = {file.name for file in archive.folder.iterdir()}
    assert names == {name for head in heads for name in (head.name, f"{head.name}.1")}
    assert len({file.stat().st_ino for file in archive.folder.iterdir()}) == 3  # one part, by two names
    assert all(len(read_whole(head, now=NOW)[1]) == 1 for head in heads)
