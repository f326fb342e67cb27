"""Every page as a picture, wide and on a phone, light and dark, to be looked at: `make sheets`.

After the pages come scenes: mistakes, refusals, trouble, hostile texts, and a control plane that is new. They are
written to build/sheets, and beside them `index.html`, which shows them all.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support.console import scenes
from support.console.addresses import PAGES, pages_of
from support.console.browser import PHONE, WIDE, chromium, settle, viewer
from support.console.showroom import showroom
from support.control import Running
from support.suite.shared import SHARED

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).parents[3] / "build/sheets"
SIZES = {"wide": WIDE, "phone": PHONE}
LOOKS = ("light", "dark")


def take(browser: Browser, running: Running, wanted: str) -> list[str]:
    """Write the pictures of the pages whose address has `wanted` in it; return their names."""
    names = []
    paths = [path for path in (*PAGES, *pages_of(running)) if wanted in path]
    for size, pixels in SIZES.items():
        for look in LOOKS:
            with viewer(browser, running.url, running.token, size=pixels, color_scheme=look) as (page, _):
                for number, path in enumerate(paths):
                    page.goto(path)
                    settle(page)
                    names.append(f"{number:02}{re.sub('[^a-z0-9]+', '-', path)[:40]}.{size}.{look}.png")
                    page.screenshot(path=FOLDER / names[-1], full_page=True)
    return sorted(names)


def take_scenes(browser: Browser, running: Running) -> list[str]:
    """Write the pictures of what is not as usual; return their names."""
    scenes.be_away(running)
    scenes.trouble(running)
    again = time.monotonic() + scenes.AWAY
    names = _each(browser, running, scenes.SCENES | _opening(scenes.PATHS))
    back = scenes.unpublished(running)
    time.sleep(max(0.0, again - time.monotonic()))
    red = {f"red-{name}": path for name, path in scenes.RED.items()} | {"red-banner": back}
    return names + _each(browser, running, _opening(red))


def _each(browser: Browser, running: Running, steps: dict[str, Callable[[Page], None]]) -> list[str]:
    names = []
    for size, pixels in SIZES.items():
        for look in LOOKS:
            with viewer(browser, running.url, running.token, size=pixels, color_scheme=look) as (page, _):
                for name, step in steps.items():
                    step(page)
                    settle(page)
                    names.append(f"scene-{name}.{size}.{look}.png")
                    page.screenshot(path=FOLDER / names[-1], full_page=True)
    return names


def _opening(paths: dict[str, str]) -> dict[str, Callable[[Page], None]]:
    def opening(path: str) -> Callable[[Page], None]:
        def go(page: Page) -> None:
            page.goto(path)

        return go

    return {name: opening(path) for name, path in paths.items()}


def take_empty(browser: Browser, running: Running) -> list[str]:
    """Write the pictures of a control plane that is new; return their names."""
    names = {"empty" + re.sub("[^a-z]+", "-", path): path for path in scenes.EMPTY}
    return _each(browser, running, _opening(names))


def main(wanted: str = "") -> None:
    """Make the pictures, and the page that shows them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, showroom(Path(folder) / "control") as running, chromium() as browser:
        names = take(browser, running, wanted)
        if not wanted and SHARED.is_dir():  # one of the scenes takes a database away
            names += take_scenes(browser, running)
            new = Running(Path(folder) / "new")
            try:
                names += take_empty(browser, new)
            finally:
                new.end()
    shown = "\n".join(f'<figure><img src="{name}"><figcaption>{name}</figcaption></figure>' for name in names)
    (FOLDER / "index.html").write_text(
        "<!doctype html><title>Pages</title><style>body{display:flex;flex-wrap:wrap;gap:20px;align-items:start}"
        f"figure{{margin:0}}img{{max-width:600px}}</style>{shown}"
    )
    print(f"pictures: {FOLDER}/index.html", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:2])
