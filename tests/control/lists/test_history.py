"""What was on the list, who put it there, why; and going back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event
from support.control import Clock, Control, control

from authz.control.store.entries import find
from authz.control.store.ledger.history import Wanted, find_changes
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0


@pytest.fixture
def plane(store_url: str, tmp_path: Path, clock: Clock) -> Iterator[Control]:
    with control(tmp_path / "control", store=store_url, clock=clock) as running:
        yield running


def test_history_tells_who_banned_an_address_when_how_and_why(plane: Control, clock: Clock) -> None:
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "2h", "reason": "guesses"})
    clock.now += 60
    plane.ok("DELETE", f"/v1/bans/{made['id']}?reason=mistake", authz_method="cli")
    items = plane.ok("GET", "/v1/history?address=203.0.113.9")["items"]
    assert [item["action"] for item in items] == ["delete", "add"]
    assert [item["reason"] for item in items] == ["mistake", "guesses"]
    assert [item["method"] for item in items] == ["cli", "api"]
    assert {item["actor"] for item in items} == {"admin"}
    assert items[1]["before"] is None
    assert items[1]["after"]["networks"] == ["203.0.113.9"]
    assert items[0]["after"] is None
    assert items[0]["time"] > items[1]["time"]
    assert plane.ok("GET", "/v1/history?address=203.0.113.10")["items"] == []


def test_history_is_of_a_time_and_comes_in_pages(plane: Control, clock: Clock) -> None:
    begin = clock.now
    for number in range(5):
        clock.now = begin + number * 60
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}", "period": "1d"})
    window = f"from={format_moment(begin + 60)}&to={format_moment(begin + 240)}"
    page = plane.ok("GET", f"/v1/history?{window}&limit=2")
    assert [item["after"]["networks"][0] for item in page["items"]] == ["203.0.113.3", "203.0.113.2"]
    rest = plane.ok("GET", f"/v1/history?{window}&limit=2&cursor={page['cursor']}")
    assert [item["after"]["networks"][0] for item in rest["items"]] == ["203.0.113.1"]
    assert rest["cursor"] is None


def test_entries_are_shown_as_of_any_time(plane: Control, clock: Clock) -> None:
    begin = clock.now
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "5h"})
    clock.now += HOUR
    plane.ok("DELETE", f"/v1/bans/{made['id']}")
    clock.now += HOUR
    asked = "/v1/entries?address=203.0.113.9"
    assert plane.ok("GET", asked)["items"] == []
    then = plane.ok("GET", f"{asked}&at={format_moment(begin + 60)}")["items"]
    assert [entry["id"] for entry in then] == [made["id"]]
    assert plane.ok("GET", f"{asked}&at={format_moment(begin - 60)}")["items"] == []


def test_an_expired_ban_is_on_no_list_and_wrote_nothing(plane: Control, clock: Clock) -> None:
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "2h"})
    clock.now += 2 * HOUR
    assert plane.ok("GET", "/v1/entries?address=203.0.113.9")["items"] == []
    assert len(plane.ok("GET", "/v1/entries?address=203.0.113.9&expired=true")["items"]) == 1
    assert len(plane.ok("GET", "/v1/history")["items"]) == 1


def test_a_decision_is_explained_now_and_as_of_then(plane: Control, clock: Clock) -> None:
    begin = clock.now
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.0/24", "period": "5h", "reason": "a botnet"})
    clock.now += HOUR
    plane.ok("DELETE", f"/v1/bans/{made['id']}")
    clock.now += HOUR
    now = plane.ok("GET", "/v1/explain?address=203.0.113.9&application=shop")
    assert (now["decision"], now["reason"], now["covering"]) == ("allow", "default_allow", [])
    then = plane.ok("GET", f"/v1/explain?address=203.0.113.9&application=shop&at={format_moment(begin + 60)}")
    assert (then["decision"], then["reason"], then["entry"]) == ("deny", "denylisted", made["id"])
    (covering,) = then["covering"]
    assert covering["verdict"] == "decides"
    assert covering["network"] == "203.0.113.0/24"
    assert (covering["change"]["actor"], covering["change"]["reason"]) == ("admin", "a botnet")


def test_the_lists_go_back_an_hour(plane: Control, clock: Clock) -> None:
    kept = plane.ok("POST", "/v1/bans", {"address": "203.0.113.1", "period": "7d"})
    ended = plane.ok("POST", "/v1/bans", {"address": "203.0.113.2", "period": "7d"})
    expired = plane.ok("POST", "/v1/bans", {"address": "203.0.113.3", "period": "90m"})
    then = clock.now
    clock.now += HOUR
    plane.ok("DELETE", f"/v1/bans/{ended['id']}")
    plane.ok("DELETE", f"/v1/bans/{expired['id']}")
    plane.ok("PATCH", f"/v1/entries/{kept['id']}", {"period": "30m"}, If_Match="*")
    newer = plane.ok("POST", "/v1/bans", {"address": "203.0.113.4", "period": "7d"})
    clock.now += HOUR
    body = {"to": format_moment(then + 1)}
    tried = plane.ok("POST", "/v1/rollback", body | {"dry_run": True})
    done = plane.ok("POST", "/v1/rollback?wait=published", body)
    assert {key: tried[key] for key in ("restored", "changed", "deleted")} == {
        "restored": [ended["id"]], "changed": [kept["id"]], "deleted": [newer["id"]],
    }  # fmt: skip
    assert done["deleted"] == tried["deleted"]
    assert done["serials"]["bans"] > newer["serial"]
    live = {entry["id"]: entry for entry in plane.ok("GET", "/v1/bans")["items"]}
    assert live.keys() == {kept["id"], ended["id"]}
    assert live[kept["id"]]["expires"] == kept["expires"]


def test_one_change_is_taken_back_unless_somebody_changed_the_entry_since(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.1", "period": "7d"})
    ended = plane.ok("DELETE", f"/v1/bans/{made['id']}")
    plane.ok("POST", "/v1/undo", {"layer": "bans", "serial": ended["serial"]})
    assert [entry["id"] for entry in plane.ok("GET", "/v1/bans")["items"]] == [made["id"]]
    again = plane.ask("POST", "/v1/undo", {"layer": "bans", "serial": made["serial"]})
    assert (again.status_code, again.json()["code"]) == (409, "changed_since")


def test_a_rollback_to_a_serial_goes_to_the_state_behind_it(plane: Control, clock: Clock) -> None:
    first = plane.ok("POST", "/v1/bans", {"address": "203.0.113.1", "period": "7d"})
    clock.now += 1
    second = plane.ok("POST", "/v1/bans", {"address": "203.0.113.2", "period": "7d"})
    done = plane.ok("POST", "/v1/rollback", {"to": first["serial"]})
    assert done["deleted"] == [second["id"]]


def test_a_rollback_reads_what_has_changed_and_not_all_that_is_on_the_lists(
    plane: Control, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"networks": [f"203.0.113.{number}"], "period": "7d"} for number in range(200)]
    plane.ok("POST", "/v1/entries/bulk", rows)
    then = clock.now
    clock.now += HOUR
    wrong = plane.ok("POST", "/v1/bans", {"address": "198.51.100.1"})
    read: list[str] = []

    def counted(content: str) -> object:
        read.append(content)
        return decode(content)

    decode = find._DECODE
    monkeypatch.setattr(find, "_DECODE", counted)
    assert plane.ok("POST", "/v1/rollback", {"to": format_moment(then + 1)})["deleted"] == [wrong["id"]]
    assert 0 < len(read) < 10


def test_what_somebody_has_changed_is_found_by_an_index_also_where_that_is_nothing(plane: Control) -> None:
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_more: object) -> None:
        asked.append((statement, parameters))

    with plane.plane.store.reading() as tx:
        event.listen(tx, "before_cursor_execute", note)  # others ask meanwhile
        assert find_changes(tx, Wanted(actor="nobody")) == []
        assert [change.action for change in find_changes(tx, Wanted(actor="admin"))] == ["add"]
        event.remove(tx, "before_cursor_execute", note)
        if plane.plane.store.is_postgresql:  # of few rows it makes no use of an index
            return
        plans = [
            row[3]
            for statement in asked
            for row in tx.exec_driver_sql("EXPLAIN QUERY PLAN " + statement[0], statement[1])
        ]
    assert plans == ["SEARCH changes USING INDEX ix_changes_actor_time (actor=?)"] * 2
