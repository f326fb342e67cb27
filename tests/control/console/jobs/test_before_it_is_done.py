"""What pages say before a thing is done: which entry wins, whom a dry run would list, what an approval would do."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import pytest
from support.console.forms import Console
from support.control import control
from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control

TRIGGER = {"name": "sign-on", "kind": "brute_force", "where": {"path": "/login"}, "dry_run": True,
           "count": {"over": 2, "within": "1m"}, "then": {"list": "deny", "period": "1h"}}  # fmt: skip


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "control", extra="four_eyes: {addresses: 1000}\n") as running:
        yield running


def words(text: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", text)))


def test_the_panel_says_which_of_two_entries_decides(plane: Control) -> None:
    plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["198.51.100.7"], "period": "1d"})
    console = Console(plane)
    fields = {"csrf": console.csrf, "list": "deny", "action": "block", "networks": "198.51.100.0/24", "period": "1h"}
    assert "allow 198.51.100.7 wins over this entry" in words(console.post("/add/preview", fields).text)
    plane.ok("PUT", "/v1/applications/*", {"precedence": "deny_first"})
    assert "allow 198.51.100.7 loses to this entry" in words(console.post("/add/preview", fields).text)


def test_the_panel_says_that_an_application_is_new(plane: Control) -> None:
    """A name that was mistyped was added to the policy without a word, and the ban denied nobody."""
    plane.ok("PUT", "/v1/applications/shop", {"mode": "block"})
    console = Console(plane)
    fields = {"csrf": console.csrf, "list": "deny", "action": "block", "networks": "198.51.100.9", "period": "1h"}
    told = "shoop: new. The policy names it with this entry; so far it names shop."
    assert told in words(console.post("/add/preview", fields | {"applications": "shoop"}).text)
    assert ": new." not in words(console.post("/add/preview", fields | {"applications": "shop"}).text)


def test_whom_a_dry_run_would_list_stands_on_its_page_and_on_triggers(plane: Control) -> None:
    plane.ok("POST", "/v1/triggers", TRIGGER)
    console = Console(plane)
    assert "Clients it would list None since the control plane started." in words(console.get("/triggers/sign-on").text)
    events = [{"client": "203.0.113.5", "path": "/login", "method": "POST", "request_id": f"r{n}"} for n in range(4)]
    for event in events:
        plane.ok("POST", "/v1/events", event)
    wait_for(lambda: plane.ok("GET", "/v1/triggers/sign-on")["tried"], "the dry run has found somebody")
    tried = plane.ok("GET", "/v1/triggers/sign-on")["newest_tried"]
    assert [(listing["network"], listing["count"], listing["request"]) for listing in tried] == [
        ("203.0.113.5", 3, "POST /login")
    ]
    console.become()
    for path in ("/triggers", "/triggers/sign-on"):
        assert re.search(r"203\.0\.113\.5 .* 3 POST /login", words(console.get(path).text)), path
    assert plane.ok("GET", "/v1/entries")["items"] == []


def test_an_approval_shows_what_the_change_would_do(plane: Control) -> None:
    office = plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["198.18.4.7"], "period": "1d"})
    wide = {"list": "deny", "networks": ["198.18.0.0/16"], "period": "1d", "reason": "lab"}
    waiting = plane.ask("POST", "/v1/entries", wide).json()["approval"]
    console = Console(plane)
    text = words(console.get(f"/approvals/{waiting}").text)
    assert "Addresses 65,536" in text
    assert "allow 198.18.4.7 wins over this entry" in text
    assert len(plane.ok("GET", "/v1/entries")["items"]) == 1  # looking did nothing
    plane.ok("DELETE", f"/v1/entries/{office['id']}", If_Match=f'"{office["id"]}.{office["version"]}"')
    second = Console(plane, plane.token_of("approver"))
    csrf = re.search(r'name="csrf" value="([^"]+)"', second.get(f"/approvals/{waiting}").text)
    assert csrf is not None
    assert second.post(f"/approvals/{waiting}", {"csrf": csrf[1], "do": "reject"}).status_code == 303
    assert "What it would do" not in second.get(f"/approvals/{waiting}").text


def test_holds_are_told_of_under_attention_and_do_not_count_as_trouble(plane: Control) -> None:
    plane.ok("POST", "/v1/triggers", TRIGGER | {"dry_run": False})
    for number in range(4):
        event = {"client": "203.0.113.5", "path": "/login", "method": "POST", "request_id": f"h{number}"}
        plane.ok("POST", "/v1/events", event)
    wait_for(lambda: plane.ok("GET", "/v1/entries")["items"], "it is listed")
    entry = plane.ok("GET", "/v1/entries")["items"][0]
    plane.ok("DELETE", f"/v1/entries/{entry['id']}", If_Match=f'"{entry["id"]}.{entry["version"]}"')
    console = Console(plane)
    text = words(console.get("/attention").text)
    assert "Triggers leave 1 network alone A person deleted what triggers had listed: 203.0.113.5" in text
    assert "held" not in console.get("/").text


def test_a_page_of_an_entry_tells_how_many_requests_it_decided(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "1h"})
    for number in range(3):
        event = {
            "client": "203.0.113.9",
            "path": "/",
            "decision": "deny",
            "entry": made["id"],
            "request_id": f"e{number}",
        }
        plane.ok("POST", "/v1/events", event)
    wait_for(lambda: len(plane.ok("GET", "/v1/events")["items"]) == 3, "the events are kept")
    assert "Hits 3 requests decided in the last 24 hours" in words(Console(plane).get(f"/entries/{made['id']}").text)


def test_what_is_wrong_with_a_token_or_tenant_stands_beside_its_field(plane: Control) -> None:
    console = Console(plane)
    token = {"csrf": console.csrf, "name": "anna", "role": "viewer", "tenant": "main", "networks": "300.1.2.3"}
    text = console.post("/people/tokens", token | {"period": "90d"}).text
    assert re.search(r'id="networks"[^>]*aria-invalid="true"[^>]*>\s*<p class="wrong" id="networks-wrong">', text)
    tenant = {"csrf": console.csrf, "tenant_name": "a b", "applications": "team-*"}
    text = console.post("/people/tenants", tenant).text
    assert re.search(r'id="tenant_name"[^>]*aria-invalid="true"[^>]*>\s*<p class="wrong" id="tenant_name-wrong">', text)
    saved = console.post("/people/tenants", tenant | {"tenant_name": "team-a"})
    assert "Saved." in console.get(saved.headers["location"]).text


def test_settings_of_an_application_that_are_saved_say_so(plane: Control) -> None:
    console = Console(plane)
    saved = console.post("/applications/shop", {"csrf": console.csrf, "dry_run": "yes", "do": "save"})
    assert "Added application shop" in words(console.get(saved.headers["location"]).text)


def test_what_is_wrong_is_told_of_all_fields_at_once(plane: Control) -> None:
    console = Console(plane)
    fields = {"csrf": console.csrf, "list": "deny", "action": "block", "networks": "300.1.2.3\n10.0.0.7/8",
              "period": "other", "other": "2 hours", "applications": "shop!"}  # fmt: skip
    text = console.post("/add", fields).text
    for name, count in (("networks", 2), ("other", 1), ("applications", 1)):
        wrong = re.search(rf'<div class="wrong" id="{name}-wrong">(.*?)</div>', text)
        assert wrong is not None, name
        assert wrong[1].count("<p>") == count
    assert plane.ok("GET", "/v1/entries")["items"] == []


def test_an_address_that_nothing_is_at_is_a_page_for_a_browser_and_a_problem_for_a_program(plane: Control) -> None:
    console = Console(plane)
    page = console.get("/nonsense", accept="text/html,*/*")
    assert (page.status_code, "Page not found" in page.text) == (404, True)
    for path, accept in (("/nonsense", "*/*"), ("/v1/nonsense", "text/html")):
        answer = console.get(path, accept=accept)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_refusal_has_the_menu_for_who_is_signed_on(plane: Control) -> None:
    console = Console(plane, plane.token_of("viewer"))
    for path, status in (("/entries/none", 404), ("/people", 403)):
        answer = console.get(path)
        assert (answer.status_code, 'aria-label="Pages"' in answer.text) == (status, True)


def test_an_entry_that_warns_blocks_by_one_press_and_history_says_so(plane: Control) -> None:
    warns = {"list": "deny", "networks": ["198.51.100.0/24"], "action": "warn", "period": "1d"}
    made = plane.ok("POST", "/v1/entries", warns)
    console = Console(plane)
    path = f"/entries/{made['id']}"
    assert "Block from now on" in console.get(path).text
    old = console.post(f"{path}/block", {"csrf": console.csrf, "seen": "7"})
    assert old.status_code == 412
    assert console.post(f"{path}/block", {"csrf": console.csrf, "seen": "1"}).status_code == 303
    assert plane.ok("GET", f"/v1/entries/{made['id']}")["action"] == "block"
    text = words(console.get(path).text)
    assert "Block from now on" not in text
    assert "it warned until now" in text
