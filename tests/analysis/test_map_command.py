"""`authz snapshot map`, as an operator types it; and the page about all three."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.publishing.analysed_policies import AT, CONFIG, DIFFERENCE, FAULTY, FINDINGS, MADE, NEW, OLD

from authz.analysis.diff import COUNTS
from authz.analysis.lint import SEVERITIES
from authz.analysis.map.picture import DECISIONS, DIFFERENCES

if TYPE_CHECKING:
    from support.suite.commands import Commands

# map
LEGEND = f"""\
shop.png: shop: who is allowed and who is denied
  new.snapshot, serial 2, made {MADE}
  decisions at {AT}
  one pixel is a /16 (65,536 addresses), one square a /8 (16,777,216 addresses)
  \u2588\u2588 allowed, on no list: 4,294,966,400 addresses, more than 99.99 %
  \u2588\u2588 allow list: 256 addresses, less than 0.01 %
  \u2588\u2588 deny list: 640 addresses, less than 0.01 %
  \u2588\u2588 mixed: up to 1 in 16 denied: 1 network of /16
  \u2588\u2588 mixed: all allowed, some on a list: 1 network of /16"""


def test_a_map_is_drawn_and_its_legend_printed(authz: Commands) -> None:
    done = authz(
        "snapshot", "map", "new.snapshot", "-o", "shop.png", "--application", "shop", "--at", AT, "--order", "8"
    )
    assert (done.status, done.out) == (0, LEGEND)
    data = (authz.folder / "shop.png").read_bytes()
    assert struct.unpack_from(">II", data, 16)[0] == 1024 + 17 + 48  # the map, its lines, its margins


def test_the_difference_of_two_snapshots_is_drawn(authz: Commands) -> None:
    done = authz(
        "snapshot", "map", "new.snapshot", "--against", "old.snapshot", "-o", "change.svg", "--at", AT, "--attack",
        "--order", "4", "--json",
    )  # fmt: skip
    assert done.json() == {
        "file": "change.svg",
        "application": "*",
        "time": AT,
        "legend": [
            {"class": "unchanged, allowed", "colour": "#ecece6", "amount": "256 addresses, less than 0.01 %"},
            {"class": "unchanged, denied", "colour": "#808080", "amount": "4,294,967,040 addresses, more than 99.99 %"},
            {"class": "mixed: unchanged, some denied", "colour": "#bdbdb8", "amount": "1 network of /8"},
        ],
    }
    text = (authz.folder / "change.svg").read_text()
    assert "<title>every other application (*): whose decision changes</title>" in text
    for note in (
        "from old.snapshot, serial 1",
        "to new.snapshot, serial 2",
        f"decisions at {AT}, with an attack signal",
    ):
        assert f">{note}" in text


def test_a_picture_that_was_there_is_replaced(authz: Commands) -> None:
    picture = authz.folder / "shop.svg"
    picture.write_text("old")
    assert authz("snapshot", "map", "new.snapshot", "-o", "shop.svg", "--order", "4").status == 0
    assert picture.read_text().startswith("<svg ")
    assert not list(authz.folder.glob(".shop.svg*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "shop.gif"], "--output: found 'shop.gif', expected a name that ends in .png or .svg"),
        (["-o", "none/shop.png", "--order", "4"], "none/shop.png: cannot be written: No such file or directory"),
        (["-o", "shop.png", "--application", "sohp"], "--application: found 'sohp', expected one of *, shop, admin"),
        (["-o", "shop.png", "--order", "13"], "order: found 13, expected 4 (a pixel is a /8) to 12 (a /24)"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_a_mistake(authz: Commands, arguments: list[str], message: str) -> None:
    done = authz("snapshot", "map", "new.snapshot", *arguments)
    assert (done.status, done.out, done.err) == (2, "", f"authz: error: {message}")
    assert not list(authz.folder.glob("*.png"))


# The page of the documentation


PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "analysis.md").read_text()


@pytest.mark.parametrize("text", [OLD, NEW, FAULTY, CONFIG.replace("a.pub", "2026.pub"), DIFFERENCE, FINDINGS, LEGEND])
def test_the_page_shows_what_the_commands_print(text: str) -> None:
    assert text.strip() in PAGE


def test_the_page_has_every_count_code_and_colour() -> None:
    for name in (*COUNTS, *SEVERITIES):
        assert f"`{name}`" in PAGE
    for row in (*DECISIONS, *DIFFERENCES):
        assert f"| {row.label} | `{'#{:02x}{:02x}{:02x}'.format(*row.colour)}` |" in PAGE
