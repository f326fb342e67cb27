"""Pages of events: every event once, newest first, and never more rows than one page may read."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from support.control import Control, control

from authz.addresses import parse_address, parse_network
from authz.control.api.detect import events as api
from authz.control.detect.event import Event
from authz.control.store.events import pages
from authz.control.store.events.pages import find_event_page
from authz.control.store.events.search import WantedEvents, find_events
from authz.control.store.events.writing import write_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COUNT = 400
WANTED = [
    WantedEvents(), WantedEvents(decision="deny"), WantedEvents(status=500), WantedEvents(application="rare"),
    WantedEvents(network=parse_network("192.0.2.7/32")), WantedEvents(network=parse_network("192.0.2.0/26")),
    WantedEvents(network=parse_network("192.0.2.64/26"), decision="deny"), WantedEvents(entry="b-1"),
    WantedEvents(network=parse_network("203.0.113.0/24")), WantedEvents(patterns=("ra*",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    chance = random.Random(5)
    with control(tmp_path_factory.mktemp("events") / "control") as plane:
        now = plane.plane.store.now() / 1e6
        events = [
            Event(
                time=now - chance.randrange(200), client=parse_address(f"192.0.2.{chance.randrange(128)}"),
                application="rare" if number % 97 == 0 else "shop", status=500 if number % 89 == 0 else 200,
                decision="deny" if number % 5 == 0 else "allow", entry="b-1" if number % 41 == 0 else "",
            )
            for number in range(COUNT)
        ]  # fmt: skip
        with plane.plane.store.writing() as tx:
            write_events(tx, events)
        yield plane


@pytest.mark.parametrize("most", [10, 60, COUNT * 2])
@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_pages_give_every_event_once_in_order_however_few_are_looked_at(
    filled: Control, wanted: WantedEvents, most: int
) -> None:
    found, before, count = [], None, 0
    with filled.plane.store.reading() as tx:
        expected = [(row.time, row.id) for row in find_events(tx, wanted, limit=COUNT)]
        while True:
            page = find_event_page(tx, wanted, before=before, limit=7, most=most)
            found += [(row.time, row.id) for row in page.events]
            count += 1
            assert len(page.events) <= 7
            before = page.following
            if before is None:
                break
    assert found == expected
    assert count <= COUNT // min(most, 7) + 2


def test_a_page_that_finds_nothing_among_those_it_may_look_at_says_where_to_go_on(filled: Control) -> None:
    with filled.plane.store.reading() as tx:
        page = find_event_page(tx, WantedEvents(decision="nonsense"), most=25)
        last = find_events(tx, WantedEvents(), limit=25)[-1].time
    assert page == ([], (last // 1_000_000 * 1_000_000, 0), 25)


def test_of_events_that_lie_apart_fewer_are_looked_at(filled: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_SCATTERED", 3)
    client = parse_network("192.0.2.7/32")
    with filled.plane.store.reading() as tx:
        page = find_event_page(tx, WantedEvents(network=client, decision="nonsense"))
        assert (page.events, page.looked) == ([], 3)
        assert page.following is not None
        of_client = find_event_page(tx, WantedEvents(network=client))  # the index finds all of that
        assert len(of_client.events) == len(find_events(tx, WantedEvents(network=client), limit=50)) > 0


def test_where_to_go_on_tells_a_tenant_no_time_or_id_of_another_tenants_event(tmp_path: Path) -> None:
    with control(tmp_path / "control") as plane:
        now = plane.plane.store.now() // 1_000_000
        with plane.plane.store.writing() as tx:
            write_events(tx, [
                Event(time=now - number + 0.123456, client=parse_address("192.0.2.7"), application="other")
                for number in range(1, 60)
            ])  # fmt: skip
            others = {(row.time, row.id) for row in find_events(tx, WantedEvents())}
            before = None
            for _ in range(4):
                page = find_event_page(tx, WantedEvents(patterns=("team-a-*",)), before=before, most=10)
                assert page.events == []
                before = page.following
                assert before is not None
                time, number = before
                assert (time % 1_000_000, number) == (0, 0)
                assert {time, number}.isdisjoint(value for other in others for value in other)


def test_the_api_looks_through_so_many_events_and_no_more_whatever_is_looked_for(
    filled: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "find_event_page", partial(find_event_page, most=25))
    first = filled.ok("GET", "/v1/events?status=418")
    assert (first["items"], first["cursor"] is None) == ([], False)
    seen, asked = 0, 0
    cursor: str | None = ""
    while cursor is not None:
        page = filled.ok("GET", f"/v1/events?status=500{cursor and '&cursor='}{cursor}")
        seen, asked, cursor = seen + len(page["items"]), asked + 1, page["cursor"]
    assert seen == len(range(0, COUNT, 89))
    assert asked > 1


def test_a_wide_network_with_many_events_is_found_by_time_and_not_sorted(
    filled: Control,
) -> None:
    """SQLite sorted twenty million events of 0.0.0.0/0: 4 to 12 seconds."""
    store = filled.plane.store
    wide = WantedEvents(network=parse_network("192.0.0.0/8"))
    asked: list[tuple[str, Any]] = []
    with store.reading() as tx:
        listener = event.listens_for(tx, "before_cursor_execute")
        listener(lambda _conn, _cursor, statement, given, _context, _many: asked.append((statement, given)))
        page = find_event_page(tx, wide, limit=5, most=50)
        assert [row.id for row in page.events] == [row.id for row in find_events(tx, wide, limit=5)]
        statements = asked[:-1]  # without the comparison's own
        plans = [[row[3] for row in tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {s}", given)] for s, given in statements]
    if not store.is_postgresql:
        assert [line for plan in plans for line in plan if "TEMP B-TREE" in line] == []
