"""Snapshots come as fast as they can be loaded, under traffic: each answer is the one of the serial that it names."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.processes import PATIENCE, Sidecar
from support.publishing.publisher import POLICY
from support.sidecar.running import ALLOWED, DENIED, NEW_POLICY, config

from benchmarks.load.pipelined import Pipelined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.publishing.publisher import Publisher

# By serial: what POLICY (even) and NEW_POLICY (odd) say of the two clients.
EXPECTED = {ALLOWED: (b"200", b"403"), DENIED: (b"403", b"200")}


class Client(threading.Thread):
    """Asks for one client on a connection of its own, and compares each answer with its serial."""

    def __init__(self, port: int, client: str, end: threading.Event) -> None:
        super().__init__(name=f"client {client}")
        self._port, self._client, self._end = port, client, end
        self.asked = 0
        self.wrong: list[tuple[bytes, bytes]] = []
        self.serials: set[bytes] = set()

    def run(self) -> None:
        expected = EXPECTED[self._client]
        with Pipelined(self._port, "/v1/auth/shop", self._client) as connection:
            while not self._end.is_set():
                for status, serial in connection.ask(20):
                    self.asked += 1
                    self.serials.add(serial)
                    if status != expected[int(serial) & 1]:
                        self.wrong.append((status, serial))


@pytest.mark.parametrize("seconds", [2, pytest.param(120, marks=pytest.mark.long)])
def test_every_answer_of_a_reload_storm_is_that_of_its_serial(publisher: Publisher, seconds: float) -> None:
    publisher.publish(POLICY, serial=2)
    end = threading.Event()
    with Sidecar(publisher.folder, config()) as sidecar:
        clients = [Client(sidecar.ports["http"], client, end) for client in EXPECTED]
        for thread in clients:
            thread.start()
        finish, serial = time.monotonic() + seconds, 2
        for serial in itertools.count(3):  # the last one counts
            publisher.publish(NEW_POLICY if serial & 1 else POLICY, serial=serial)
            late = time.monotonic() - finish
            if late > PATIENCE or (late > 0 and enough(clients, seconds)):
                break
        sidecar.wait_for_line(f"loaded serial {serial}:")
        end.set()
        for thread in clients:
            thread.join()
        assert sidecar.popen.poll() is None
    print(f"{reloads(clients)} reloads seen in answers, {asked(clients)} requests")  # noqa: T201  # the page's figures
    assert [client.wrong for client in clients] == [[], []]
    assert enough(clients, seconds)


def reloads(clients: Sequence[Client]) -> int:
    return len(set.union(*(client.serials.copy() for client in clients))) - 1


def asked(clients: Sequence[Client]) -> int:
    return sum(client.asked for client in clients)


def enough(clients: Sequence[Client], seconds: float) -> bool:
    return reloads(clients) >= seconds and asked(clients) > 100 * seconds
