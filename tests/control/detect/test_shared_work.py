"""Several processes share the counting by streams: nothing is lost with one that is killed, nothing counts twice."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.control import ControlProcess, Running
from support.processes import free_port, wait_for
from support.servers import postgresql, valkey
from support.servers.stores import new_postgresql

from authz.addresses import parse_address
from authz.control.detect.counting.places import Places
from authz.control.detect.event import Event
from authz.control.detect.shared import leases, work
from authz.control.detect.shared.codec import pack, unpack
from authz.control.detect.shared.config import Streams
from authz.control.detect.shared.partitions import Partitioning
from authz.control.detect.shared.work import SharedWork, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.control.detect.work import Batch

needs_valkey = pytest.mark.skipif(valkey.program() is None, reason="no Valkey (apt-get install redis-server)")
NOW = 1_790_000_000.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey.server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


class Plane:
    """One process's part, whose batches the test takes by hand."""

    def __init__(self, config: Streams) -> None:
        partitioning = Partitioning(config.partitions, (), Places())
        self.work = SharedWork(config, lambda: partitioning, lambda: 60.0)
        self.work.start()

    def take(self, *, done: bool = True, tries: int = 5) -> list[Batch]:
        """Return the batches that can be had now."""
        taken: list[Batch] = []
        empty = 0
        while empty < tries:
            batch = self.work.next(0.05)
            if batch is None:
                empty += 1
                continue
            empty = 0
            taken.append(batch)
            if done:
                self.work.done(batch)
        return taken

    def die(self) -> None:
        """Stop as kill -9 would: nothing is given back. Then have the time of its leases be over."""
        self.work._end.set()
        self.work._thread.join()
        held = self.work._leases
        for partition in range(held._partitions):
            assert 0 < held._client.pttl(held._key(partition)) <= leases.TTL * 1000
            held._client.delete(held._key(partition))
        held._client.zadd(f"{held._prefix}:planes", {self.work.name: 0.0})

    def end(self) -> None:
        self.work.close()
        self.work.release()


@pytest.fixture
def config(server: str, monkeypatch: pytest.MonkeyPatch) -> Streams:
    monkeypatch.setattr(leases, "TTL", 60.0)  # so long no thread stands still
    monkeypatch.setattr(work, "RENEW", 0.1)
    return Streams(url=server, prefix=f"t{random.getrandbits(40):x}", partitions=4)


def events(count: int, client: str = "203.0.113.9") -> list[Event]:
    return [
        Event(NOW + number, parse_address(client), "shop", request_id=f"{client}-{number}") for number in range(count)
    ]


def new(batches: list[Batch]) -> list[Event]:
    return [event for batch in batches if not batch.counted for event in batch.events]


def crowd(count: int) -> list[Event]:
    return [event for number in range(count) for event in events(1, f"198.51.{number}.7")]


def partitions(plane: Plane) -> set[int]:
    return plane.work._leases.held()


@needs_valkey
def test_each_event_comes_to_one_of_two_processes_and_a_client_always_to_the_same(config: Streams) -> None:
    one, other = Plane(config), Plane(config)
    wait_for(lambda: len(partitions(one)) == len(partitions(other)) == 2, "each has its share")
    sent = crowd(200)
    for start in range(0, 200, 20):
        assert (one, other)[start % 40 // 20].work.put(sent[start : start + 20], NOW)
    first, second = new(one.take()), new(other.take())
    assert sorted(first + second) == sorted(sent)
    assert min(len(first), len(second)) > 20
    assert one.work.put(sent, NOW)
    assert {event.client for event in new(one.take())} == {event.client for event in first}
    one.end()
    other.end()


@needs_valkey
def test_what_a_killed_process_had_counted_is_counted_again_and_the_rest_comes_new(config: Streams) -> None:
    one = Plane(config)
    wait_for(lambda: len(partitions(one)) == 4, "it has all")
    one.work.put(events(5), NOW)
    assert len(new(one.take())) == 5
    one.work.put(events(8)[5:], NOW)
    assert len(new(one.take(done=False))) == 3  # it dies in the midst of these
    one.die()
    one.work.put(events(10)[8:], NOW)
    other = Plane(config)
    wait_for(lambda: len(partitions(other)) == 4, "the other has taken over")
    batches = other.take()
    assert [len(batch.events) for batch in batches if batch.counted] == [5]
    assert sorted(new(batches)) == events(10)[5:]
    other.end()


@needs_valkey
def test_a_partition_that_comes_back_begins_its_counters_anew(config: Streams) -> None:
    one = Plane(config)
    wait_for(lambda: len(partitions(one)) == 4, "it has all")
    one.take()
    one.work.put(crowd(50), NOW)
    assert len(new(one.take())) == 50
    other = Plane(config)
    wait_for(lambda: len(partitions(other)) == 2, "they share")
    one.take()
    again = other.take()
    assert new(again) == []
    assert 0 < sum(len(batch.events) for batch in again) < 50
    other.end()
    wait_for(lambda: len(partitions(one)) == 4, "it has all again")
    batches = one.take()
    assert batches[0].anew
    assert sum(len(batch.events) for batch in batches if batch.counted) == 50
    assert new(batches) == []
    one.end()


@needs_valkey
def test_a_process_that_lost_its_lease_in_a_pause_counts_nothing_more(config: Streams) -> None:
    one = Plane(config)
    wait_for(lambda: len(partitions(one)) == 4, "it has all")
    one.work.put(events(1), NOW)
    one.work.put(events(3)[1:], NOW)
    assert one.work.next(1.0) is not None
    one.work._leases._until.clear()  # as after a long pause: another has them
    assert one.work._next(0.05) is None
    one.die()
    other = Plane(config)
    wait_for(lambda: len(partitions(other)) == 4, "the other has taken over")
    assert len(new(other.take())) == 3
    other.end()


@needs_valkey
def test_more_than_can_wait_is_refused_and_what_is_old_is_trimmed(
    config: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "MAX_WAITING", 10)
    monkeypatch.setattr(work, "_TRIM", 0.0)
    plane = Plane(config)
    wait_for(lambda: len(partitions(plane)) == 4, "it has all")
    plane.take()
    for _ in range(12):
        plane.work.put(events(1), NOW)
        time.sleep(0.001)  # those of the last millisecond stay
    wait_for(lambda: plane.work.waiting > 10, "it is noticed")
    assert not plane.work.put(events(1), NOW)
    assert len(plane.take()) == 12
    monkeypatch.setattr(plane.work, "_retention", lambda: -1.0)
    plane.take()
    client = client_of(config)
    assert sum(client.xlen(f"{config.prefix}:events:{number}") for number in range(4)) < 12
    wait_for(lambda: plane.work.put(events(1), NOW), "there is room again")
    plane.end()


@needs_valkey
def test_an_entry_that_is_no_batch_is_passed_over(config: Streams) -> None:
    plane = Plane(config)
    wait_for(lambda: len(partitions(plane)) == 4, "it has all")
    plane.take()
    client = client_of(config)
    for fields in ({"e": b"\xff", "r": "1"}, {"x": "y"}, {"e": pack(events(1)), "r": "soon"}):
        client.xadd(f"{config.prefix}:events:0", fields)
    plane.work.put(events(1), NOW)
    assert len(new(plane.take())) == 1
    assert all(client.xpending(f"{config.prefix}:events:{number}", "detect")["pending"] == 0 for number in range(4))
    plane.end()


@needs_valkey
def test_a_server_that_is_away_refuses_and_comes_back(tmp_path: Path) -> None:
    with valkey.server(tmp_path) as url:
        plane = Plane(Streams(url=url))
        wait_for(lambda: len(partitions(plane)) == 16, "it has all")
        assert plane.work.put(events(1), NOW)
    assert not plane.work.put(events(1), NOW)
    assert plane.work.next(0.01) is None
    plane.end()


texts = st.text(max_size=20)


@given(st.lists(st.builds(
    Event, st.floats(0, 1e10), st.sampled_from(["203.0.113.9", "2001:db8::9"]).map(parse_address), texts, texts, texts,
    texts, st.integers(0, 999), st.lists(texts, max_size=2).map(tuple), texts, texts, texts, texts,
)))  # fmt: skip
def test_events_are_the_same_behind_the_stream(sent: list[Event]) -> None:
    assert unpack(pack(sent)) == sent


def test_a_lone_surrogate_does_not_stop_a_batch() -> None:
    [event] = unpack(pack([Event(1.0, parse_address("203.0.113.9"), path="/\ud800", attacks=("\udfff",))]))
    assert (event.path, event.attacks) == ("/?", ("?",))


TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login}, count: {over: 20, within: 10m}}
"""


def event(client: str, number: int) -> str:
    said = {"client": client, "application": "shop", "path": "/login", "time": time.time()}
    return json.dumps(said | {"request_id": f"{client}-{number}"})


class Two:
    """Two control planes over one PostgreSQL and one Valkey."""

    def __init__(self, folder: Path, store: str, url: str) -> None:
        self.one = Running(folder / "one", store=store)
        port = free_port()
        other = folder / "two"
        (other / "state").mkdir(parents=True)
        (other / "keys").symlink_to(folder / "one" / "keys")
        text = (folder / "one" / "control.yaml").read_text()
        text += f"triggers: triggers.yaml\nstreams: {{url: '{url}', prefix: {folder.name}}}\n"
        for place, content in ((folder / "one", text), (other, text.replace(self.one.url[7:], f"127.0.0.1:{port}"))):
            (place / "control.yaml").write_text(content)
            (place / "triggers.yaml").write_text(TRIGGERS)
        self.one.process.end()
        self.processes = [ControlProcess(folder / "one"), ControlProcess(other)]
        self.urls = [self.one.url, f"http://127.0.0.1:{port}"]
        self.headers = {"Authorization": f"Bearer {self.one.token}"}

    def send(self, to: int, lines: list[str]) -> None:
        def sent() -> bool:
            answer = httpx.post(
                f"{self.urls[to]}/v1/events", content="\n".join(lines), headers=self.headers, timeout=30
            )
            assert answer.status_code in {202, 429}
            return answer.status_code == 202

        wait_for(sent, "events are taken")

    def counted(self, which: int) -> Any:
        return httpx.get(f"{self.urls[which]}/v1/triggers", headers=self.headers, timeout=30).json()

    def is_listed(self, client: str, by: int) -> bool:
        answer = httpx.get(f"{self.urls[by]}/v1/entries?address={client}", headers=self.headers, timeout=30)
        return bool(answer.json()["items"])

    def end(self) -> None:
        for process in self.processes:
            process.end()
        self.one.end()


@needs_valkey
def test_two_control_planes_count_together_and_one_may_be_killed(
    tmp_path: Path, postgresql_folder: str, server: str
) -> None:
    name = f"test_{random.getrandbits(40):x}"
    two = Two(tmp_path, new_postgresql(postgresql_folder, name), server)
    guessers = [f"203.0.{number}.9" for number in range(12)]
    honest = [f"198.51.{number}.7" for number in range(12)]
    try:
        wait_for(lambda: all(
            "counting 8 of 16" in process.output for process in two.processes
        ), "each counts its share")  # fmt: skip
        for number in range(15):  # by either, in turn; and every batch twice, as senders that heard no answer do
            lines = [event(client, number) for client in guessers + honest]
            for to in (number % 2, 1 - number % 2):
                two.send(to, lines)
        wait_for(lambda: sum(two.counted(which)["events"] for which in (0, 1)) == 15 * 24, "all are counted, once")
        assert all(two.counted(which)["events"] > 0 for which in (0, 1))
        two.processes[0].popen.kill()
        for number in range(15, 21):
            two.send(1, [event(client, number) for client in guessers])
            if number < 20:
                two.send(1, [event(client, number) for client in honest])
        wait_for(lambda: all(two.is_listed(client, 1) for client in guessers), "nothing is lost")
        assert not any(two.is_listed(client, 1) for client in honest)
    finally:
        two.end()
        postgresql.drop_database(postgresql_folder, name)
