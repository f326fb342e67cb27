"""A sink to ClickHouse: what is sent to its HTTP interface, and what happens where it is away, refuses or is slow."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from support.docs.blocks import blocks
from support.processes import wait_for
from support.servers.receiver import Receiver

from authz.addresses import parse_address
from authz.control.detect.event import Event
from authz.control.detect.keeping import writer as module
from authz.control.detect.keeping.clickhouse import ClickHouse
from authz.control.detect.keeping.config import SinkConfig
from authz.control.model.problems import NotTaken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_790_000_002.0
EVENTS = [
    Event(1_790_000_000.25, parse_address("203.0.113.9"), "shop", "POST", "h", "/login?\udcff", 401, ("sqli",), "x",
          "deny", "a-1", "r-1", reason="blocklist"),
    Event(1_790_000_001.0, parse_address("2001:db8::1"), "api"),
]  # fmt: skip


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.status = 200
    yield receiver
    receiver.end()


def sink(receiver: Receiver, password_file: str | None = None) -> ClickHouse:
    url = receiver.url.removesuffix("/hook")
    config = SinkConfig(clickhouse=url, table="authz.events", user="writer", password_file=password_file)
    return ClickHouse(config, lambda client: "DE" if client.version == 4 else "", lambda: NOW)


def test_clickhouse_gets_a_row_of_json_for_each_event(receiver: Receiver, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    sink(receiver, str(tmp_path / "password")).write_batch(EVENTS)
    [(headers, body)] = receiver.got
    query = parse_qs(urlsplit(headers["Path"]).query)
    assert query["query"] == ["INSERT INTO authz.events FORMAT JSONEachRow"]
    assert (headers["X-ClickHouse-User"], headers["X-ClickHouse-Key"]) == ("writer", "s3cret")
    rows = [json.loads(line) for line in gzip.decompress(body).splitlines()]
    assert rows[0] == {
        "time": "1790000000.250000", "client": "::ffff:203.0.113.9", "country": "DE", "application": "shop",
        "method": "POST", "host": "h", "path": "/login?\\udcff", "status": 401, "decision": "deny",
        "reason": "blocklist", "entry": "a-1", "attacks": ["sqli"], "payload": "x", "request_id": "r-1",
    }  # fmt: skip
    assert (rows[1]["client"], rows[1]["attacks"], rows[1]["status"]) == ("2001:db8::1", [], 0)


def test_clickhouse_itself_takes_our_rows_into_the_table_of_the_page(receiver: Receiver, tmp_path: Path) -> None:
    """docs/operations/events.md; chdb is ClickHouse as a library."""
    session = pytest.importorskip("chdb.session", reason="needs the Python package chdb").Session(
        str(tmp_path / "data")
    )
    (table,) = (block.text for block in blocks("docs/operations/events.md") if block.first.startswith("CREATE TABLE"))
    session.query("CREATE DATABASE authz")
    table = table.replace("INTERVAL 90 DAY", "INTERVAL 9000 DAY")  # our events are of a certain day
    session.query(table.replace("authz_events", "authz.events"))
    sink(receiver).write_batch(EVENTS)
    sink(receiver).write_batch(EVENTS)  # its answer was lost
    for headers, body in receiver.got:
        query = parse_qs(urlsplit(headers["Path"]).query)
        settings = f"SETTINGS insert_deduplication_token = '{query['insert_deduplication_token'][0]}' FORMAT"
        session.query(query["query"][0].replace("FORMAT", settings) + "\n" + gzip.decompress(body).decode())
    columns = "toUnixTimestamp64Micro(time), IPv6NumToString(client), country, path, status, attacks, request_id"
    rows = session.query(f"SELECT {columns} FROM authz.events ORDER BY time", "JSONCompactEachRow").bytes().splitlines()
    assert [json.loads(row) for row in rows] == [
        [1_790_000_000_250_000, "::ffff:203.0.113.9", "DE", "/login?\\udcff", 401, ["sqli"], "r-1"],
        [1_790_000_001_000_000, "2001:db8::1", "", "", 0, [], ""],
    ]


def test_no_batch_has_so_many_days_that_clickhouse_refuses_it_for_good(receiver: Receiver) -> None:
    made_up = [Event(day * 86400.0, parse_address("203.0.113.9")) for day in range(20_000, 22_000)]
    sink(receiver).write_batch(made_up)
    [(_, body)] = receiver.got
    days = {float(json.loads(line)["time"]) // 86400 for line in gzip.decompress(body).splitlines()}
    assert len(days) <= 100  # max_partitions_per_insert_block
    assert max(days) == NOW // 86400
    sink(receiver).write_batch(made_up[:10])
    assert len(receiver.got) == 1


def test_a_batch_that_is_sent_again_has_the_same_token_and_another_has_another(receiver: Receiver) -> None:
    for batch in (EVENTS, EVENTS, EVENTS[:1]):
        sink(receiver).write_batch(batch)
    tokens = [parse_qs(urlsplit(headers["Path"]).query)["insert_deduplication_token"] for headers, _ in receiver.got]
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_batch_that_is_sent_again_later_says_the_same_of_what_is_ahead_of_our_clock(receiver: Receiver) -> None:
    clock = iter([NOW, NOW + 5])
    to = ClickHouse(SinkConfig(clickhouse=receiver.url.removesuffix("/hook")), lambda _: "", lambda: next(clock))
    batch = [Event(NOW + 86400, parse_address("203.0.113.9"))]
    to.write_batch(batch)
    to.write_batch(batch)
    (first, _), (again, _) = receiver.got
    assert first["Path"] == again["Path"]  # which has the token


def test_a_database_that_refuses_has_not_taken_events(receiver: Receiver, tmp_path: Path) -> None:
    receiver.status = 500
    with pytest.raises(NotTaken, match="answered 500"):
        sink(receiver).write_batch(EVENTS)
    with pytest.raises(NotTaken, match="No such file"):
        sink(receiver, str(tmp_path / "none")).write_batch(EVENTS)


def test_events_wait_for_a_database_that_is_away_and_those_without_room_are_counted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    receiver.status = 503
    to = sink(receiver)
    to.start()
    for _ in range(4):
        to.keep(EVENTS)
    assert (to.waiting, to.lost) == (5, 3)
    wait_for(lambda: receiver.got, "it was asked")
    receiver.status = 200
    wait_for(lambda: to.written == 5, "all were taken that found room")
    to.close()
    assert (to.waiting, to.lost) == (0, 3)


def test_who_ends_while_a_database_is_away_says_what_was_lost(receiver: Receiver) -> None:
    receiver.status = 503
    to = sink(receiver)
    to.start()
    to.keep(EVENTS)
    wait_for(lambda: receiver.got, "it was asked")
    to.close()
    assert (to.written, to.lost) == (0, 2)
