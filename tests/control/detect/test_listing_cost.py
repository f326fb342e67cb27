"""How often a listing asks the store: each time is a way to the server and back, and a turn at the interpreter."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from support.control import Control, control
from support.processes import wait_for

from authz.addresses import parse_address
from authz.control.detect.event import Event

if TYPE_CHECKING:
    from pathlib import Path

TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login, status: 401}, count: {over: 5, within: 30s},
     then: {period: 1h, grow: 2}}
"""
STATEMENTS = 23  # two of them read and write what the layer covers (decision 0099)
TRANSACTIONS = 3  # how often it was listed before, whether it may be, and the listing


def guess(plane: Control, client: str, listed: int) -> None:
    """Send as many guesses as list a client, and wait until so many are listed."""
    now, intake = time.time(), plane.plane.intake
    assert intake.put([Event(now, parse_address(client), "shop", "POST", "", "/login", 401)] * 6, now)
    wait_for(lambda: intake.listed["login"] == listed, f"{client} is listed")


def test_a_listing_asks_the_store_so_often_and_no_more(store_url: str, tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "triggers.yaml").write_text(TRIGGERS)
    asked: list[str] = []

    def note(what: str) -> None:
        if threading.current_thread().name == "intake":
            asked.append(what)

    with control(tmp_path / "control", store=store_url, extra="triggers: triggers.yaml\n") as plane:
        plane.ok("PUT", "/v1/applications/shop?wait=published", {})
        guess(plane, "203.0.113.1", 1)  # what is read once is read
        engine = plane.plane.store.engine
        listeners: dict[str, Any] = {
            "begin": lambda _connection: note("begin"),
            "before_cursor_execute": lambda _connection, _cursor, statement, *_: note(statement),
        }
        for name, listener in listeners.items():
            event.listen(engine, name, listener)
        guess(plane, "203.0.113.2", 2)
        guess(plane, "203.0.113.3", 3)  # what the first of them announced makes nobody look at the triggers
        for name, listener in listeners.items():
            event.remove(engine, name, listener)
    statements = [statement for statement in asked if statement != "begin" and not statement.startswith("BEGIN")]
    assert asked.count("begin") == 2 * TRANSACTIONS
    assert len(statements) <= 2 * (STATEMENTS + plane.plane.store.is_postgresql), "\n".join(statements)
    assert not any("triggers" in statement.partition("WHERE")[0] for statement in statements)
