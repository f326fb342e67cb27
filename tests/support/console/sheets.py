"""Every page as a picture, wide and on a phone, light and dark, to be looked at: `make sheets`.

They are written to build/sheets, and beside them `index.html`, which shows them all.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from support.console.addresses import PAGES, pages_of
from support.console.browser import PHONE, WIDE, chromium, settle, viewer
from support.console.showroom import showroom

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from support.control import Running

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


def main(wanted: str = "") -> None:
    """Make the pictures, and the page that shows them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, showroom(Path(folder) / "control") as running, chromium() as browser:
        names = take(browser, running, wanted)
    shown = "\n".join(f'<figure><img src="{name}"><figcaption>{name}</figcaption></figure>' for name in names)
    (FOLDER / "index.html").write_text(
        "<!doctype html><title>Pages</title><style>body{display:flex;flex-wrap:wrap;gap:20px;align-items:start}"
        f"figure{{margin:0}}img{{max-width:600px}}</style>{shown}"
    )
    print(f"pictures: {FOLDER}/index.html", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:2])
