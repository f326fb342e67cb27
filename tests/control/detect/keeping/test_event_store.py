"""Events in the store: found by client, network, application, entry and time; counted for charts; deleted when old."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from authz.addresses import network_of, parse_address, parse_network
from authz.control.detect.event import Event
from authz.control.detect.keeping.countries import Countries
from authz.control.detect.keeping.keeper import EventKeeper
from authz.control.store.database import create_store, migrate
from authz.control.store.events import top
from authz.control.store.events.search import (
    WantedEvents,
    client_of,
    count_by_time,
    count_events,
    find_events,
)
from authz.control.store.events.top import find_busiest
from authz.control.store.events.writing import DAY, client_key, drop_old_events, write_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.control.store.database import Store

START = 1_790_000_000
CLIENTS = ["203.0.113.9", "203.0.113.10", "198.51.100.7", "2001:db8::1", "2001:db8:0:1::1"]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = create_store(store_url)
    yield opened
    opened.close()


def world(seed: int = 1) -> list[Event]:
    choose = random.Random(seed)
    return [
        Event(
            START + choose.randrange(3 * 86400), parse_address(choose.choice(CLIENTS)),
            choose.choice(["shop", "team-a", "Team-a", ""]), "GET", "h", "/", choose.choice([0, 200, 404]),
            decision=choose.choice(["allow", "deny"]), entry=choose.choice(["", "office"]),
        )
        for _ in range(300)
    ]  # fmt: skip


def test_events_are_found_as_a_scan_finds_them(store: Store) -> None:
    events = world()
    with store.writing() as tx:
        write_events(tx, events[:100])
        write_events(tx, events[100:])
    for network in [*CLIENTS, "203.0.113.0/24", "2001:db8::/64", "2001:db8::/32", "0.0.0.0/0"]:
        for application, decision in (("shop", None), (None, "deny"), (None, None)):
            wanted = WantedEvents(parse_network(network), application, decision=decision,
                                  begin=(START + 1000) * 10**6, end=(START + 200_000) * 10**6)  # fmt: skip
            expected = sorted(
                (event.time for event in events
                 if event.client.version == parse_network(network).version
                 and network_of(event.client, parse_network(network).length) == parse_network(network)
                 and application in {None, event.application} and decision in {None, event.decision}
                 and START + 1000 <= event.time < START + 200_000),
                reverse=True,
            )  # fmt: skip
            with store.reading() as tx:
                assert [row.time / 10**6 for row in find_events(tx, wanted, limit=1000)] == expected
                assert count_events(tx, wanted) == len(expected)


def test_pages_join_without_a_gap(store: Store) -> None:
    same_time = [Event(START, parse_address("203.0.113.9"), path=f"/{number}") for number in range(25)]
    with store.writing() as tx:
        write_events(tx, same_time)
    seen, place = [], None
    with store.reading() as tx:
        while page := find_events(tx, WantedEvents(), before=place, limit=10):
            seen += [row.path for row in page]
            place = (page[-1].time, page[-1].id)
    assert sorted(seen) == sorted(event.path for event in same_time)


def test_counts_for_a_chart_are_those_of_the_events(store: Store) -> None:
    events = world()
    with store.writing() as tx:
        write_events(tx, events[:150])
        write_events(tx, events[150:])
    with store.reading() as tx:
        counts = count_by_time(tx, START * 10**6, (START + 4 * 86400) * 10**6, 60)
        shop = count_by_time(tx, START * 10**6, (START + 4 * 86400) * 10**6, 1440, "shop")
    for time, decision, count in counts:
        assert count == sum(time <= event.time < time + 3600 and event.decision == decision for event in events)
    assert sum(count for _, _, count in counts) == 300
    assert sum(count for _, _, count in shop) == sum(event.application == "shop" for event in events)


def test_patterns_hide_the_applications_of_others_and_mind_the_case(store: Store) -> None:
    with store.writing() as tx:
        write_events(tx, world())
    with store.reading() as tx:
        rows = find_events(tx, WantedEvents(patterns=("team-*",)), limit=1000)
        assert {row.application for row in rows} == {"team-a"}
        assert find_events(tx, WantedEvents(patterns=())) == []
        assert {row.application for row in find_events(tx, WantedEvents(patterns=("t_am%", "sh?p")), limit=1000)} == {
            "shop"
        }


def test_the_busiest_clients_are_named(store: Store) -> None:
    events = [Event(START, parse_address(client)) for client in [*CLIENTS, CLIENTS[2], CLIENTS[2], CLIENTS[3]]]
    with store.writing() as tx:
        write_events(tx, events)
    with store.reading() as tx:
        busiest = find_busiest(tx, WantedEvents(), 2)
    assert (busiest.clients, busiest.since) == ([(CLIENTS[2], 3), (CLIENTS[3], 2)], None)


def test_the_busiest_clients_are_those_among_the_newest_events(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a question for a year would read all of its events."""
    monkeypatch.setattr(top, "MAX_EVENTS", 10)
    with store.writing() as tx:
        write_events(tx, [Event(START + second, parse_address(CLIENTS[second // 50])) for second in range(100)])
    with store.reading() as tx:
        busiest = find_busiest(tx, WantedEvents())
    assert busiest.clients == [(CLIENTS[1], 10)]
    assert busiest.since == int((START + 90) * 1_000_000)


def test_old_events_and_their_counts_are_deleted(store: Store) -> None:
    with store.writing() as tx:
        write_events(tx, world())
        drop_old_events(tx, (START + 86400) * 10**6)
    with store.reading() as tx:
        kept = find_events(tx, WantedEvents(), limit=1000)
        counts = count_by_time(tx, 0, (START + 4 * 86400) * 10**6, 60)
    assert len(kept) == sum(event.time >= START + 86400 for event in world())
    assert min(time for time, _, _ in counts) >= START + 86400 - 3600


def test_postgresql_keeps_a_partition_a_day(store: Store) -> None:
    if not store.is_postgresql:
        pytest.skip("SQLite has no partitions")
    from sqlalchemy import text

    with store.writing() as tx:
        write_events(tx, world())
        query = text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
        days = {int(event.time * 10**6) // DAY for event in world()}
        assert tx.execute(query).scalar_one() == len(days) + 1
        drop_old_events(tx, (max(days) + 1) * DAY)
        assert tx.execute(query).scalar_one() == 1


def test_times_that_a_sender_makes_up_make_no_partitions_and_lead_no_list(store: Store, tmp_path: Path) -> None:
    store.clock = lambda: START
    keeper = EventKeeper(store, 7 * 86400.0, Countries(store, tmp_path, ()))
    client, choose = parse_address("203.0.113.9"), random.Random(5)
    days = [choose.randrange(40_000) for _ in range(200)]
    now = Event(START, client, path="/now")
    keeper.write_batch([*(Event(day * 86400.0, client, path="/made-up") for day in days), now])
    with store.reading() as tx:
        kept = find_events(tx, WantedEvents(), limit=500)
    past = [day for day in days if day * 86400 < START - 7 * 86400]
    assert past
    assert len(kept) == len(days) - len(past) + 1
    assert {row.time // DAY for row in kept} == {START * 10**6 // DAY}


def test_texts_that_a_store_cannot_keep_are_kept_escaped(store: Store) -> None:
    with store.writing() as tx:
        write_events(tx, [Event(START, parse_address("203.0.113.9"), path="/a\0b\udcff")])
    with store.reading() as tx:
        assert find_events(tx, WantedEvents())[0].path == "/a\\0b\\udcff"


def test_a_client_is_written_back_as_it_was() -> None:
    for client in [*CLIENTS, "0.0.0.0", "::1", "ffff::ffff:0:0"]:
        assert client_of(client_key(parse_address(client))) == client


def test_the_tables_can_be_taken_back(store_url: str) -> None:
    create_store(store_url).close()
    migrate(store_url, "0002")
    migrate(store_url)
    create_store(store_url).close()
