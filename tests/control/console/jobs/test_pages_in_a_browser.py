"""The main story of the other pages in a real browser, each with what it changes for a request through Envoy."""

from __future__ import annotations

import csv
import time
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from support.console.browser import viewer
from support.console.edge import Edge, new_edge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

EXTRA = "four_eyes: {addresses: 256}\n"
BANNED = "203.0.113.9"
ZONE = "Europe/Berlin"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with new_edge(tmp_path_factory.mktemp("pages") / "control", extra=EXTRA) as edge:
        edge.running.ok("POST", "/v1/bans?wait=published", {"address": BANNED, "reason": "guessing"})
        edge.waits(BANNED, 403)
        yield edge


def test_a_wide_network_is_denied_once_a_second_person_has_approved_it(browser: Browser, edge: Edge) -> None:
    made = edge.running.ok("POST", "/v1/tokens", {"name": "berta", "role": "approver"})
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        page.goto("/add")
        page.get_by_label("Addresses, networks, ranges").fill("198.51.96.0/20")
        page.get_by_label("Reason").fill("a wide one")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text("waiting for a second person").wait_for()
        assert page.get_by_role("button", name="Approve").count() == 0
        assert edge.status("198.51.96.1") == 200
        assert faults == []
    with viewer(browser, edge.running.url, made["secret"]) as (page, faults):
        page.goto("/attention")
        page.get_by_role("link", name="1 waiting for approval").click()
        page.get_by_role("link", name="198.51.96.0/20").click()
        page.get_by_label("What it would do").get_by_text("4,096").wait_for()
        page.get_by_role("button", name="Approve").click()
        page.get_by_text("approved", exact=True).wait_for()
        edge.waits("198.51.96.1", 403)
        assert faults == []


def test_a_dry_run_lets_in_whom_the_list_denies_until_it_enforces(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        for answers, status in (("Dry run", 200), ("Enforce", 403)):
            page.goto("/applications")
            page.get_by_role("link", name="shop", exact=True).click()
            page.get_by_text(answers, exact=True).click()
            page.get_by_role("button", name="Save").click()
            page.wait_for_url("**/applications?*")
            edge.waits(BANNED, status)
        assert faults == []


def test_what_the_settings_protect_cannot_be_denied_afterwards(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.goto("/feeds")
        page.get_by_label("Feeds, databases, limits").fill("protected: [192.0.2.0/28]")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/feeds?*")
        page.goto("/add")
        page.get_by_label("Addresses, networks, ranges").fill("192.0.2.1")
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_text("the protected network 192.0.2.0/28").first.wait_for()
        assert edge.status("192.0.2.1") == 200


def test_a_tenants_token_is_made_and_sees_only_its_own_lists(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        page.goto("/people")
        page.get_by_label("Tenant", exact=True).last.fill("team-a")
        page.get_by_label("Its applications").fill("team-a-*")
        page.get_by_role("button", name="Save the tenant").click()
        page.get_by_role("cell", name="team-a-*").wait_for()
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Role").select_option("operator")
        page.get_by_label("Tenant", exact=True).first.select_option("team-a")
        page.get_by_role("button", name="Create token").click()
        secret = page.locator("#secret").inner_text()
        assert faults == []
    with viewer(browser, edge.running.url, secret) as (page, _):
        page.goto("/lists")
        assert page.get_by_text(BANNED).count() == 0
        page.goto("/people")
        assert page.get_by_role("button", name="Save the tenant").count() == 0


def test_an_address_is_explained_as_of_a_time_before_its_ban(browser: Browser, edge: Edge) -> None:
    before = datetime.now(ZoneInfo(ZONE))
    time.sleep(1.1)  # the page's field has whole seconds
    edge.running.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.30"})
    with viewer(browser, edge.running.url, edge.running.token, timezone_id=ZONE) as (page, faults):
        page.goto("/explain")
        page.get_by_label("Address", exact=True).fill("203.0.113.30")
        page.get_by_label("Application").fill("shop")
        page.get_by_role("button", name="Explain").click()
        page.locator(".verdict .word").get_by_text("Denied", exact=True).wait_for()
        page.get_by_label("As of").fill(f"{before:%Y-%m-%dT%H:%M:%S}")
        page.get_by_role("button", name="Explain").click()
        page.locator(".verdict .word").get_by_text("Allowed", exact=True).wait_for()
        assert faults == []


def test_history_is_exported_as_it_is_shown(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, _):
        page.goto(f"/history?address={BANNED}")
        with page.expect_download() as download:
            page.get_by_role("link", name="Export CSV").click()
        with download.value.path().open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["reason"] for row in rows] == ["guessing"]


def test_the_page_of_publications_says_that_the_sidecar_is_up_to_date(browser: Browser, edge: Edge) -> None:
    with viewer(browser, edge.running.url, edge.running.token) as (page, faults):
        edge.running.ok("POST", "/v1/bans?wait=enforced", {"address": "203.0.113.77"})
        assert edge.status("203.0.113.77") == 403
        page.goto("/publications")
        assert page.get_by_role("row").filter(has_text="bans").filter(has_text="up to date").count() == 1
        assert faults == []
