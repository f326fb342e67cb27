"""An operator's day in the browser, with a real control plane, a real sidecar and a real Envoy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.console.browser import viewer
from support.console.edge import Edge, new_edge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

BAD = "203.0.113.9"
OTHER = "198.51.100.7"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with new_edge(tmp_path_factory.mktemp("edge") / "control") as edge:
        yield edge


def add(page: Page, address: str, **fields: str) -> None:
    page.goto("/add")
    page.get_by_label("Addresses, networks, ranges").fill(address)
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(value)
    page.get_by_role("button", name="Add", exact=True).click()
    page.wait_for_url("**/lists?done=*")


def test_what_is_added_in_the_browser_is_denied_by_envoy_and_undone_again(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        assert edge.status(BAD) == 200
        add(page, BAD, Reason="credential stuffing", Applications="shop")
        page.get_by_text("Enforced by the sidecar").wait_for()
        assert edge.status(BAD) == 403
        assert edge.status(OTHER) == 200

        row = page.get_by_role("row").filter(has_text=BAD)
        first = ends_of(page)
        row.get_by_role("link", name="Period").click()
        page.get_by_text("7 days", exact=True).click()
        page.get_by_role("button", name="Change").click()
        page.get_by_text("Changed 203.0.113.9").wait_for()
        assert ends_of(page) != first

        page.goto(f"/history?address={BAD}")
        page.get_by_role("row").filter(has_text="changed").get_by_role("link", name="Before").click()
        page.get_by_text("The lists as of").wait_for()
        assert ends_of(page) == first
        assert page.get_by_role("button", name="Delete").count() == 0

        page.goto("/lists")
        page.get_by_role("row").filter(has_text=BAD).get_by_role("button", name="Delete").click()
        page.get_by_text("Enforced by the sidecar").wait_for()
        assert edge.status(BAD) == 200
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("Enforced by the sidecar").wait_for()
        assert edge.status(BAD) == 403
        page.goto(f"/explain?address={BAD}&application=shop")
        assert page.locator(".verdict .word").inner_text() == "Denied"
        assert faults == []


def ends_of(page: Page) -> str:
    """Return the absolute end of the entry, as the row says it."""
    value = page.get_by_role("row").filter(has_text=BAD).locator("td.time time").get_attribute("datetime")
    assert value is not None
    return value


def test_many_are_deleted_at_once_and_brought_back_at_once(browser: Browser, edge: Edge) -> None:
    for last in range(4):
        edge.running.ok("POST", "/v1/bans", {"address": f"192.0.2.{10 + last}", "reason": "bulk"})
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        page.goto("/lists?q=bulk")
        assert page.locator("tbody tr").count() == 4
        page.get_by_label("Select all on this page").check()
        page.get_by_text("4 selected").wait_for()
        page.get_by_label("What to do").select_option("delete")
        page.get_by_role("button", name="Apply").click()
        page.get_by_text("No entry matches").wait_for()
        edge.waits("192.0.2.10", 200)
        page.get_by_role("button", name="Undo").click()
        page.locator("tbody tr").nth(3).wait_for()
        edge.waits("192.0.2.13", 403)
        assert faults == []


def test_a_range_is_shown_as_its_networks_while_it_is_typed(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        page.goto("/add")
        page.get_by_text("Range", exact=True).click()
        page.get_by_label("From", exact=True).fill("10.0.0.1")
        page.get_by_label("To", exact=True).press_sequentially("10.0.0.10")
        page.locator("#range li").filter(has_text="10.0.0.8/31").wait_for()
        shown = page.locator("#range li").all_inner_texts()
        assert shown == ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/30", "10.0.0.8/31", "10.0.0.10/32"]
        page.locator("#preview .big").first.get_by_text("10", exact=True).wait_for()  # that of less came first
        assert faults == []


def test_a_mistake_stands_beside_its_field_and_what_was_written_stays(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.goto("/add")
        page.get_by_label("Addresses, networks, ranges").fill("10.0.0.2/10")
        page.get_by_label("Reason").fill("kept")
        page.get_by_role("button", name="Add", exact=True).click()
        assert "10.0.0.0/10" in page.locator("#networks-wrong").inner_text()
        field = page.get_by_label("Addresses, networks, ranges")
        assert field.get_attribute("aria-invalid") == "true"
        assert page.get_by_label("Reason").input_value() == "kept"


def test_times_are_in_the_viewers_zone_and_utc_is_on_hover(browser: Browser, edge: Edge) -> None:
    edge.running.ok("POST", "/v1/bans", {"address": "192.0.2.200", "expires": "2027-07-01T10:00:00Z"})
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.goto("/lists?q=192.0.2.200")
        shown = page.locator("tbody time").first
        assert shown.get_attribute("title") == "2027-07-01 10:00:00 UTC"
        assert re.search(r"1 Jul 2027, 12:00", shown.inner_text())


def test_pages_can_be_read_and_forms_sent_without_javascript(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token, java_script_enabled=False) as (page, _):
        add(page, "192.0.2.77", Reason="no script")
        assert page.get_by_role("row").filter(has_text="192.0.2.77").count() == 1
        page.get_by_label("Address, network or text").fill("no script")
        page.get_by_role("button", name="Filter").click()
        page.wait_for_url("**q=no+script**")
        assert page.locator("tbody tr").count() == 1
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("row").filter(has_text="192.0.2.77").wait_for()


def test_the_keyboard_finds_opens_and_adds(browser: Browser, edge: Edge) -> None:
    edge.running.ok("POST", "/v1/bans", {"address": "192.0.2.90", "reason": "by keyboard"})
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.keyboard.press("/")
        page.keyboard.type("by keyboard")
        page.keyboard.press("Enter")
        page.wait_for_url("**/lists?q=*")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/entries/*")
        page.keyboard.press("p")
        page.wait_for_url("**/period")
        page.goto("/lists")
        page.keyboard.press("a")
        page.wait_for_url("**/add")
        assert page.locator(":focus-visible").count() <= 1


def test_an_allow_entry_has_no_end_unless_somebody_says_one(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.goto("/add")
        form = page.locator("#adding")
        form.get_by_text("Allow", exact=True).click()
        assert page.get_by_label("Forever").is_checked()
        form.get_by_text("Deny", exact=True).click()
        assert page.get_by_label("1 hour").is_checked()
        form.get_by_text("7 days", exact=True).click()
        form.get_by_text("Allow", exact=True).click()
        assert page.get_by_label("7 days").is_checked()
