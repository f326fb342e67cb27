"""Four eyes, Difference, Who is locked out, Explain at a time, and countries: each by its pages, in a browser."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from support.console.browser import viewer
from support.control import ControlProcess, Running
from support.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

EXTRA = """\
four_eyes: {addresses: 256}
protected: [192.0.2.0/28]
"""
COUNTRIES = "198.51.100.0,198.51.100.255,KP\n203.0.113.0,203.0.113.255,NL\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("looking") / "control")
    try:
        with (running.folder / "control.yaml").open("a") as file:
            file.write(EXTRA)
        (running.folder / "geo").mkdir()
        (running.folder / "geo" / "country.csv").write_text(COUNTRIES)
        running.process.end()
        running.process = ControlProcess(running.folder)
        running.ok("PUT", "/v1/policy", {"geo": {"country": "geo/country.csv"}})
        running.ok("PUT", "/v1/applications/shop?wait=published", {"mode": "block"})
        yield running
    finally:
        running.end()


def local(seconds: float) -> str:
    """Return a time as a field for times takes it from a viewer in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def add(page: Page, networks: str, reason: str) -> None:
    page.goto("/add")
    page.get_by_label("Addresses, networks, ranges").fill(networks)
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Add", exact=True).click()


def test_a_wide_denial_waits_until_somebody_else_approves_it(browser: Browser, running: Running) -> None:
    second = running.ok("POST", "/v1/tokens", {"name": "berta", "role": "approver"})["secret"]
    with viewer(browser, running.url, running.token) as (page, faults):
        add(page, "198.18.0.0/20", "a lab that went wild")
        page.wait_for_url("**/approvals/a-*")
        path = page.url
        assert page.get_by_text("waiting for a second person").count() == 1
        assert page.get_by_role("button", name="Approve").count() == 0
        assert running.ok("GET", "/v1/entries?address=198.18.0.1")["items"] == []
        with viewer(browser, running.url, second) as (other, faults_there):
            other.goto("/approvals")
            other.get_by_role("link", name="198.18.0.0/20").click()
            other.get_by_role("button", name="Approve").click()
            other.get_by_text("approved", exact=True).wait_for()
            assert faults_there == []
        page.goto(path)
        assert page.get_by_text("berta").count() == 1
        page.goto("/lists?q=198.18.0.1")
        assert page.locator("tbody tr").count() == 1
        assert faults == []


def test_what_a_second_person_rejects_is_never_listed(browser: Browser, running: Running) -> None:
    second = running.ok("POST", "/v1/tokens", {"name": "carla", "role": "approver"})["secret"]
    with viewer(browser, running.url, running.token) as (page, _):
        add(page, "198.19.0.0/20", "too much")
        page.wait_for_url("**/approvals/a-*")
    with viewer(browser, running.url, second) as (page, faults):
        page.goto("/approvals")
        page.get_by_role("link", name="198.19.0.0/20").click()
        page.get_by_role("button", name="Reject").click()
        page.get_by_text("rejected", exact=True).wait_for()
        page.goto("/approvals?state=rejected")
        assert page.get_by_role("link", name="198.19.0.0/20").count() == 1
        assert faults == []
    assert running.ok("GET", "/v1/entries?address=198.19.0.1")["items"] == []


def test_the_difference_of_two_times_names_what_came_went_and_changed(browser: Browser, running: Running) -> None:
    kept = running.ok("POST", "/v1/bans", {"address": "203.0.113.31", "reason": "first"})
    gone = running.ok("POST", "/v1/bans", {"address": "203.0.113.32"})
    time.sleep(1.1)  # the field of a time has whole seconds
    since = time.time()
    running.ok("POST", "/v1/bans", {"address": "203.0.113.33", "reason": "new"})
    running.ok("PATCH", f"/v1/entries/{kept['id']}", {"period": "7d"}, **{"If-Match": f'"{kept["id"]}.1"'})
    running.ok("DELETE", f"/v1/bans/{gone['id']}")
    with viewer(browser, running.url, running.token, timezone_id="UTC") as (page, faults):
        page.goto("/difference")
        page.get_by_label("From").fill(local(since))
        page.get_by_label("To").fill(local(time.time() + 60))
        page.get_by_role("button", name="Compare").click()
        page.wait_for_url("**since=**")
        parts = {name: page.get_by_role("region", name=name, exact=True).inner_text()
                 for name in ("Added", "Deleted", "Changed")}  # fmt: skip
        assert "203.0.113.33" in parts["Added"]
        assert "203.0.113.32" in parts["Deleted"]
        assert all(text in parts["Changed"] for text in ("203.0.113.31", "ends"))
        assert "203.0.113.31" not in parts["Added"] + parts["Deleted"]
        assert faults == []


def test_who_must_get_in_and_is_denied_is_found(browser: Browser, running: Running) -> None:
    running.ok("POST", "/v1/bans", {"address": "203.0.113.41", "reason": "a partner, by mistake"})
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto("/locked-out")
        protected = page.get_by_role("row").filter(has_text="192.0.2.0/28")
        assert "not denied" in protected.inner_text()
        page.get_by_label("Networks that must not be denied").fill("203.0.113.40/30\n192.0.2.64/28")
        page.get_by_role("button", name="Check").click()
        denied = page.get_by_role("row").filter(has_text="203.0.113.40/30")
        assert "denied, at least in part" in denied.inner_text()
        assert "not denied" in page.get_by_role("row").filter(has_text="192.0.2.64/28").inner_text()
        denied.get_by_role("link", name="203.0.113.41").click()
        page.wait_for_url("**/entries/*")
        assert page.get_by_text("a partner, by mistake").count() > 0
        assert faults == []


def test_an_address_is_explained_as_it_was_before_somebody_let_it_in(browser: Browser, running: Running) -> None:
    made = running.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.51", "reason": "guessing"})
    time.sleep(1.1)
    before = time.time()
    time.sleep(1.1)
    running.ok("DELETE", f"/v1/bans/{made['id']}?reason=it%20was%20us")
    with viewer(browser, running.url, running.token, timezone_id="UTC") as (page, faults):
        page.goto("/explain")
        page.get_by_label("Address", exact=True).fill("203.0.113.51")
        page.get_by_label("Application", exact=True).fill("shop")
        page.get_by_role("button", name="Explain").click()
        page.get_by_text("No entry covers it").wait_for()
        assert page.locator(".verdict .word").inner_text() == "Allowed"
        page.get_by_label("As of").fill(local(before))
        page.get_by_role("button", name="Explain").click()
        page.wait_for_url("**at=2**")
        assert page.locator(".verdict .word").inner_text() == "Denied"
        assert "guessing" in page.get_by_role("region", name="Entries that cover it").inner_text()
        assert faults == []


def test_countries_that_are_denied_are_counted_and_lead_to_their_events(browser: Browser, running: Running) -> None:
    clients = ["198.51.100.7"] * 3 + ["203.0.113.9"]
    lines = [json.dumps({"client": client, "application": "shop", "decision": "deny"}) for client in clients]
    running.client.post("/v1/events", content="\n".join(lines)).raise_for_status()
    wait_for(lambda: len(running.ok("GET", "/v1/events")["items"]) == 4, "the events are kept")
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto("/")
        card = page.get_by_role("region", name="Countries")
        card.get_by_text("North Korea").wait_for()  # the browser names them in the viewer's language
        assert card.locator("li").all_inner_texts()[0].split("\n")[-1].strip().endswith("3")
        card.get_by_role("link", name="Netherlands").click()
        page.wait_for_url("**country=NL**")
        assert page.locator("tbody tr").count() == 1
        assert "203.0.113.9" in page.locator("tbody").inner_text()
        assert faults == []
