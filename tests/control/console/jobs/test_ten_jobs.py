"""The ten commonest jobs as the guide tells them, by a hand that counts what it presses.

A press is one of the mouse or of a single key such as Enter; what is typed into a field that has the focus is free.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.console.browser import WIDE, viewer
from support.control import Running
from support.processes import Sidecar, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

COUNTRIES = "start,end,value\n198.51.100.0,198.51.100.255,KP\n"
LISTENERS = 'grpc: {listen: "off"}\nhttp: {listen: "127.0.0.1:0"}\nadmin: {listen: "127.0.0.1:0"}\n'
EVENT = {"path": "/login", "method": "POST", "application": "shop"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("jobs") / "control")
    (running.folder / "geo").mkdir()
    (running.folder / "geo/country.csv").write_text(COUNTRIES)
    try:
        with Sidecar(running.folder, (running.folder / "authz.yaml").read_text() + LISTENERS):
            wait_for(lambda: running.ok("GET", "/v1/publications")["sidecars"], "the sidecar is known")
            yield running
    finally:
        running.end()


class Hand:
    """Somebody before a browser, who begins at the overview."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.presses = 0
        page.goto("/")

    def click(self, name: str, role: str = "link", within: str = "main") -> None:
        """Press what has this name, in the page or its top bar."""
        place = self.page.locator(within)
        place.get_by_role(role, name=name, exact=True).first.click()  # type: ignore[arg-type]  # a literal
        self.presses += 1

    def choose(self, label: str) -> None:
        """Press one of several choices."""
        self.page.locator("main label").get_by_text(label, exact=True).first.click()
        self.presses += 1

    def menu(self, name: str) -> None:
        """Press a link of the menu."""
        self.click(name, within="nav.side")

    def write(self, label: str, text: str) -> None:
        """Press a field and type, or only type where it has the focus."""
        field = self.page.get_by_role("textbox", name=label).first
        if field.get_attribute("autofocus") is not None:  # which it has once the page is drawn
            self.page.locator(":focus").wait_for()
        if not field.evaluate("field => field === document.activeElement"):
            field.click()
            self.presses += 1
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def find(self, text: str) -> None:
        """Look for something by the keyboard."""
        self.page.wait_for_load_state()  # its script listens
        self.page.keyboard.press("/")
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")
        self.presses += 2

    def sees(self, text: str) -> None:
        """Wait until the page says so."""
        self.page.locator("main").get_by_text(re.compile(text)).first.wait_for()

    def row(self, text: str) -> str:
        """Return where a row with this text is."""
        self.page.locator("main tr").filter(has_text=text).first.wait_for()
        return f'main tr:has-text("{text}")'


@pytest.fixture
def hand(browser: Browser, running: Running) -> Iterator[Hand]:
    with viewer(browser, running.url, running.token, size=WIDE) as (page, faults):
        yield Hand(page)
        assert faults == []


def ban(running: Running, address: str, **more: str) -> None:
    running.ok("POST", "/v1/bans", {"address": address, "period": "1h", "reason": "guessing"} | more)


def test_job_1_ban_an_address_for_two_hours_with_a_reason(hand: Hand) -> None:
    hand.click("Add object", within="header")
    hand.write("Addresses, networks, ranges", "203.0.113.1")
    hand.choose("2 hours")
    hand.write("Reason", "guessing passwords")
    hand.click("Add", "button")
    hand.sees("Enforced by the sidecar")
    assert hand.presses == 4


def test_job_2_know_whether_an_address_is_denied_by_what_and_until_when(hand: Hand, running: Running) -> None:
    ban(running, "203.0.113.2")
    hand.find("203.0.113.2")
    hand.sees("^Denied$")
    hand.sees("it is on the deny list.*until")
    hand.sees("added by admin through the API")
    assert hand.presses == 2


def test_job_3_let_one_address_of_a_denied_network_through(hand: Hand, running: Running) -> None:
    ban(running, "203.0.113.64/26")
    hand.find("203.0.113.70")
    hand.click("Let this one address through")
    hand.sees("wins over|loses to this entry")
    hand.click("Add", "button")
    hand.sees("Added 203.0.113.70 on the allow list, until")
    hand.find("203.0.113.70")
    hand.sees("^Allowed$")
    assert hand.presses == 4 + 2  # the last two only look


def test_job_4_extend_a_ban_by_a_week(hand: Hand, running: Running) -> None:
    ban(running, "203.0.113.4")
    hand.menu("Deny")
    hand.click("Period of 203.0.113.4", within=hand.row("203.0.113.4"))
    hand.choose("7 days")
    hand.click("Change", "button")
    hand.sees("in 7 days")
    assert hand.presses == 4


def test_job_5_take_back_a_deletion_also_after_leaving_the_page(hand: Hand, running: Running) -> None:
    ban(running, "203.0.113.5")
    hand.menu("Deny")
    hand.click("Delete 203.0.113.5", "button", hand.row("203.0.113.5"))
    hand.sees("Deleted 203.0.113.5")
    hand.menu("Overview")
    hand.menu("History")
    hand.click("Undo", "button", hand.row("203.0.113.5"))
    hand.sees("Restored 203.0.113.5")
    assert hand.presses == 5


def test_job_6_know_who_banned_an_address_when_and_why(hand: Hand, running: Running) -> None:
    ban(running, "203.0.113.6", reason="ticket 4711")
    hand.find("203.0.113.6")
    hand.click("Its history")
    assert re.search(r"added deny 203\.0\.113\.6\s+admin through the API\s+ticket 4711", hand.page.locator(
        hand.row("203.0.113.6")).first.inner_text().replace("\n", " ")) is not None  # fmt: skip
    assert hand.presses == 3


def test_job_7_deny_a_country_first_as_a_warning_and_then_for_good(hand: Hand, running: Running) -> None:
    running.ok("PUT", "/v1/policy?wait=published", {"geo": {"country": "geo/country.csv"}})
    hand.click("Add object", within="header")
    hand.choose("Countries")
    hand.write("Countries", "KP")
    hand.choose("Only warn")
    hand.write("Reason", "sanctions")
    hand.click("Add", "button")
    hand.sees("Added country KP")
    hand.click("country KP")
    hand.click("Block from now on", "button")
    hand.sees("Changed country KP")
    assert hand.presses == 8
    assert [entry["action"] for entry in running.ok("GET", "/v1/entries")["items"] if entry["countries"]] == ["block"]


def test_job_8_try_a_trigger_and_see_whom_its_dry_run_would_list(hand: Hand, running: Running) -> None:
    events = [EVENT | {"client": "203.0.113.8", "request_id": f"j{number}"} for number in range(12)]
    for event in events[:6]:
        running.ok("POST", "/v1/events", event)
    wait_for(lambda: len(running.ok("GET", "/v1/events")["items"]) == 6, "the events are kept")
    hand.menu("Triggers")
    hand.click("Create the first one")
    hand.write("Name", "login-guessing")
    hand.write("Paths", "/login")
    hand.write("More than", "4")
    hand.click("Try on the last 24 hours", "button")
    hand.sees("5 times")
    hand.click("Add", "button")
    hand.sees("Saved")
    for event in events[6:]:
        running.ok("POST", "/v1/events", event)
    wait_for(lambda: running.ok("GET", "/v1/triggers/login-guessing")["tried"], "the dry run has found somebody")
    hand.page.reload()
    hand.sees("Clients it would list")
    hand.row("POST /login")
    assert hand.presses == 7


def test_job_9_give_somebody_a_token_that_only_reads(hand: Hand) -> None:
    hand.menu("Tokens, tenants")
    hand.write("Name", "auditor")
    hand.click("Create token", "button")
    hand.sees("^authz_")
    assert hand.page.locator(hand.row("auditor")).first.inner_text().split()[1] == "viewer"
    assert hand.presses == 3


def test_job_10_see_whether_every_sidecar_has_the_newest_lists(hand: Hand) -> None:
    hand.sees("up to date")
    hand.menu("Publications, sidecars")
    hand.page.wait_for_url("**/publications")
    assert hand.page.locator("main").get_by_text("up to date").count() == 2
    assert hand.presses == 1
