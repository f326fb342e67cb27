"""Killed with -9 at random moments: answered changes are there, serials grow; two planes over one store."""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.control import ControlProcess, Running, opened
from support.processes import free_port, wait_for
from support.servers import postgresql
from support.servers.stores import new_postgresql

from authz.control.maintenance.check import check_store
from authz.control.publish.publisher import LOOK
from authz.control.store.database import open_store
from authz.control.store.published.publications import list_publications

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Model:
    """What must be on the lists, by what was answered. unsure: asked, and not answered."""

    def __init__(self) -> None:
        self.bans: dict[str, str] = {}
        self.unsure: set[str] = set()
        self.serials: list[int] = []

    def step(self, client: httpx.Client, choose: random.Random, number: int) -> None:
        """Do one random thing; what is cut off in its middle may have happened or not."""
        address = f"198.18.{number // 250}.{number % 250}"
        ending = choose.choice(sorted(self.bans)) if self.bans and choose.random() < 0.4 else None
        try:
            if ending is None:
                self.unsure.add(address)
                made = client.post("/v1/bans", json={"address": address, "period": "1d"})
                assert made.status_code == 201, made.text
                self.bans[address] = made.json()["id"]
                self.unsure.discard(address)
            else:
                self.unsure.add(ending)
                made = client.delete(f"/v1/bans/{self.bans[ending]}")
                assert made.status_code == 200, made.text
                del self.bans[ending]
                self.unsure.discard(ending)
        except httpx.TransportError:
            self.bans.pop(ending or address, None)
            return
        self.serials.append(made.json()["serial"])

    def check(self, listed: set[str]) -> None:
        assert listed - self.unsure == self.bans.keys() - self.unsure


def all_bans(running: Running) -> set[str]:
    return {entry["networks"][0] for entry in running.ok("GET", "/v1/bans?limit=1000")["items"]}


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_every_answered_change_is_there_after_kill_9(tmp_path: Path, seed: int) -> None:
    choose, model, numbers = random.Random(seed), Model(), itertools.count()
    running = Running(tmp_path / "c")
    try:
        for _ in range(2):
            for _ in range(choose.randrange(5, 25)):
                model.step(running.client, choose, next(numbers))
            timer = threading.Timer(choose.random() * 0.3, running.process.popen.kill)
            timer.start()
            while running.process.popen.poll() is None:
                model.step(running.client, choose, next(numbers))
            timer.join()
            running.restart()
            model.check(all_bans(running))
        assert model.serials == sorted(set(model.serials))
        made = running.ok("POST", "/v1/bans?wait=published&timeout=60", {"address": "203.0.113.9"})
        assert made["published"] is True
    finally:
        running.end()
    store = open_store(f"sqlite:///{tmp_path}/c/control.sqlite")
    with store.reading() as tx:
        assert check_store(tx).problems == []
    store.close()


@pytest.fixture
def two(tmp_path: Path, postgresql_folder: str) -> Iterator[tuple[Running, httpx.Client, ControlProcess, str]]:
    """Give two control planes over one PostgreSQL."""
    name = f"test_{secrets.token_hex(6)}"
    url = new_postgresql(postgresql_folder, name)
    one = Running(tmp_path / "one", store=url)
    folder, port = tmp_path / "two", free_port()
    (folder / "state").mkdir(parents=True)
    (folder / "keys").symlink_to(tmp_path / "one" / "keys")
    (folder / "control.yaml").write_text(
        (tmp_path / "one" / "control.yaml").read_text().replace(one.url[7:], f"127.0.0.1:{port}")
    )
    with (
        ControlProcess(folder) as other,
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {one.token}"}, timeout=90
        ) as client,
    ):
        yield one, client, other, url
    one.end()
    postgresql.drop_database(postgresql_folder, name)


def test_either_of_two_control_planes_may_be_killed_under_load(
    two: tuple[Running, httpx.Client, ControlProcess, str],
) -> None:
    one, other, _, url = two
    numbers, end, answered = itertools.count(), threading.Event(), set[str]()

    def load(client: httpx.Client) -> None:
        while not end.is_set():
            number = next(numbers)
            address = f"198.18.{number // 250}.{number % 250}"
            with contextlib.suppress(httpx.TransportError):
                if client.post("/v1/bans", json={"address": address, "period": "1d"}).status_code == 201:
                    answered.add(address)

    threads = [threading.Thread(target=load, args=(client,)) for client in (one.client, other)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(answered) > 30, "load")
    one.process.popen.kill()
    before = len(answered)
    wait_for(lambda: len(answered) > before + 20, "the other goes on")
    end.set()
    for thread in threads:
        thread.join()
    made: Any = other.post("/v1/bans?wait=published&timeout=60", json={"address": "203.0.113.9"}).json()
    assert made["published"] is True
    listed = set[str]()
    more = ""
    while True:
        page = other.get(f"/v1/bans?limit=500{more}").json()
        listed |= {entry["networks"][0] for entry in page["items"]}
        if page["cursor"] is None:
            break
        more = f"&cursor={page['cursor']}"
    assert answered <= listed
    store = open_store(url)
    with store.reading() as tx:
        assert check_store(tx).problems == []
        serials = [p.serial for p in list_publications(tx, "bans", limit=10_000)]
    store.close()
    assert serials == sorted(set(serials), reverse=True)


def test_publishing_goes_on_within_4_looks_of_a_second_each_once_the_leader_was_killed(
    tmp_path: Path, postgresql_folder: str
) -> None:
    name = f"test_{secrets.token_hex(6)}"
    url = new_postgresql(postgresql_folder, name)
    leader = Running(tmp_path / "one", store=url)
    folder = tmp_path / "two"
    (folder / "state").mkdir(parents=True)
    (folder / "keys").symlink_to(tmp_path / "one" / "keys")
    (folder / "control.yaml").write_text((tmp_path / "one" / "control.yaml").read_text())
    looks: list[bool] = []
    try:
        before = leader.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.1"})
        with opened(folder, leader.token) as two:
            publisher = two.plane.publisher
            held = publisher._lease.held
            wait_for(lambda: not publisher.leading)

            def look() -> bool:
                looks.append(held())
                return looks[-1]

            publisher._lease.held = look  # type: ignore[method-assign]
            looks.clear()
            leader.process.popen.kill()
            made = two.ok("POST", "/v1/bans?wait=published&timeout=60", {"address": "203.0.113.2"})
            assert made["published"] is True
            assert made["serial"] > before["serial"]
            threads = len(publisher._layers) + len(two.plane.inputs)
            assert LOOK <= 1.0
            assert looks.index(True) <= 4 * threads
            with two.plane.store.reading() as tx:
                serials = [publication.serial for publication in list_publications(tx, "bans", limit=100)]
            assert serials == sorted(set(serials), reverse=True)
    finally:
        leader.end()
        postgresql.drop_database(postgresql_folder, name)
