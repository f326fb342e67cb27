"""How often a listing asks the store: each time is a way to the server and back, and a turn at the interpreter."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from support.control import Control, control
from support.processes import wait_for

from authz.addresses import parse_address
from authz.control.detect.event import Event
from authz.control.detect.listing.offences import LISTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection

TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login, status: 401}, count: {over: 5, within: 30s},
     then: {period: 1h, grow: 2}}
"""
STATEMENTS = 23  # two of them read and write what the layer covers (decision 0099)
TRANSACTIONS = 3  # how often it was listed before, whether it may be, and the listing


AGAIN = 2  # statements for who goes on though it is listed: how often it was listed before, and whether it still is


def guess(plane: Control, client: str, listed: int) -> None:
    """Send as many guesses as list a client, and wait until so many are listed."""
    send_guesses(plane, client)
    wait_for(lambda: plane.plane.intake.listed["login"] == listed, f"{client} is listed")


def send_guesses(plane: Control, client: str) -> None:
    now = time.time()
    assert plane.plane.intake.put([Event(now, parse_address(client), "shop", "POST", "", "/login", 401)] * 6, now)


@contextlib.contextmanager
def noted(plane: Control) -> Iterator[list[str]]:
    """Give what the intake asks the store meanwhile. `cursor`: PostgreSQL is asked for rows one by one."""
    asked: list[str] = []

    def note(what: str) -> None:
        if threading.current_thread().name == "intake":
            asked.append(what)

    def note_statement(_connection: object, cursor: object, statement: str, *_: object) -> None:
        note("cursor" if type(cursor).__name__ == "ServerCursor" else statement)

    engine = plane.plane.store.engine
    listeners: dict[str, Any] = {"begin": lambda _: note("begin"), "before_cursor_execute": note_statement}
    for name, listener in listeners.items():
        event.listen(engine, name, listener)
    try:
        yield asked
    finally:
        for name, listener in listeners.items():
            event.remove(engine, name, listener)


def statements(asked: list[str]) -> list[str]:
    return [statement for statement in asked if statement != "begin" and not statement.startswith("BEGIN")]


@pytest.fixture
def plane(store_url: str, tmp_path: Path) -> Iterator[Control]:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "triggers.yaml").write_text(TRIGGERS)
    with control(tmp_path / "control", store=store_url, extra="triggers: triggers.yaml\n") as plane:
        plane.plane.signals.close()  # to begin to listen to other processes is a reason to look at the triggers
        plane.ok("PUT", "/v1/applications/shop?wait=published", {})
        guess(plane, "203.0.113.1", 1)  # what is read once is read
        yield plane


def test_a_listing_asks_the_store_so_often_and_no_more(plane: Control) -> None:
    with noted(plane) as asked:
        guess(plane, "203.0.113.2", 2)
        guess(plane, "203.0.113.3", 3)  # what the first of them announced makes nobody look at the triggers
    executed = statements(asked)
    assert asked.count("begin") == 2 * TRANSACTIONS
    assert len(executed) <= 2 * (STATEMENTS + plane.plane.store.is_postgresql), "\n".join(executed)
    assert not any("triggers" in statement.partition("WHERE")[0] for statement in executed)
    assert "cursor" not in executed


def test_who_goes_on_though_it_is_listed_costs_the_store_next_to_nothing(plane: Control) -> None:
    suppressed = plane.plane.intake.detector.suppressed
    send_guesses(plane, "203.0.113.1")
    wait_for(lambda: suppressed["login", LISTED] == 1, "it is found to be listed")
    with noted(plane) as asked:
        send_guesses(plane, "203.0.113.1")
        wait_for(lambda: suppressed["login", LISTED] == 2, "it is found to be listed again")
    assert len(statements(asked)) <= AGAIN, "\n".join(asked)


def test_events_wait_for_no_disk_before_they_are_searched(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of their commits would write the log of the database to the disk, and a listing would wait behind it."""
    store, durable = plane.plane.store, list[bool]()
    writing = store.writing

    def note(**options: bool) -> contextlib.AbstractContextManager[Connection]:
        if threading.current_thread().name == "events":
            durable.append(options.get("durable", True))
        return writing(**options)

    monkeypatch.setattr(store, "writing", note)
    send_guesses(plane, "203.0.113.4")
    wait_for(lambda: durable, "events are written")
    assert not any(durable)
