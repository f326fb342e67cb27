"""Every page, in a real browser: it opens without a fault, axe-core finds nothing serious, and it fits a phone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.console.addresses import PAGES, pages_of
from support.console.browser import PHONE, WIDE, viewer
from support.console.data import fill
from support.control import Running
from support.processes import PATIENCE, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("pages") / "control")
    try:
        fill(running, bans=70, events=500)
        wait_for(lambda: running.client.get("/readyz").status_code == 200, "it is published")
        yield running
    finally:
        running.end()


def serious(page: Page, context: str | None = None, *rules: str) -> list[str]:
    """Return what axe-core finds that is serious or critical. context: a part of the page. rules: only these."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    violations: list[dict[str, Any]] = axe.Axe().run(page, context=context, options=options).response["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:160]}"
        for violation in violations
        if violation["impact"] in {"serious", "critical"}
        for node in violation["nodes"][:3]
    ]


def wait_until_filled(page: Page) -> None:
    """Wait for the parts that a page asks for when it is there, and for a map that is being drawn."""
    page.locator("#drawing").wait_for(state="detached")
    page.locator(".htmx-request").first.wait_for(state="detached")


def test_no_page_has_a_fault_or_anything_serious_for_axe_light_or_dark(browser: Browser, running: Running) -> None:
    problems_of: dict[str, list[str]] = {}
    with viewer(browser, running.url, running.token, color_scheme="light") as (page, faults):
        for path in (*PAGES, *pages_of(running)):
            faults.clear()
            page.emulate_media(color_scheme="light")
            page.goto(path)
            wait_until_filled(page)
            problems = serious(page) + [fault for fault in faults if "status of 422" not in fault]
            page.emulate_media(color_scheme="dark")
            # Nothing else depends on the colours, and the frame is that of the first page.
            problems += serious(page, "main" if path != PAGES[0] else None, "color-contrast")
            if problems:
                problems_of[path] = problems
    assert problems_of == {}


def test_no_page_is_wider_than_a_phone(browser: Browser, running: Running) -> None:
    wide = {}
    with viewer(browser, running.url, running.token, size=PHONE) as (page, _):
        for path in (*PAGES, *pages_of(running)):
            page.goto(path)
            wait_until_filled(page)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE[0]:
                wide[path] = width
    assert wide == {}


def test_every_page_of_the_menu_is_one_that_is_looked_at(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, _):
        page.goto("/")
        links = page.locator("nav.side .links a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert len(links) > 15
        known = {path.partition("?")[0] for path in PAGES}
        assert {link for link in links if link.partition("?")[0] not in known} == set()
        titles = set()
        for link in links:
            page.goto(link)
            titles.add(page.title())
            assert page.locator("nav.side [aria-current=page]").count() == 1, link
        assert len(titles) == len(links)


def test_everything_can_be_reached_by_tab_and_is_seen_to_have_the_focus(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token, size=WIDE) as (page, _):
        page.goto("/lists")
        seen = []
        for _ in range(40):
            page.keyboard.press("Tab")
            seen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 60)"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
        assert "skip" in seen[0]
        assert len(set(seen)) > 25


def test_the_menu_has_only_what_a_role_may_see(browser: Browser, running: Running) -> None:
    made = running.ok("POST", "/v1/tokens", {"name": "anna", "role": "viewer"})
    with viewer(browser, running.url, made["secret"]) as (page, _):
        page.goto("/lists")
        assert page.get_by_role("link", name="Tokens, tenants").count() == 0
        assert page.get_by_role("link", name="Add object").count() == 0
        assert page.get_by_role("button", name="Delete").count() == 0
        page.goto("/people")
        assert page.get_by_text("You are not allowed to do this").count() == 1


def test_a_trigger_is_tried_on_yesterday_before_it_is_added(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto("/triggers/new")
        page.get_by_label("Name", exact=True).fill("login-guessing")
        page.get_by_label("What it counts").select_option("rate")
        page.get_by_label("More than").fill("2")
        page.get_by_label("Within").fill("12h")
        page.get_by_role("button", name="Try on the last 24 hours").click()
        page.get_by_text("Would have listed").wait_for()
        assert int(page.locator(".side-card .big").nth(1).inner_text()) > 0
        page.get_by_role("button", name="Add", exact=True).click()
        page.wait_for_url("**/triggers?told=saved")
        row = page.get_by_role("row").filter(has_text="login-guessing")
        assert row.get_by_text("dry run").count() == 1
        row.get_by_role("button", name="Delete").click()
        page.get_by_text("No trigger yet").wait_for()
        assert faults == []


def test_an_entry_whose_end_has_seconds_is_edited_with_its_preview(browser: Browser, running: Running) -> None:
    made = running.ok("POST", "/v1/bans", {"address": "203.0.113.199", "expires": "2027-07-01T10:00:23Z"})
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto(f"/entries/{made['id']}/edit")
        page.locator("#preview .big").first.wait_for()
        page.get_by_label("Reason").fill("the end stays")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/entries/*done=*")
        assert faults == []
    assert running.ok("GET", f"/v1/entries/{made['id']}")["expires"] == "2027-07-01T10:00:23Z"


def test_a_table_on_a_phone_shows_every_row_without_scrolling_sideways(browser: Browser, running: Running) -> None:
    tables = ("/lists", "/events", "/history", "/publications", "/people", "/applications", "/triggers")
    cut = {}
    with viewer(browser, running.url, running.token, size=PHONE) as (page, _):
        for path in tables:
            page.goto(path)
            wait_until_filled(page)
            beyond = "all => all.filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.ariaLabel)"
            cut[path] = page.locator(".scroll").evaluate_all(beyond)
    assert {path: names for path, names in cut.items() if names} == {}


def test_no_field_of_a_form_is_wider_than_its_place(browser: Browser, running: Running) -> None:
    """From and Until of History touched."""
    wide = {}
    with viewer(browser, running.url, running.token) as (page, _):
        for path in ("/history", "/events", "/lists", "/difference", "/explain", "/add"):
            page.goto(path)
            beyond = "all => all.filter(box => box.scrollWidth > box.clientWidth).map(box => box.innerText)"
            wide[path] = page.locator(".field").evaluate_all(beyond)
    assert {path: labels for path, labels in wide.items() if labels} == {}


def test_an_application_goes_from_dry_run_to_enforcing(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, _):
        page.goto("/applications/blog")
        page.get_by_text("Enforce", exact=True).click()
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/applications?done=*")
        row = page.get_by_role("row").filter(has=page.get_by_role("link", name="blog", exact=True))
        assert row.get_by_text("enforced").count() == 1


def test_pointing_at_the_map_tells_what_is_there(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto("/map?layer=policy")
        page.locator('[data-network="198.0.0.0/8"]').wait_for()
        page.wait_for_load_state()  # the script that asks what is there
        page.locator('[data-network="198.0.0.0/8"] rect').hover()
        page.locator("#there").get_by_text("198.51.100.0/24").wait_for()
        page.locator('[data-network="198.0.0.0/8"] rect').click()
        page.wait_for_url("**of=198**")
        assert page.locator("a.has[data-network='198.51.0.0/16']").count() == 1
        assert faults == []


def test_a_map_that_is_not_drawn_yet_says_so_at_once_and_then_shows_itself(browser: Browser, running: Running) -> None:
    path = "/map?layer=bans&application=api"  # which no other test asks for
    with httpx.Client(base_url=running.url, timeout=PATIENCE) as client:
        client.post("/sign-in", data={"token": running.token})
        first = client.get(path)
    assert "The map is being drawn" in first.text
    assert first.headers["refresh"] == "1"
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto(path)
        page.locator("svg.map a.has").first.wait_for()
        assert page.get_by_text("serial").count() > 0
        assert faults == []


def test_live_events_come_by_themselves(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, _):
        page.goto("/events?live=yes")
        event = '{"client": "192.0.2.251", "application": "shop", "path": "/just-now", "status": 200}'
        running.client.post("/v1/events", content=event, headers={"Content-Type": "application/x-ndjson"})
        page.get_by_text("/just-now").wait_for()


def test_the_map_of_bans_shows_banned_addresses(browser: Browser, running: Running) -> None:
    with viewer(browser, running.url, running.token) as (page, faults):
        page.goto("/map?layer=bans&of=203")
        page.locator("a.has").first.wait_for()
        assert page.locator("a.has").evaluate_all("all => all.map(a => a.dataset.network)") == ["203.0.0.0/16"]
        assert "single addresses banned" in page.get_by_label("Legend").inner_text()
        assert faults == []
