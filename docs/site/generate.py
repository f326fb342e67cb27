"""Generate the pages that are made from the code: `python docs/site/generate.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

from api_page import api_page
from cli_page import cli_page

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
PAGES = {"cli.md": cli_page, "http-api.md": api_page}


def main(*, check: bool) -> int:
    """Write the pages, or with `check` only compare them. Returns 1 where one differs."""
    differ = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            differ.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if differ:
        print(f"not as generated: {', '.join(differ)}: make docs-generated")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
