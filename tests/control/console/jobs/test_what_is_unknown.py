"""Where no event has come, pages say that nothing is known, and never a number that reassures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.console.forms import Console
from support.control import control

from authz.addresses import parse_address
from authz.control.detect.event import Event
from authz.control.store.events.writing import write_events

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control

UNKNOWN = "Unknown: no sidecar sent events in the last 24 hours."
FORM = {"list": "deny", "period": "1h", "action": "block"}
TRIGGER = {"name": "guessing", "kind": "brute_force", "path": "/login", "over": "5", "within": "1m", "by": "address",
           "list": "deny", "period": "1h", "dry_run": "yes"}  # fmt: skip


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "control") as running:
        yield running


def came(plane: Control, *, status: int = 0) -> None:
    event = Event(plane.plane.store.clock() - 60, parse_address("192.0.2.1"), "shop", decision="allow", status=status)
    with plane.plane.store.writing() as tx:
        write_events(tx, [event])


def previewed(console: Console, **fields: str) -> str:
    return console.post("/add/preview", {"csrf": console.csrf, **FORM, **fields}).text


def test_the_overview_says_nobody_was_denied_only_where_events_came(plane: Control) -> None:
    console = Console(plane)
    assert "No request was denied" not in console.get("/busiest").text
    assert console.get("/").text.count(">unknown<") == 2
    assert UNKNOWN in console.get("/").text
    came(plane)
    assert "No request was denied" in console.get("/busiest").text
    assert UNKNOWN not in console.get("/").text


def test_a_preview_without_events_shows_no_number_of_requests(plane: Control) -> None:
    console = Console(plane)
    assert UNKNOWN in previewed(console, networks="198.51.100.0/24")
    assert not re.search(
        r"Requests in the last 24 hours</dt><dd class=\"big\">", previewed(console, networks="198.51.100.7")
    )
    came(plane)
    assert 'Requests in the last 24 hours</dt><dd class="big">0<' in previewed(console, networks="198.51.100.0/24")


def test_a_preview_of_a_country_shows_no_number_that_events_do_not_tell(plane: Control) -> None:
    came(plane)
    text = previewed(Console(plane), countries="KP")
    assert "Requests in the last 24 hours" not in text
    assert "Events do not contain countries" in text


def test_the_api_says_whether_the_counts_of_yesterday_mean_anything(plane: Control) -> None:
    body = {"networks": ["198.51.100.0/24"]}
    assert plane.ok("POST", "/v1/preview", body)["yesterday"]["known"] is False
    came(plane)
    assert plane.ok("POST", "/v1/preview", body)["yesterday"]["known"] is True


def test_an_entry_that_no_event_names_says_so_only_where_events_came(plane: Control) -> None:
    console, entry_id = Console(plane), plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})["id"]
    assert UNKNOWN in console.get(f"/entries/{entry_id}").text
    came(plane)
    assert "No event names this entry." in console.get(f"/entries/{entry_id}").text


def test_a_trigger_tried_without_events_says_that_none_came(plane: Control) -> None:
    console = Console(plane)
    text = console.post("/triggers", {"csrf": console.csrf, "do": "try", **TRIGGER}).text
    assert UNKNOWN in text
    assert "Would have listed" not in text


def test_a_trigger_on_a_status_that_no_event_tells_is_told_so(plane: Control) -> None:
    console = Console(plane)
    sent = {"csrf": console.csrf, "do": "try", "status": "401", **TRIGGER}
    came(plane)
    assert "No event of the last 24 hours has a status" in console.post("/triggers", sent).text
    came(plane, status=401)
    text = console.post("/triggers", sent).text
    assert "has a status" not in text
    assert "Would have listed" in text


def test_one_page_shows_the_lines_and_the_command_that_let_sidecars_send_events(plane: Control) -> None:
    text = Console(plane).get("/events/setup").text
    assert "url: http://testserver.local/v1/events" in text
    assert "token_file: events.token" in text
    assert "authz control tokens add sidecars --role sidecar --for 365d" in text
