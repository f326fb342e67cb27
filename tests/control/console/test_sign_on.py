"""Signing on by the identity provider, in a real browser; the provider is another site than the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.console.browser import PATIENCE, Faults
from support.control import ControlProcess, init
from support.servers.oidc_provider import Provider

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

CONFIG = """
public_url: {url}
sign_on:
  oidc:
    issuer: {issuer}
    client_id: authz
    client_secret_file: oidc.secret
    roles: [{{claim: groups, has: soc, role: operator}}]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider().running() as provider:
        yield provider


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[str]:
    """Give the console as browsers reach it: `localhost`, so that the provider on 127.0.0.1 is another site."""
    folder: Path = tmp_path_factory.mktemp("sign-on") / "control"
    url = init(folder)[0].replace("127.0.0.1", "localhost")
    (folder / "oidc.secret").write_text("s3cret\n")
    with (folder / "control.yaml").open("a") as file:
        file.write(CONFIG.format(url=url, issuer=provider.issuer))
    with ControlProcess(folder):
        yield url


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    context = browser.new_context(base_url=url)
    context.set_default_timeout(PATIENCE)
    faults = Faults()
    faults.watch(context)
    yield context.new_page()
    context.close()
    assert faults == []


def test_the_link_signs_on_and_leads_to_the_page_that_was_wanted(page: Page, provider: Provider) -> None:
    provider.claims["groups"] = ["soc"]
    page.goto("/history?actor=anna")
    page.get_by_role("link", name="Sign on with your organisation").click()
    page.wait_for_url("**/history?actor=anna")
    page.locator("details.menu summary").click()
    assert page.get_by_text("anna@example.com", exact=True).count() == 1
    assert page.get_by_text("operator of main").count() == 1
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")


def test_who_has_no_role_reads_why_on_the_page_that_signs_on(page: Page, provider: Provider) -> None:
    provider.claims["groups"] = ["staff"]
    page.goto("/sign-in")
    page.get_by_role("link", name="Sign on with your organisation").click()
    page.wait_for_url("**/sign-in?why=no_role")
    assert "has no role in authz" in page.get_by_role("alert").inner_text()
    page.goto("/lists")
    page.wait_for_url("**/sign-in?to=*")


def test_a_reason_in_an_address_is_one_of_ours_and_never_text_of_somebody_else(page: Page) -> None:
    page.goto("/sign-in?why=Call+0900+123")
    assert page.get_by_text("0900").count() == 0
    assert page.get_by_role("alert").inner_text().startswith("Signing on with your organisation failed")
