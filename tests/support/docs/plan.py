"""What a test does with each block of each page: tests/docs/followed.yaml, whose first lines explain its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml
from support.docs.blocks import ROOT, blocks

if TYPE_CHECKING:
    from support.docs.blocks import Block

PLAN: Final = ROOT / "tests" / "docs" / "followed.yaml"
DO: Final = ("run", "write", "tested", "shown", "cannot")
_MORE: Final = {
    "run": {"before", "after", "with", "but", "prints", "status", "needs"},
    "write": {"begins", "after"},
    "tested": {"begins"},
    "shown": {"why"},
    "cannot": {"why"},
}


class Step(NamedTuple):
    """A block, and what is done with it. value: of the key that says so, such as the file to write."""

    page: str
    block: Block
    do: str
    value: str
    more: dict[str, Any]


class Guide(NamedTuple):
    """What is followed in one go. cluster: it needs an API server of Kubernetes."""

    steps: list[Step]
    cluster: bool

    def runs(self) -> bool:
        """Return whether it has anything to run."""
        return any(step.do in {"run", "write"} for step in self.steps)


def read_plan() -> dict[str, Guide]:
    """Return the guides by name. Raises AssertionError where the plan is not about the pages as they are."""
    guides = yaml.safe_load(PLAN.read_text())
    return {name: Guide(_steps(guide["pages"]), guide.get("cluster", False)) for name, guide in guides.items()}


def _steps(guide: dict[str, list[dict[str, Any]]]) -> list[Step]:
    steps = []
    for page, planned in guide.items():
        there = blocks(page)
        for block, words in zip(there, planned, strict=False):
            steps.append(_step(page, block, dict(words)))
        firsts = [f"line {block.line}: {block.first}" for block in there[len(planned) :]]
        assert not firsts, f"{page}: found blocks that {PLAN.name} does not have: {firsts}"
        assert len(there) == len(planned), f"{page}: found {len(there)} blocks, expected {len(planned)}"
    return steps


def _step(page: str, block: Block, words: dict[str, Any]) -> Step:
    (do,) = [word for word in DO if word in words]
    value = words.pop(do)
    assert words.keys() <= _MORE[do], f"{page}: {do}: unknown {words.keys() - _MORE[do]}"
    assert words.get("why", True), f"{page}: {value}: no reason"
    begins = words.get("begins", "") if do in {"write", "tested"} else value
    assert block.first.removeprefix("$ ").startswith(begins), (
        f"{page}, line {block.line}: {block.first!r} is not {begins!r}"
    )
    return Step(page, block, do, value, words)
