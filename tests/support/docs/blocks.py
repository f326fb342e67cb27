"""The blocks of a page: what stands in a fence, and what is indented by four spaces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class Block(NamedTuple):
    """A block. language: of its fence, or `indented`."""

    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, without the spaces around it."""
        return self.text.partition("\n")[0].strip()


def pages() -> list[str]:
    """Return the pages for users, as paths from the root. Decisions and generated pages have no examples to follow."""
    path = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    names = sorted(page.relative_to(ROOT).as_posix() for page in path)
    return [name for name in names if "/decisions/" not in name and name != "CHANGELOG.md"]


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page in their order."""
    written: list[Block] = []
    lines = (ROOT / page).read_text().splitlines()
    at, in_list = 0, False
    while at < len(lines):
        fence = re.match(r"( *)```(\w*)$", lines[at])
        start = at
        if fence:
            at = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == "```")
            inside = [line.removeprefix(fence[1]) for line in lines[start + 1 : at]]
            written.append(Block(start + 1, fence[2] or "text", "\n".join(inside) + "\n"))
        elif lines[at].startswith("    ") and not in_list and (not at or not lines[at - 1].strip()):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            inside = [line[4:] for line in lines[start:at]]
            written.append(Block(start + 1, "indented", "\n".join(inside).rstrip() + "\n"))
            continue
        in_list = False
        at += 1
    return written
