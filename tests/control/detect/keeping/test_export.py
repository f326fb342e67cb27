"""All events of a time as a file: JSON lines, and Parquet that DuckDB asks; page after page, however many there are."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import pytest
from pyarrow import parquet as arrow
from support.control import Control, ControlProcess, control, init
from support.docs.blocks import blocks
from support.processes import PATIENCE, Process, wait_for

from authz.addresses import parse_address, parse_network
from authz.control.api.detect import event_export
from authz.control.detect.event import Event, read_event
from authz.control.detect.keeping import export, parquet
from authz.control.detect.keeping.export import as_lines, pages
from authz.control.detect.keeping.parquet import as_parquet
from authz.control.store.database import create_store
from authz.control.store.events.search import WantedEvents
from authz.control.store.events.writing import client_key, write_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.control.detect.keeping.export import Order
    from authz.control.store.database import Store

START = 1_790_000_000
CLIENTS = ["203.0.113.9", "203.0.113.10", "198.51.100.7", "2001:db8::1"]


def world(count: int = 400) -> list[Event]:
    choose = random.Random(7)
    return [
        Event(
            START + choose.randrange(3 * 86400) + choose.random(), parse_address(choose.choice(CLIENTS)),
            choose.choice(["shop", "api"]), "GET", "h", f"/{number}?q='\"ü", choose.choice([0, 200, 404]),
            choose.choice([(), ("sqli", "xss")]), decision=choose.choice(["allow", "deny"]), reason="blocklist",
            request_id=str(number),
        )
        for number in range(count)
    ]  # fmt: skip


@pytest.fixture
def events() -> list[Event]:
    return world()


@pytest.fixture
def store(store_url: str, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(export, "PAGE", 30)
    monkeypatch.setattr(parquet, "ROW_GROUP", 60)
    opened = create_store(store_url)
    with opened.writing() as tx:
        write_events(tx, events, lambda client: "DE" if client.version == 4 else "")
    yield opened
    opened.close()


def expected(events: list[Event], order: Order) -> list[str]:
    def place(event: Event) -> Any:
        microseconds = int(event.time * 10**6)
        return (client_key(event.client), microseconds) if order == "client" else microseconds

    return [event.request_id for event in sorted(events, key=place)]


@pytest.mark.parametrize("order", ["time", "client"])
def test_all_events_come_once_and_in_order(store: Store, events: list[Event], order: Order) -> None:
    lines = b"".join(as_lines(store, WantedEvents(), order)).splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == expected(events, order)
    table = arrow.read_table(io.BytesIO(b"".join(as_parquet(store, WantedEvents(), order))))
    assert table.column("request_id").to_pylist() == expected(events, order)


def test_lines_can_be_sent_again_as_events(store: Store, events: list[Event]) -> None:
    known = {event.request_id: event for event in events}
    for line in b"".join(as_lines(store, WantedEvents(), "time")).splitlines():
        again = read_event(line, 0.0)
        assert again._replace(time=0.0) == known[again.request_id]._replace(time=0.0)


def test_only_what_is_wanted_is_exported(store: Store, events: list[Event]) -> None:
    wanted = WantedEvents(parse_network("203.0.113.0/24"), "shop", begin=START * 10**6, end=(START + 86400) * 10**6)
    exported = {json.loads(line)["request_id"] for line in b"".join(as_lines(store, wanted, "client")).splitlines()}
    assert exported == {
        event.request_id for event in events
        if event.client.text.startswith("203.") and event.application == "shop" and event.time < START + 86400
    }  # fmt: skip
    assert b"".join(as_lines(store, WantedEvents(application="none"), "time")) == b""


def test_duckdb_asks_an_archive_sorted_by_client(store: Store, events: list[Event], tmp_path: Path) -> None:
    path = tmp_path / "week.parquet"
    path.write_bytes(b"".join(as_parquet(store, WantedEvents(), "client")))
    asked = duckdb.connect().execute(
        "SELECT count(*), sum(decision = 'deny'), min(country), sum(list_contains(attacks, 'sqli')) "
        f"FROM '{path}' WHERE client = '203.0.113.9' AND time >= TIMESTAMPTZ '2026-09-22 00:00:00+00'"
    ).fetchone()  # fmt: skip
    mine = [event for event in events if event.client.text == CLIENTS[0] and event.time >= 1_790_035_200]
    denied, attacks = sum(event.decision == "deny" for event in mine), sum("sqli" in event.attacks for event in mine)
    assert asked == (len(mine), denied, "DE", attacks)


def test_duckdb_answers_the_question_of_the_page(
    store: Store, events: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/operations/events.md."""
    (tmp_path / "week.parquet").write_bytes(b"".join(as_parquet(store, WantedEvents(), "client")))
    monkeypatch.chdir(tmp_path)
    (question,) = (block.text for block in blocks("docs/operations/events.md") if block.first.startswith("SELECT"))
    asked = duckdb.connect().execute(question).fetchall()
    mine = sorted((event for event in events if event.client.text == CLIENTS[0]), key=lambda event: event.time)
    assert [row[1:] for row in asked] == [(event.application, event.path, event.status) for event in mine]


def test_an_archive_sorted_by_client_has_each_client_in_few_row_groups(store: Store) -> None:
    metadata = arrow.read_metadata(io.BytesIO(b"".join(as_parquet(store, WantedEvents(), "client"))))
    key = parquet.SCHEMA.names.index("client_key")
    statistics = [metadata.row_group(n).column(key).statistics for n in range(metadata.num_row_groups)]
    assert len(statistics) == 7
    assert all(one.max <= other.min for one, other in itertools.pairwise(statistics))


def test_an_export_has_no_more_in_memory_than_a_row_group(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0

    def counted(*arguments: Any) -> Iterator[Any]:
        nonlocal read
        for page in pages(*arguments):
            read += len(page)
            yield page

    monkeypatch.setattr(parquet, "pages", counted)
    ahead, written = 0, as_parquet(store, WantedEvents(), "time")
    for number, _piece in enumerate(written, start=1):
        ahead = max(ahead, read - number * 60)
    assert ahead <= 30


def test_without_events_a_parquet_file_has_none(store: Store) -> None:
    content = b"".join(as_parquet(store, WantedEvents(application="none"), "time"))
    assert arrow.read_table(io.BytesIO(content)).num_rows == 0


def test_a_tenant_exports_its_own_events_and_few_exports_run_at_a_time(tmp_path: Path) -> None:
    with control(tmp_path / "control") as running:
        with running.plane.store.writing() as tx:
            write_events(tx, world(40))
        token = running.token_of("viewer", "team", ("api",))
        lines = running.ask("GET", "/v1/events/export", token=token).text.splitlines()
        assert {json.loads(line)["application"] for line in lines} == {"api"}
        answer = running.ask("GET", "/v1/events/export?form=parquet&sort=client")
        assert (answer.headers["content-type"], answer.content[:4]) == ("application/vnd.apache.parquet", b"PAR1")
        event_export._running["main"] += event_export.MAX_EXPORTS
        assert running.ask("GET", "/v1/events/export").status_code == 429
        assert running.ask("GET", "/v1/events/export", token=token).status_code == 200
        event_export._running["main"] -= event_export.MAX_EXPORTS
        assert running.ask("GET", "/v1/events/export").status_code == 200
        wait_for(lambda: event_export._running.total() == 0, "all have ended")
        assert running.ask("GET", "/v1/events/export?form=csv").status_code == 400
        refused(running)


def refused(running: Control) -> None:
    source = running.token_of("source")
    assert running.ask("GET", "/v1/events/export", token=source).status_code == 403


def test_the_command_writes_the_file_of_a_running_control_plane(tmp_path: Path) -> None:
    url, token = init(tmp_path / "control")
    path = tmp_path / "all.parquet"
    environment = {"AUTHZ_CONTROL_URL": url, "AUTHZ_TOKEN": token}
    with ControlProcess(tmp_path / "control"):
        headers = {"Authorization": f"Bearer {token}"}
        lines = "\n".join(json.dumps({"client": f"192.0.2.{n}", "application": "shop"}) for n in range(200))
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
            assert client.post("/v1/events", content=lines).status_code == 202
            wait_for(lambda: len(client.get("/v1/events?limit=1000").json()["items"]) == 200, "kept")
        assert exported(path, "--sort", "client", "--from", "-1h", **environment) == (0, "")
        assert duckdb.connect().execute(f"SELECT count(DISTINCT client) FROM '{path}'").fetchone() == (200,)
    before = path.read_bytes()
    status, said = exported(path, **environment)
    assert (status, path.read_bytes()) == (2, before)
    assert "is the control plane running?" in said
    assert "found '.csv', expected .parquet" in exported(tmp_path / "all.csv", **environment)[1]


def exported(path: Path, *options: str, **environment: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "authz", "control", "events", "export", str(path), *options]
    with Process(command, cwd=path.parent, env=os.environ | environment) as running:
        wait_for(lambda: running.popen.poll() is not None, "it has ended")
        return running.popen.returncode, running.output
