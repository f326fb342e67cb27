"""Writers of a store: in one process, in the order in which they came; with few ways to PostgreSQL and back."""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.pq import PipelineStatus
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError
from support.control import control
from support.processes import wait_for
from support.servers.stores import new_postgresql

from authz.control.model.problems import NotReady
from authz.control.store import database
from authz.control.store.database import Store, create_store, open_store
from authz.control.store.ledger.changes import lock_head
from authz.control.store.tables import prefix_lengths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Executable

LENGTH = insert(prefix_lengths)


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


@pytest.fixture
def url(postgresql_folder: str) -> str:
    return new_postgresql(postgresql_folder, f"test_{secrets.token_hex(6)}")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    store = open_store(url)
    yield store
    store.close()


def test_a_ban_keeps_other_writers_waiting_for_five_ways_to_the_database(url: str, tmp_path: Path) -> None:
    asked: list[str] = []

    def note(_connection: object, cursor: Any, statement: str, *_: object) -> None:
        by_request = threading.current_thread().name.startswith("AnyIO")  # others publish meanwhile
        if by_request and cursor.connection.pgconn.pipeline_status == PipelineStatus.OFF and "tokens" not in statement:
            asked.append(statement)

    with control(tmp_path / "control", store=url) as plane:
        plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.8"})
        event.listen(plane.plane.store.engine, "before_cursor_execute", note)
        plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
        event.remove(plane.plane.store.engine, "before_cursor_execute", note)
        assert len(plane.ok("GET", "/v1/history?address=203.0.113.9")["items"]) == 1
    wanted = ("FROM heads", "entries.likeness", "max(entries.version)", "covered")  # and then the commit
    assert len(asked) == len(wanted), asked
    assert all(part in statement for part, statement in zip(wanted, asked, strict=True)), asked


def test_what_cannot_be_written_together_raises_as_it_does_alone_and_nothing_is_written(store: Store) -> None:
    with pytest.raises(IntegrityError):
        _write(store, (LENGTH, [{"length": 1}, {"length": 2}]), (LENGTH, [{"length": 1}]))
    assert _lengths(store) == []
    _write(store, (LENGTH, [{"length": 3}]))
    assert _lengths(store) == [3]


def test_a_server_that_ends_while_it_is_written_together_is_told_as_away(store: Store) -> None:
    end = text("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(NotReady):
        _write(store, (LENGTH, [{"length": 1}]), (end, None), (LENGTH, [{"length": 2}]))
    assert _lengths(store) == []  # by another connection


def _write(store: Store, *statements: tuple[Executable, Any]) -> None:
    with store.writing() as tx, store.together(tx):
        for statement, rows in statements:
            tx.execute(statement, rows)


def _lengths(store: Store) -> list[int]:
    with store.reading() as tx:
        return list(tx.execute(select(prefix_lengths.c.length)).scalars())


def test_who_may_only_read_has_no_writer_wait_by_trying_entries(store_url: str, tmp_path: Path) -> None:
    with control(tmp_path / "control", store=store_url) as plane:
        viewer, store = plane.token_of("viewer"), plane.plane.store
        with store.writing() as tx:
            lock_head(tx, "bans")
            tried = plane.ok("POST", "/v1/preview", {"networks": ["203.0.113.9"]}, token=viewer)
        assert (tried["layer"], tried["problem"]) == ("bans", None)
