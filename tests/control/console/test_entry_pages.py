"""Pages of lists: in the order of every column, each entry once, and never more rows than one page may read."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from support.control import Control, control

from authz.control.store.entries import pages as entry_pages
from authz.control.store.entries.find import Filter
from authz.control.store.entries.pages import SORTS, Search, count_page, find_page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from authz.control.model.records import Entry


REASONS = ["Stuffing", "spam", 'Ü"quoted"', "Straße", "", "\\slash%_*?", "line\nfeed"]
SEARCHES = [
    Search(text="STUFF"), Search(text='ü"quo'), Search(author="anna"), Search(text="192.0.2.7"), Search(text="STRASSE"),
    Search(text="\\slash%_*?"), Search(text="LINE\nFEED"), Search(source="api"), Search(excepting=True),
    Search(text="spam", author="bert", excepting=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    chance = random.Random(11)
    with control(tmp_path_factory.mktemp("pages") / "control") as plane:
        rows = [
            {"networks": [f"192.0.2.{number}", f"198.51.100.{number}"],
             "list": chance.choice(["deny", "gray", "allow"]),
             "period": chance.choice(["1h", "2h", "1d", "forever"]), "reason": chance.choice(REASONS),
             "author": chance.choice(["anna", "bert"]), "applications": chance.choice([[], ["shop"], ["api"]]),
             "except": chance.choice([[], [f"198.51.100.{number}"]]) if number % 3 else []}
            for number in range(120)
        ]  # fmt: skip
        plane.ok("POST", "/v1/entries/bulk", rows)
        yield plane


def all_pages(
    plane: Control, search: Search, sort: str, *, descending: bool, wanted: Filter, limit: int
) -> list[Entry]:
    entries, after = [], None
    with plane.plane.store.reading() as tx:
        while True:
            page = find_page(tx, wanted, search, sort=sort, descending=descending, after=after, limit=limit)
            entries += page.entries
            if page.following is None:
                return entries
            after = page.following


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_give_every_entry_once_in_the_order_of_the_column(filled: Control, sort: str, descending: bool) -> None:
    entries = all_pages(filled, Search(), sort, descending=descending, wanted=Filter(), limit=7)
    assert len(entries) == len({entry.id for entry in entries}) == 120
    keys: dict[str, Callable[[Entry], Any]] = {
        "reason": lambda e: e.reason, "author": lambda e: e.author, "list": lambda e: e.list,
        "ends": lambda e: float("inf") if e.expires is None else e.expires,
        "subject": lambda e: int(e.networks[0].rpartition(".")[2]), "changed": lambda e: e.created,
        "applications": lambda e: " ".join(e.applications),
    }  # fmt: skip
    values = [keys[sort](entry) for entry in entries]
    assert values == sorted(values, reverse=descending)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_finds_what_a_look_at_every_entry_finds(filled: Control, search: Search) -> None:
    everything = all_pages(filled, Search(), "changed", descending=True, wanted=Filter(), limit=50)
    expected = [entry.id for entry in everything if search.fits(entry)]
    assert expected
    found = all_pages(filled, search, "changed", descending=True, wanted=Filter(), limit=9)
    assert [entry.id for entry in found] == expected


def test_a_page_reads_no_more_rows_than_it_may_and_says_where_to_go_on(
    filled: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_pages, "MAX_LOOKED", 10)
    with filled.plane.store.reading() as tx:
        page = find_page(tx, Filter(), Search(text="nobody says this"), sort="changed", descending=True)
    assert (page.entries, page.looked) == ([], 10)
    assert page.following is not None
    entries = all_pages(filled, Search(author="bert"), "ends", descending=False, wanted=Filter(), limit=50)
    with filled.plane.store.reading() as tx:
        assert count_page(tx, Filter(), Search()) == 120
        assert count_page(tx, Filter(), Search(author="bert")) is None
    assert entries


def test_a_page_that_looked_at_all_it_may_is_not_the_last_whatever_is_looked_for(
    filled: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entry_pages, "MAX_LOOKED", 10)
    with filled.plane.store.reading() as tx:
        for name in ("nobody", "api"):  # which is what entries have that name no owner
            page = find_page(tx, Filter(), Search(author=name), sort="changed", descending=True)
            assert page.entries == []
            assert page.following is not None
    assert len(all_pages(filled, Search(source="api"), "changed", descending=True, wanted=Filter(), limit=50)) == 120


def test_the_order_of_a_column_comes_from_an_index_not_from_sorting(filled: Control) -> None:
    queries = []
    with filled.plane.store.reading() as tx:
        for sort in SORTS:
            for wanted in (Filter(), Filter(list="deny") if sort == "changed" else Filter()):
                query = entry_pages.ordered(wanted, Search(), tx, sort=sort, descending=True, after=None)
                plan = tx.exec_driver_sql(
                    "EXPLAIN QUERY PLAN " + str(query.compile(tx.engine, compile_kwargs={"literal_binds": True}))
                ).all()
                queries.append((sort, [row[3] for row in plan if "TEMP B-TREE" in row[3]]))
    assert [query for query in queries if query[1]] == []


def test_counting_a_list_reads_no_rows_but_an_index(filled: Control) -> None:
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        seen.append((statement, parameters))

    with filled.plane.store.reading() as tx:
        event.listen(tx, "before_cursor_execute", note)  # others ask meanwhile
        entry_pages.count_lists(tx, None, 1)
        event.remove(tx, "before_cursor_execute", note)
        plans = [
            row[3]
            for statement in seen
            for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + statement[0], statement[1])
        ]
    searches = [plan for plan in plans if "entries" in plan]
    assert len(searches) == 3
    assert [plan for plan in searches if "COVERING INDEX" not in plan] == []
