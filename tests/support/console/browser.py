"""A real browser for the console's tests: Debian's chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

WIDE = (1280, 860)
PHONE = (390, 844)
PATIENCE = 60_000  # milliseconds that a test waits for what should take a fraction of a second


def chromium_path() -> str:
    """Return where Debian's chromium is, or skip the test."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs the Debian package chromium")
    return path


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Give a browser; it talks to loopback only."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = chromium_path()
    with sync.sync_playwright() as playwright:
        # Root may not use chromium's sandbox; the pages it loads are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


class Faults(list[str]):
    """What went wrong in a page: errors of scripts, and what its security policy refused."""

    def watch(self, context: BrowserContext) -> None:
        """Note what goes wrong from now on."""
        context.on("weberror", lambda error: self.append(str(error.error)))
        context.on("console", lambda message: self.append(message.text) if message.type == "error" else None)


@contextlib.contextmanager
def viewer(
    browser: Browser, url: str, token: str, *, size: tuple[int, int] = WIDE, **options: Any
) -> Iterator[tuple[Page, Faults]]:
    """Give a page of somebody who has signed on with a token, and what goes wrong there. options: of the context."""
    width, height = size
    options = {"locale": "en-GB", "timezone_id": "Europe/Berlin"} | options
    context = browser.new_context(base_url=url, viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE)
    faults = Faults()
    faults.watch(context)
    page = context.new_page()
    sign_on(page, token)
    yield page, faults
    context.close()


def sign_on(page: Page, token: str) -> None:
    """Sign on by the page that takes a token."""
    page.goto("/sign-in?to=/lists")
    page.get_by_label("Your token").fill(token)
    page.get_by_role("button", name="Sign on").click()
    page.wait_for_url("**/lists")


def settle(page: Page) -> None:
    """Wait until a page has all that it loads, and a map is drawn."""
    page.wait_for_load_state("networkidle")
    page.locator("#drawing").wait_for(state="detached")
    page.wait_for_load_state("networkidle")
