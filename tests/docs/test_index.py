"""Every page can be reached from the index, and every decision from its list; links to headings lead to one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md"), *(ROOT / "deploy").glob("**/*.md")])


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the files that a page links to, each with the heading's anchor or nothing."""
    targets = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text())
    return [
        ((page.parent / path).resolve() if path else page, anchor)
        for path, anchor in targets
        if not path.startswith("http")
    ]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index() -> None:
    linked = {path for path, _ in links(ROOT / "docs" / "README.md")}
    pages = {page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "decisions"}
    pages.remove(ROOT / "docs" / "README.md")
    assert len(pages) > 12
    assert {page.name for page in pages - linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    assert [path for path, _ in links(page) if not path.exists()] == []


def test_every_decision_is_in_its_list() -> None:
    folder = ROOT / "docs" / "decisions"
    linked = {path for path, _ in links(folder / "README.md")}
    assert {page.name for page in folder.glob("[0-9]*.md") if page not in linked} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_heading_leads_to_one(page: Path) -> None:
    wanted = [(path, anchor) for path, anchor in links(page) if anchor and path.suffix == ".md"]
    assert [anchor for path, anchor in wanted if anchor not in anchors(path)] == []


def test_the_verbs_of_the_contributing_page_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text())) - {"sure"}
    assert {"check", "test", "coverage", "bench", "proto", "constraints"} <= verbs
    assert {verb for verb in verbs if not re.search(rf"^{verb}:.*##", makefile, re.MULTILINE)} == set()


def test_every_path_of_the_contributing_page_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = set(re.findall(r"`((?:authz|tests|docs|proto|benchmarks|\.ci)/[\w./]*)`", text))
    assert len(paths) > 12
    assert {path for path in paths if not (ROOT / path).exists()} == set()
