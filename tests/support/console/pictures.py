"""The pictures of the guide to the console, made from real pages: `make pictures`.

A control plane of its own is filled with addresses of documentation, and with real feeds where the shared data lies
beside the project; a browser opens the pages, and what it shows is written beside the guide.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.console.browser import PHONE, chromium, settle, viewer
from support.console.showroom import showroom

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from support.control import Running

FOLDER = Path(__file__).parents[3] / "docs/guides/pictures"
SIZE = (1280, 800)
PAGES = {
    "overview": "/",
    "history": "/history",
    "explain": "/explain?address=203.0.113.70&application=shop",
    "map": "/map?layer=policy",
}


def take(browser: Browser, running: Running) -> None:
    """Write all pictures."""
    for name, path in PAGES.items():
        with viewer(browser, running.url, running.token, size=SIZE) as (page, _):
            page.goto(path)
            shoot(page, name)
    with viewer(browser, running.url, running.token, size=SIZE) as (page, _):
        page.goto("/add")
        page.get_by_label("Addresses, networks, ranges").fill("203.0.113.0/27")
        page.get_by_label("Reason").fill("credential stuffing")
        page.get_by_text("Requests in the last 24 hours").wait_for()
        page.evaluate("scrollTo(0, 0)")
        shoot(page, "add")
    with viewer(browser, running.url, running.token, size=PHONE) as (page, _):
        page.goto("/")
        shoot(page, "phone")


def shoot(page: Page, name: str) -> None:
    """Write what the page shows."""
    settle(page)
    assert page.get_by_text("Something went wrong").count() == 0
    page.screenshot(path=FOLDER / f"console-{name}.png")


def main() -> None:
    """Make the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, showroom(Path(folder) / "control") as running, chromium() as browser:
        take(browser, running)
    print(f"pictures: {FOLDER}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
