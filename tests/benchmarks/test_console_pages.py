"""The benchmark of the console's pages asks for every page, over a store that is filled step by step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from litestar import Litestar

from authz.control.console.routes import console_routes

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def test_every_page_of_the_console_is_asked_for() -> None:
    from benchmarks.contenders.events.filled import Wanted
    from benchmarks.contenders.events.pages import pages_of

    paths = {page.path.partition("?")[0] for page in pages_of(Wanted(10, 10, 0, 1000), 1).values()}
    routes = {
        re.sub(r"\{[^}]*\}", "[^/]+", route.path)
        for route in Litestar(console_routes()).routes
        if "GET" in getattr(route, "methods", ()) and not route.path.startswith(("/static", "/schema"))
    }
    assert len(routes) > 20
    left_out = {route for route in routes if not any(re.fullmatch(route, path) for path in paths)}
    assert left_out == {"/approvals/[^/]+", "/history.csv"}  # nothing waits; a file, not a page


def test_a_store_is_filled_step_by_step_and_all_pages_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.contenders.events import filled, pages

    monkeypatch.setattr(filled, "_CHUNK", 300)
    for events in (900, 5):  # the second is not asked: the store says what it is filled with
        with filled.opened(tmp_path, "sqlite", events, 1000) as store:
            assert not filled.fill(store, 0.0)
    with filled.opened(tmp_path, "sqlite", 900, 1000) as store:
        assert filled.fill(store)
        assert filled.fill(store, 0.0)  # nothing is missing
        with store.store.reading() as tx:
            query = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM events"
            assert tuple(tx.exec_driver_sql(query).one()) == (900, 900, 0, 899)
            for query in ("SELECT sum(count) FROM event_counts", "SELECT sum(count) FROM event_countries"):
                assert tx.exec_driver_sql(query).scalar() == 900
        with pages.served(store) as browser:
            for name, page in pages.pages_of(store.wanted, 1).items():
                if not name.startswith("map"):  # drawn anew for each file: that takes a second
                    browser.ask(page)  # raises where it is no page
