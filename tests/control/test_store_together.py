"""Statements of one transaction that PostgreSQL answers together: other writers wait for each way there and back."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.pq import PipelineStatus
from sqlalchemy import event, insert, select, text
from sqlalchemy.exc import IntegrityError
from support.control import control
from support.servers.stores import new_postgresql

from authz.control.model.problems import NotReady
from authz.control.store.database import Store, open_store
from authz.control.store.tables import prefix_lengths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Executable

LENGTH = insert(prefix_lengths)


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
