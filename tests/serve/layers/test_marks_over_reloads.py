"""Marks hide no ban, whatever was loaded before: decisions are those of a dictionary, and those without marks."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine.small_layers import ban, check, decider, layer
from support.publishing.publisher import Publisher
from support.publishing.worlds import covers
from support.suite.effort import tries

from authz.addresses import Network, parse_address, parse_network
from authz.engine.entries import marks as marks_module
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.publisher.bans import Ban, table, tiers
from authz.publisher.bans.tiers import Tiers, write_files
from authz.serve.layers import accept as accept_module
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.memory import Memory
from authz.snapshot.ban_ids import ban_id
from authz.snapshot.heading import part_path
from authz.snapshot.layout import MAX_FILE
from authz.snapshot.read import read_with_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from authz.snapshot.heading import Requirement

NOW = 1_795_000_000
COUNT = 16
KINDS = ("198.51.{}.7", "198.51.{}.0/25", "10.{}.4.0/22", "2001:db8::{}", "2001:db8:{}::/64", "::ffff:198.52.{}.7")
SECOND = ("198.51.3.8", "2001:db8::3")
ASKED = [
    form.format(number)
    for number in range(COUNT)
    for form in ("198.51.{}.7", "198.51.{}.8", "198.51.{}.200", "10.{}.7.255", "10.{}.8.0", "2001:db8::{}",
                 "2001:db8:{}::7", "198.52.{}.7", "::ffff:198.52.{}.7", "::ffff:198.51.{}.7")
]  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("marks"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a few bans move through all tiers."""
    for name, limit in (("MAX_RECENT", 2), ("MAX_FIRST", 5), ("MAX_TOMBSTONES", 3)):
        monkeypatch.setattr(tiers, name, limit)


class Bans:
    """A layer of bans: its publisher, and the acceptor of a sidecar."""

    def __init__(self, folder: Path, keys: Publisher) -> None:
        self.path = folder / "bans.snapshot"
        self._keys, self._serials = keys, itertools.count(1)
        self._memory = Memory(folder / "authz.json")
        self.tiers = Tiers("bans", [keys.signer()], lambda: next(self._serials))
        self.held: dict[str, Network] = {}
        self.loaded: dict[str, Network] = {}
        self.restart()

    def restart(self) -> None:
        self.acceptor = Acceptor(Rules("bans", [self._keys.key()], 1, MAX_FILE), self._memory)

    def ban(self, number: int, network: str) -> None:
        self.held[ban_id(number)] = parse_network(network)
        self.tiers.add(Ban(ban_id(number), self.held[ban_id(number)], expires=NOW + 3600, added=NOW))

    def unban(self, number: int) -> None:
        self.tiers.remove(ban_id(number))
        self.held.pop(ban_id(number), None)

    def fetch_part(self, part: Requirement) -> AbstractContextManager[Path]:
        return nullcontext(part_path(self.path, part))

    def load(self) -> OpenedSnapshot:
        write_files(self.path, self.tiers.publish(created=NOW))
        self.loaded = dict(self.held)
        return self.accept()

    def accept(self) -> OpenedSnapshot:
        with patch("authz.serve.layers.accept.time.time", lambda: NOW):
            return self.acceptor.accept(self.path, self.fetch_part)


@pytest.fixture
def bans(tmp_path: Path, keys: Publisher) -> Bans:
    return Bans(tmp_path, keys)


def denied(*files: OpenedSnapshot) -> set[str]:
    """Return which of the addresses that are asked are denied, when their decisions are the same without marks."""
    marked = decider(*files)
    ruleset = Ruleset(files)
    with patch.object(files[-1], "marks", None), patch.object(files[1], "marks", None):
        plain = Ruleset(files)
    denied_texts = {text for text in ASKED if check(marked, text, "", NOW).decision == "deny"}
    for address in map(parse_address, ASKED):
        assert ruleset.find(address) == plain.find(address)
        assert ruleset.matches(ruleset.find(address)) == plain.matches(plain.find(address))
    return denied_texts


def covered(networks: list[Network], protected: list[Network]) -> set[str]:
    asked = {text: parse_address(text) for text in ASKED}
    inside = {text for text, address in asked.items() if any(covers(network, address) for network in networks)}
    return {text for text in inside if not any(covers(network, asked[text]) for network in protected)}


def steps() -> st.SearchStrategy[list[tuple[str, int, str]]]:
    numbers = st.integers(0, COUNT - 1)
    bans = st.tuples(st.just("ban"), numbers, st.builds(str.format, st.sampled_from(KINDS), numbers))
    others = st.sampled_from(["unban", "load", "load", "policy", "second", "forget", "restart", "restore"])
    many = st.tuples(st.just("many"), numbers, st.sampled_from(KINDS))
    return st.lists(st.one_of(bans, many, many, st.tuples(others, numbers, st.just(""))), min_size=6, max_size=30)


class Reloads:
    """What is loaded in a sidecar, changed step by step; each gets a number and a network, or the form of one."""

    def __init__(self, bans: Bans) -> None:
        self._bans, self.bans = bans, bans.load()
        self.protected = list[str]()
        self.others = list[OpenedSnapshot]()

    def ban(self, number: int, network: str) -> None:
        self._bans.ban(number, network)

    def many(self, number: int, form: str) -> None:
        for each in range(number, min(number + 6, COUNT)):
            self._bans.ban(each, form.format(each))
        self.bans = self._bans.load()

    def unban(self, number: int, _: str) -> None:
        self._bans.unban(number)

    def load(self, *_: object) -> None:
        self.bans = self._bans.load()

    def forget(self, *_: object) -> None:
        self._bans.acceptor.forget_parts()
        self.bans = self._bans.accept()

    def restart(self, *_: object) -> None:
        self._bans.restart()
        self.bans = self._bans.accept()

    def restore(self, *_: object) -> None:
        self._bans.restart()
        self.bans = self._bans.acceptor.restore()

    def policy(self, number: int, _: str) -> None:
        self.protected = [f"198.51.{number}.0/24"]

    def second(self, *_: object) -> None:
        self.others = [] if self.others else [layer("other", bans=[ban(900, SECOND[0]), ban(901, SECOND[1])])]

    def check(self) -> None:
        """Compare the decisions with those of the bans that were loaded last."""
        networks = [*self._bans.loaded.values(), *(map(parse_network, SECOND) if self.others else ())]
        files = [layer("policy", protected=self.protected), self.bans, *self.others]
        assert denied(*files) == covered(networks, list(map(parse_network, self.protected)))


@settings(max_examples=tries(30), deadline=None)
@given(steps=steps(), with_section=st.booleans(), most_wide=st.sampled_from([6, 1 << 16]))
def test_decisions_with_marks_are_those_without_over_any_reloads(
    keys: Publisher, steps: list[tuple[str, int, str]], with_section: bool, most_wide: int
) -> None:
    with TemporaryDirectory() as folder, patch.object(table, "MIN_FOR_MARKS", 1 if with_section else 1 << 16), \
         patch.object(marks_module, "MAX_WIDE", most_wide):  # fmt: skip
        reloads = Reloads(Bans(Path(folder), keys))
        for step, number, network in [*steps, ("load", 0, "")]:
            getattr(reloads, step)(number, network)
            if step not in {"ban", "unban"}:
                reloads.check()


def filled(bans: Bans, numbers: range) -> Iterator[str]:
    for number in numbers:
        bans.ban(number, f"198.51.{number}.7")
        yield f"198.51.{number}.7"


def test_the_marks_of_earlier_parts_hide_no_ban_of_new_parts(bans: Bans) -> None:
    first = set(filled(bans, range(8)))
    before = bans.load()
    assert before.marks is not None
    assert before.parts
    second = set(filled(bans, range(8, 16)))
    after = bans.load()
    assert after.marks is not None
    assert set(after.parts) != set(before.parts)
    mapped = {f"::ffff:{text}" for text in (*first, *second)}
    assert denied(layer("policy"), after) == {*first, *second, *mapped}


def test_parts_are_verified_again_where_other_keys_came_while_they_were_loaded(bans: Bans) -> None:
    """What the load that was under way had verified by the keys of before was taken as verified by the new ones."""
    list(filled(bans, range(8)))
    write_files(bans.path, bans.tiers.publish(created=NOW))
    fetch = bans.fetch_part

    def fetch_and_forget(part: Requirement) -> AbstractContextManager[Path]:
        bans.acceptor.forget_parts()
        return fetch(part)

    with patch.object(bans, "fetch_part", fetch_and_forget):
        bans.accept()
    with patch.object(accept_module, "read_with_bytes", wraps=read_with_bytes) as read:
        bans.accept()
        names = {call.args[0].name for call in read.call_args_list}
        assert names > {"bans.snapshot"}
        read.reset_mock()
        bans.accept()
        assert [call.args[0].name for call in read.call_args_list] == ["bans.snapshot"]
