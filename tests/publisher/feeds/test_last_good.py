"""A feed that a build finds broken may keep its last good content, visibly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path


def lines(count: int) -> str:
    return "".join(f"5.0.{number // 256}.{number % 256}\n" for number in range(count))


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(tmp_path, monkeypatch)


def kept_policy(more: str = "on_broken: keep") -> str:
    return (
        f"version: 1\nentries: [{{id: bad, list: deny, sources: [x]}}]\nfeeds: [{{source: x, path: bad.txt, {more}}}]\n"
    )


BUILD = ("snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key")


@pytest.fixture
def desk(authz: Commands, tmp_path: Path) -> Commands:
    authz("keys", "generate", "keys", "--name", "a")
    (tmp_path / "policy.yaml").write_text(kept_policy())
    (tmp_path / "bad.txt").write_text(lines(10))
    assert authz(*BUILD).status == 0
    return authz


@pytest.mark.parametrize("broken", ["", "<html>", lines(3), None], ids=["empty", "page", "shrunk", "gone"])
def test_a_broken_feed_keeps_its_last_good_content_and_says_so(
    desk: Commands, tmp_path: Path, broken: str | None
) -> None:
    if broken is None:
        (tmp_path / "bad.txt").unlink()
    else:
        (tmp_path / "bad.txt").write_text(broken)
    ran = desk(*BUILD, "--json")
    assert ran.status == 0
    assert re.match(r"authz: warning: bad\.txt: broken, so its last good content of \S+Z is kept: ", ran.err)
    (feed,) = desk("snapshot", "inspect", "lists.snapshot", "--json").json()["feeds"]
    assert (feed["entries"], feed["path"]) == (10, "bad.txt")
    assert feed["kept_since"].endswith("Z")
    assert feed["problem"]
    assert "BROKEN, so its last good content of" in desk.real("snapshot", "inspect", "lists.snapshot").out
    assert len(desk("snapshot", "show", "lists.snapshot", "bad", "--json").json()["networks"]) > 0
    # It stays so in the next build, and ends with a good file.
    assert desk(*BUILD).status == 0
    (tmp_path / "bad.txt").write_text(lines(9))
    assert desk(*BUILD).err == ""
    (feed,) = desk("snapshot", "inspect", "lists.snapshot", "--json").json()["feeds"]
    assert (feed["entries"], feed["kept_since"], feed["problem"]) == (9, None, "")


def test_a_broken_feed_fails_the_build_unless_the_policy_says_otherwise(desk: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(kept_policy("on_broken: fail"))
    copies = tmp_path / "lists.snapshot.feeds"
    for copy in copies.iterdir():
        copy.unlink()
    assert desk(*BUILD).status == 0
    assert list(copies.iterdir()) == []  # nothing is kept of a feed that wants nothing kept
    (tmp_path / "bad.txt").write_text("")
    ran = desk(*BUILD)
    assert ran.status == 2
    assert "policy.yaml:3: feeds[0].path: bad.txt: found 0 entries, and 10 in the last build" in ran.err


def test_a_feed_that_never_was_good_cannot_be_kept(desk: Commands, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(kept_policy().replace("bad.txt", "new.txt"))
    (tmp_path / "new.txt").write_text("<html>")
    ran = desk(*BUILD)
    assert ran.status == 2
    assert "there is no last good content of it to keep" in ran.err


def test_feeds_of_one_name_in_different_folders_have_copies_of_their_own(desk: Commands, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bad.txt").write_text(lines(2))
    (tmp_path / "policy.yaml").write_text(
        kept_policy().replace("feeds: [", "feeds: [{source: x, path: other/bad.txt, on_broken: keep}, ")
    )
    assert desk(*BUILD).status == 0
    assert len(list((tmp_path / "lists.snapshot.feeds").iterdir())) == 2


def test_a_missing_feed_with_an_address_is_told_how_to_fetch_it(authz: Commands, tmp_path: Path) -> None:
    authz("keys", "generate", "keys", "--name", "a")
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nentries: [{list: deny, sources: [tor]}]\nfeeds: [{preset: tor}]\n"
    )
    ran = authz(*BUILD)
    assert ran.status == 2
    assert "feeds/tor.txt: cannot be read: No such file or directory (`authz feeds fetch` gets it)" in ran.err
