"""Undo the day after: at each row of history, on the page of an entry, and what is refused there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from support.console.forms import Console

if TYPE_CHECKING:
    from support.control import Clock, Control

UNDO = re.compile(
    r'action="/undo".*?name="done" value="([^"]*)".*?name="back" value="([^"]*)".*?>([^<]*)</button>', re.DOTALL
)


def ban(plane: Control, address: str) -> str:
    return str(plane.ok("POST", "/v1/bans", {"address": address, "period": "2h", "reason": "guessing"})["id"])


def live(plane: Control) -> list[str]:
    return [entry["networks"][0] for entry in plane.ok("GET", "/v1/entries")["items"]]


def press(console: Console, done: str, back: str) -> str:
    answer = console.post("/undo", {"csrf": console.csrf, "done": done, "back": back})
    assert answer.status_code == 303, answer.text
    return console.get(answer.headers["location"]).text


def test_a_deletion_is_taken_back_from_its_row_of_history(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane, "203.0.113.9")
    ban(plane, "203.0.113.10")
    plane.ok("DELETE", f"/v1/bans/{entry_id}")
    offered = UNDO.findall(console.get("/history").text)
    assert [(back, word) for _, back, word in offered] == [("/history", "Undo")] * 2  # the first ban was changed since
    text = press(console, *offered[0][:2])
    assert "Restored" in text
    assert sorted(live(plane)) == ["203.0.113.10", "203.0.113.9"]


def test_the_page_of_a_deleted_entry_is_named_after_its_address_and_puts_it_back(plane: Control) -> None:
    console, entry_id = Console(plane), ban(plane, "203.0.113.9")
    plane.ok("DELETE", f"/v1/bans/{entry_id}")
    text = console.get(f"/entries/{entry_id}").text
    assert re.search(r"<h1[^>]*><bdi[^>]*>203\.0\.113\.9", text)
    done, back, word = UNDO.findall(text)[0]
    assert word == "Restore"
    assert ">Restore<" not in press(console, done, back)
    assert live(plane) == ["203.0.113.9"]


def test_what_has_ended_or_was_changed_since_offers_no_undo(plane: Control, clock: Clock) -> None:
    console, entry_id = Console(plane), ban(plane, "203.0.113.9")
    plane.ok("PATCH", f"/v1/entries/{entry_id}", {"period": "1d"}, If_Match=f'"{entry_id}.1"')
    assert len(UNDO.findall(console.get("/history").text)) == 1
    done, back, _ = UNDO.findall(console.get(f"/history?id={entry_id}").text)[0]
    assert back == f"/history?id={entry_id}"
    plane.ok("DELETE", f"/v1/bans/{entry_id}")
    refused = console.post("/undo", {"csrf": console.csrf, "done": done, "back": back})
    assert (refused.status_code, "was changed since" in refused.text) == (409, True)
    clock.now += 2 * 86400
    assert UNDO.findall(console.get("/history").text) == []


def test_who_may_not_edit_is_offered_no_undo(plane: Control) -> None:
    ban(plane, "203.0.113.9")
    viewer = Console(plane, plane.token_of("viewer"))
    assert "203.0.113.9" in viewer.get("/history").text
    assert UNDO.findall(viewer.get("/history").text) == []
