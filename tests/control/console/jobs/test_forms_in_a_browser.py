"""Small things of forms that only a browser shows: the focus, old errors, and where things stand on a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.console.browser import PHONE, WIDE, viewer
from support.control import Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    plane = Running(tmp_path_factory.mktemp("forms") / "control")
    yield plane
    plane.end()


def test_a_period_that_is_to_be_written_has_the_focus_and_no_error_before_it_is_written(
    browser: Browser, running: Running
) -> None:
    with viewer(browser, running.url, running.token, size=WIDE) as (page, faults):
        page.goto("/add?address=203.0.113.66")
        page.get_by_text("Other", exact=True).click()
        page.locator("#other:focus").wait_for()  # the page's policy forbids to evaluate a text again and again
        page.locator("#preview .facts").wait_for()
        with page.expect_response("**/add/preview"):
            page.locator("#reason").fill("guessing")
        assert page.locator("#preview .wrong").count() == 0
        page.locator("#other").fill("2 hours")
        page.locator("#preview .wrong").wait_for()
        page.get_by_role("button", name="Add", exact=True).click()
        page.locator("#other-wrong").wait_for()
        page.wait_for_load_state()  # the script that takes mistakes away
        page.locator("#other").fill("2h")
        assert page.locator("#other-wrong").count() == 0
        assert page.locator("#other").get_attribute("aria-invalid") is None
        assert [fault for fault in faults if "422" not in fault] == []


def test_on_a_phone_the_preview_stands_above_the_button(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token, size=PHONE) as (page, _):
        page.goto("/add")
        preview = page.locator("#preview").bounding_box()
        button = page.locator("form.two .buttons .primary").bounding_box()
        reason = page.locator("#reason").bounding_box()
        assert preview
        assert button
        assert reason
        assert reason["y"] < preview["y"] < button["y"]


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_tabs_of_lists_do_not_scroll_up_and_down(browser: Browser, running: Running, size: tuple[int, int]) -> None:
    with viewer(browser, running.url, running.token, size=size) as (page, _):
        page.goto("/lists")
        assert page.locator(".tabs").evaluate("element => getComputedStyle(element).overflowY") == "hidden"


def test_the_menu_of_a_viewer_stands_at_the_right_end(browser: Browser, running: Running) -> None:
    made = running.ok("POST", "/v1/tokens", {"name": "berta", "role": "viewer"})
    with viewer(browser, running.url, made["secret"], size=WIDE) as (page, _):
        page.goto("/lists")
        box = page.locator(".menu").bounding_box()
        assert box
        assert box["x"] + box["width"] > page.evaluate("innerWidth") - 40


def test_the_row_of_a_trigger_names_its_paths(browser: Browser, running: Running) -> None:
    trigger = {"name": "sign-on", "kind": "brute_force", "where": {"path": "/login"}, "dry_run": True,
               "count": {"over": 5, "within": "1m"}, "then": {"list": "deny", "period": "1h"}}  # fmt: skip
    running.ok("POST", "/v1/triggers", trigger)
    with viewer(browser, running.url, running.token) as (page, _):
        page.goto("/triggers")
        assert "over 5 requests to /login in 1m" in page.get_by_role("row").filter(has_text="sign-on").inner_text()
        page.goto("/triggers/sign-on")
        assert page.get_by_text("None since the control plane started").count() == 1
