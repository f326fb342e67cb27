"""Writers of a SQLite store in one process: in the order in which they came."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for

from authz.control.model.problems import NotReady
from authz.control.store import database
from authz.control.store.database import create_store

if TYPE_CHECKING:
    from pathlib import Path


def test_writers_of_a_sqlite_store_are_served_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")
    served: list[int] = []

    def write(number: int) -> None:
        with store.writing():
            served.append(number)

    threads = []
    with store.writing():
        for number in range(12):
            threads.append(threading.Thread(target=write, args=(number,)))
            threads[-1].start()
            wait_for(lambda: len(store.turns._waiting) == len(threads) + 1)
    for thread in threads:
        thread.join()
    assert served == list(range(12))
    store.close()


def test_a_writer_that_waits_too_long_is_told_and_the_next_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    store = create_store(f"sqlite:///{tmp_path}/store.sqlite")
    over = threading.Event()

    def hold() -> None:
        with store.writing():
            over.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    wait_for(lambda: len(store.turns._waiting) == 1)
    with pytest.raises(NotReady, match="too busy"), store.writing():
        time.sleep(0)
    over.set()
    thread.join()
    with store.writing():
        pass
    store.close()
