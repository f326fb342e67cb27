"""A running sidecar under load while tiers are exchanged: each answer is compared with a model."""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.processes import Sidecar, wait_for
from support.publishing.publisher import Publisher
from support.sidecar.running import get

from authz.addresses import Network, format_address
from authz.publisher.bans import Ban, tiers
from authz.publisher.bans.tiers import Tiers, write_files
from authz.snapshot.ban_ids import ban_id

if TYPE_CHECKING:
    from pathlib import Path

FIRST = 0xCB007100  # 203.0.113.0
ASKED = 40  # addresses, after each publication, beside those that it changed
CONFIG = """\
layers:
  - {name: policy, path: policy.snapshot, trusted_keys: [keys/a.pub], poll: 1h}
  - {name: bans, path: bans.snapshot, trusted_keys: [keys/a.pub], poll: 1s, may: {longest: 7d}}
grpc: {listen: "off"}
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
client_address: {trusted_proxies: [127.0.0.0/8]}
decision_log: {path: "off"}
drain: 0s
"""


def address(number: int) -> str:
    return format_address(4, FIRST + number * 97)


class Load(threading.Thread):
    """Asks for one address after the other, over one connection, until it is told to end.

    wrong: answers that the address cannot have had. turns: how often the answer for an address was another one than
    before. asked: how many answers it saw.
    """

    def __init__(self, port: int, banned: range, free: range, changing: range, seed: int) -> None:
        super().__init__()
        self._port, self._seed = port, seed
        self._expected = {**dict.fromkeys(banned, 403), **dict.fromkeys(free, 200)}
        self._numbers = [*banned, *free, *changing]
        self._last = dict.fromkeys(changing, 200)
        self.over = threading.Event()
        self.wrong: list[str] = []
        self.turns = Counter[int]()
        self.asked = 0

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        numbers = random.Random(self._seed)
        while not self.over.is_set():
            number = numbers.choice(self._numbers)
            status = ask(connection, number)
            self.asked += 1
            if number not in self._last:
                if status != self._expected[number]:
                    self.wrong.append(f"{address(number)}: {status}, expected {self._expected[number]}")
            elif status not in {200, 403}:
                self.wrong.append(f"{address(number)}: {status}")
            elif status != self._last[number]:
                self.turns[number] += 1
                self._last[number] = status
        connection.close()


def ask(connection: http.client.HTTPConnection, number: int) -> int:
    connection.request("GET", "/v1/auth/shop", headers={"X-Forwarded-For": address(number)})
    answer = connection.getresponse()
    answer.read()
    return answer.status


class Bans:
    """The publisher of the layer, and the model: who is banned. changes: how often each address was."""

    def __init__(self, publisher: Publisher, path: Path, banned: range) -> None:
        self._path = path
        serials = itertools.count(1)
        self._tiers = Tiers("bans", [publisher.signer()], lambda: next(serials))
        self._now = int(time.time())
        self._tiers.load((self._ban(number) for number in banned), created=self._now)
        self.banned = set(banned)
        self.changes = Counter[int]()
        self.parts = set[int]()

    def _ban(self, number: int) -> Ban:
        return Ban(ban_id(number), Network(4, FIRST + number * 97, 32), expires=self._now + 7200, added=self._now)

    def turn(self, number: int) -> None:
        """Ban an address or end its ban; a ban made anew has the id of the one before."""
        if number in self.banned:
            self._tiers.remove(ban_id(number))
        else:
            self._tiers.add(self._ban(number))
        self.banned ^= {number}
        self.changes[number] += 1

    def publish(self) -> int:
        """Write the files, and return the serial of the head."""
        files = self._tiers.publish(created=self._now)
        self.parts |= {part.serial for part in files.parts}
        write_files(self._path, files)
        return files.serial


def exchange(folder: Path, *, settled: int, changing: int, publications: int, seed: int) -> None:
    """Change bans while two clients ask; compare every answer.

    After each publication compare those for all that it changed and for some others, in the end for all.
    """
    publisher = Publisher(folder)
    publisher.publish("version: 1\n", to="policy.snapshot")
    banned, free = range(settled), range(settled, settled + 50)
    changes = range(settled + 50, settled + 50 + changing)
    bans = Bans(publisher, folder / "bans.snapshot", banned)
    bans.publish()
    with Sidecar(folder, CONFIG) as sidecar:
        port, numbers = sidecar.ports["http"], random.Random(seed)
        loads = [Load(port, banned, free, changes, seed) for seed in (1, 2)]
        for load in loads:
            load.start()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            for number in range(publications):
                turned = set(numbers.sample(changes, numbers.randint(1, 5)))
                for changed in turned:
                    bans.turn(changed)
                line = f'authz_snapshot_serial{{layer="bans"}} {float(bans.publish())}\n'
                wait_for(lambda line=line: line in get(sidecar.ports["admin"], "/metrics").body.decode(), line)  # type: ignore[misc]  # called at once
                asked = set(changes if number == publications - 1 else numbers.sample(changes, ASKED)) | turned
                assert {victim for victim in asked if ask(connection, victim) == 403} == bans.banned & asked
        finally:
            for load in loads:
                load.over.set()
            for load in loads:
                load.join()
            connection.close()
    for load in loads:
        assert load.wrong == []
        assert load.asked > publications
        assert {number: turns for number, turns in load.turns.items() if turns > bans.changes[number]} == {}
    assert len(bans.parts) > 3, "expected tiers to be exchanged"


def test_no_answer_flaps_while_tiers_are_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "MAX_RECENT", 5)
    monkeypatch.setattr(tiers, "MAX_FIRST", 12)
    exchange(tmp_path, settled=30, changing=40, publications=25, seed=7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_no_answer_flaps_in_a_thousand_publications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(tiers, "MAX_RECENT", 50)
    monkeypatch.setattr(tiers, "MAX_FIRST", 500)
    exchange(tmp_path, settled=100_000, changing=600, publications=1_000, seed=seed)
