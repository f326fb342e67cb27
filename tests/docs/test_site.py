"""The site of the documentation: built strictly, complete, and without a request to anybody else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.console.browser import PATIENCE, chromium

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
# What a browser fetches by itself. Links that a person follows may lead anywhere.
FETCHED = re.compile(r"""<(?:script|img|iframe|source)[^>]*\bsrc=["']?([^"'\s>]+)|<link[^>]*\bhref=["']?([^"'\s>]+)""")
IN_STYLES = re.compile(r"""(?:url\(|@import )["']?([^"')]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def pages_of(nav: object) -> list[str]:
    """Return the pages of the navigation."""
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in pages_of(part)]  # type: ignore[attr-defined]


def test_every_page_but_the_decisions_is_in_the_navigation() -> None:
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md") if path.parent.name != "decisions"}
    assert pages - set(pages_of(CONFIG["nav"])) == set()


def test_every_page_of_the_navigation_is_built(site: Path) -> None:
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    expected = {re.sub(r"README\.md$", "index.md", page).replace(".md", ".html") for page in pages_of(CONFIG["nav"])}
    assert expected - built == set()


def test_nothing_is_fetched_from_anybody_else(site: Path) -> None:
    fetched = {
        address
        for page in site.rglob("*.html")
        for groups in FETCHED.findall(page.read_text())
        for address in groups
        if address
    }
    styles = {address for style in site.rglob("*.css") for address in IN_STYLES.findall(style.read_text())}
    assert len(fetched) > 10
    assert {url for url in fetched | styles if re.match(r"(https?:)?//", url)} == set()


def test_the_search_works_without_a_server(site: Path) -> None:
    """The plugin `offline` gives the index as a script: a page that was opened from a folder may not fetch one."""
    index = (site / "search" / "search_index.js").read_text()
    assert index.startswith("var __index = ")
    for page in ("start/envoy.html", "reference/cli.html", "guides/who-is-the-client.html"):
        assert f'"{page}' in index


def test_the_generated_pages_are_what_the_code_says() -> None:
    command = [sys.executable, "docs/site/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# What is asked at three in the morning, and where the answer stands.
ASKED = {
    "ban an address": "guides/bans.html",
    "behind Cloudflare": "guides/who-is-the-client.html#a-cdn-in-front",
    "everybody denied": "operations/troubleshooting.html#everybody-is-denied",
    "switch everything off": "guides/rollout.html#emergency-off-switch",
    "roll back": "guides/rollout.html#roll-back",
}


@pytest.mark.parametrize("question", ASKED)
def test_a_question_of_the_first_page_leads_to_its_answer_by_one_click(question: str, site: Path) -> None:
    rows = [row for row in re.findall(r"<tr>.*?</tr>", (site / "index.html").read_text(), re.DOTALL) if question in row]
    assert [row for row in rows if f'href="{ASKED[question]}"' in row]
    page, _, anchor = ASKED[question].partition("#")
    assert not anchor or f'id="{anchor}"' in (site / page).read_text()


def test_the_search_finds_pages_that_were_opened_from_the_disk(site: Path) -> None:
    asked: list[str] = []
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        for words, answer in (
            ("brute_force", "triggers"),
            ("Cloudflare", "who-is-the-client"),
            ("roll back", "rollout"),
        ):
            page.locator("[data-md-component=search-query]").first.focus()
            page.keyboard.press("Control+A")
            page.keyboard.type(words)
            page.locator(f".md-search-result__link[href*='{answer}.html']").first.wait_for()
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob", "about"}
