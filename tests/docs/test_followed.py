"""Every block of every page is run, checked, or has a reason why not; each guide ends where it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.docs.blocks import ROOT, blocks, pages
from support.docs.follow import follow
from support.docs.plan import read_plan

if TYPE_CHECKING:
    from pathlib import Path

GUIDES = read_plan()
HERE = [name for name, guide in GUIDES.items() if guide.runs() and not guide.cluster]


def test_every_block_of_every_page_is_in_the_plan() -> None:
    planned = {step.page for guide in GUIDES.values() for step in guide.steps}
    assert {page for page in pages() if blocks(page)} == planned


def test_every_test_that_the_plan_names_reads_the_page() -> None:
    for step in (step for guide in GUIDES.values() for step in guide.steps if step.do == "tested"):
        file, _, name = step.value.partition("::")
        text = (ROOT / file).read_text()
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), step.value
        assert step.page.rpartition("/")[2] in text, f"{file} does not read {step.page}"


@pytest.mark.parametrize("name", HERE)
def test_a_guide_that_is_followed_as_it_stands_ends_where_it_says(name: str, tmp_path: Path) -> None:
    follow(GUIDES[name].steps, tmp_path)
