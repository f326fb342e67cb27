"""What decides no more is given up little by little: no request waits for it, and nothing of it stays."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from support.engine.small_layers import ban, check, layer, policy
from support.sidecar.running import until

from authz.engine.decision.decider import Decider
from authz.engine.decision.generation import Generation
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.serve.layers import swap as swap_module
from authz.serve.layers.swap import Swap
from authz.snapshot import sealed_memory
from authz.snapshot.read import read_snapshot

if TYPE_CHECKING:
    import pytest
    from support.publishing.publisher import Publisher

MANY = 3000
POLICY = "version: 1\nentries:\n" + "".join(
    f"- {{id: e{number}, list: deny, reason: x, networks: [203.0.{number >> 8}.{number & 255}]}}\n"
    for number in range(MANY)
)


def opened(publisher: Publisher, serial: int) -> OpenedSnapshot:
    path = publisher.publish(POLICY, serial=serial)
    return OpenedSnapshot(read_snapshot(path, [publisher.key()], now=time.time()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def maps() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:authz-snapshot")


def test_outcomes_are_given_up_in_small_turns_while_requests_are_decided(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = list[int]()
    give_up = Generation.give_up

    def counted(self: Generation, most: int) -> bool:
        left = sum(len(scope.outcomes) for scope in self.scopes.values())
        more = give_up(self, most)
        turns.append(left - sum(len(scope.outcomes) for scope in self.scopes.values()))
        return more

    monkeypatch.setattr(Generation, "give_up", counted)
    decider, swap = Decider(Settings()), None

    async def live() -> None:
        nonlocal swap
        swap = Swap(decider)
        swap.keep(["policy"])
        swap.swap("policy", opened(publisher, 1))
        for number in range(MANY):
            request = Request(f"203.0.{number >> 8}.{number & 255}")
            assert decider.check(request, time.time())[0].decision == "deny"
        old = decider._generation
        assert old is not None
        assert sum(len(scope.outcomes) for scope in old.scopes.values()) == MANY
        swap.swap("policy", opened(publisher, 2))
        decided = 0
        while old.recent or any(scope.outcomes for scope in old.scopes.values()):
            await asyncio.sleep(0)
            assert decider.check(Request("203.0.0.1"), time.time())[0].serial == 2
            decided += 1
        assert decided > 10
        assert max(turns) <= swap_module._TURN
        assert not old._memos

    asyncio.run(live())


def test_the_memory_of_a_file_that_decides_no_more_is_given_back_in_pieces(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed_memory, "_PAGES", 4096)
    turns = list[None]()
    monkeypatch.setattr(sealed_memory, "next_turn", lambda: turns.append(None))
    decider, first, freed_by = Decider(Settings()), list[OpenedSnapshot](), list[str]()

    async def live() -> None:
        swap = Swap(decider)
        swap.keep(["policy"])
        first.append(opened(publisher, 1))
        weakref.finalize(first[0], lambda: freed_by.append(threading.current_thread().name))
        swap.swap("policy", first[0])
        size = (publisher.folder / "lists.snapshot").stat().st_size
        first.clear()
        second = opened(publisher, 2)
        turns.clear()
        maps_before, open_before = maps(), descriptors()
        swap.swap("policy", second)
        assert decider.check(Request("203.0.0.1"), time.time())[0].serial == 2
        await until(lambda: maps() < maps_before and descriptors() < open_before)
        assert len(turns) > size // 2 // 4096
        [thread] = freed_by  # that of the name authz-free; at its very end it has lost the name
        assert thread != threading.main_thread().name

    asyncio.run(live())


def test_only_files_that_decide_no_more_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up in a file whose pages were given back waits for each of them again."""
    freed = list[OpenedSnapshot]()
    monkeypatch.setattr(swap_module, "_free", freed.extend)
    policies, heads, part = [policy(), policy()], [layer("bans"), layer("bans")], layer("bans")
    for head in heads:
        head.parts = (part,)

    async def live() -> None:
        swap = Swap(Decider(Settings()))
        swap.keep(["policy", "bans"])
        swap.swap("policy", policies[0])
        swap.swap("bans", heads[0])
        swap.swap("policy", policies[1])
        await until(lambda: freed == policies[:1])
        swap.swap("bans", heads[1])
        await until(lambda: len(freed) > 1)
        assert freed == [policies[0], heads[0]]
        swap.drop("bans")
        await until(lambda: len(freed) > 2)
        assert freed == [policies[0], heads[0], heads[1], part]

    asyncio.run(live())


def test_a_layer_that_is_dropped_decides_no_more_from_the_next_request_on() -> None:
    async def live() -> None:
        decider = Decider(Settings())
        swap = Swap(decider)
        swap.keep(["policy", "bans"])
        swap.swap("policy", policy())
        swap.swap("bans", layer("bans", bans=[ban(1, "192.0.2.1")]))
        assert check(decider, "192.0.2.1").decision == "deny"
        swap.drop("bans")
        assert check(decider, "192.0.2.1").decision == "allow"
        swap.drop("bans")

    asyncio.run(live())
