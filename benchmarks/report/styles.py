"""How plots look: sizes, and for each contender a colour, and a hatch and a marker by which it is known in grey.

The first rule whose pattern is found in the name holds. authz is blue, in shades for its variants; what answers without
deciding anything is grey; every peer has a colour of its own, all of Okabe and Ito's palette for the colour-blind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from zlib import crc32

from matplotlib.ticker import FuncFormatter, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axis import Axis

WIDTH: Final = 5.4  # inches, of every plot: readable in half a screen, and on paper
LEGEND: Final = 0.18  # inches for each row of a legend
TITLE: Final = 36  # letters that fit over a panel of half the width
EDGE: Final = "#222222"  # around bars and markers


class Style(NamedTuple):
    """colour: of bars and lines. hatch: of bars; only straight ones, for dots make large files. marker, dash: of lines.

    All as matplotlib names them.
    """

    colour: str
    hatch: str
    marker: str
    dash: Literal["-", "--", ":"] = "-"


_RULES: Final[tuple[tuple[str, Style], ...]] = (
    (r"authz's answer", Style("#595959", "\\\\", "X", "--")),
    (r"authz.*unix", Style("#56B4E9", "", "s")),
    (r"authz.*grpc\.?(io|aio)", Style("#B5D9F0", "////", "v", "--")),
    (r"authz.*logged", Style("#003A5C", "xxxx", "X", "--")),
    (r"authz.*text", Style("#7FB2D9", "\\\\\\\\", "s", "--")),
    (r"authz.*(listed|one entry|denied)", Style("#3E8DC0", "||||", "D", ":")),
    (r"authz|resident|during a reload", Style("#0072B2", "", "o")),
    (r"at most", Style("#003A5C", "xxxx", "X", "--")),
    (r"own \(|(without|before) a reload", Style("#56B4E9", "//", "s", "--")),
    (r"snapshot \(", Style("#B5D9F0", "\\\\", "D", ":")),
    (r"code \(", Style("#D9D9D9", "", "v", ":")),
    (r"no (filter|auth)|empty call|decoding|direct", Style("#D9D9D9", "", "|", ":")),
    (r"another nginx", Style("#595959", "//", "x", ":")),
    (r"empty|static 204", Style("#8C8C8C", "", "P", "--")),
    (r"RBAC, tries", Style("#F6CE85", "///", "<", "--")),
    (r"RBAC|geo", Style("#E69F00", "\\\\", "^")),
    (r"OPA, cidr", Style("#8FD0B8", "||", "h", "--")),
    (r"OPA|opa", Style("#009E73", "--", "d")),
    (r"CrowdSec|bouncer", Style("#D55E00", "++", "*")),
    (r"pytricia, text", Style("#E3B7D0", "//", "^", "--")),
    (r"pytricia", Style("#CC79A7", "", "^")),
    (r"radix", Style("#E69F00", "||", "v")),
    (r"maxminddb", Style("#F0E442", "", "h")),
    (r"ipaddress|scan", Style("#4D4D4D", "xx", "x")),
    (r"uvicorn", Style("#D55E00", "--", "*")),
)
_OTHERS: Final = (
    Style("#999933", "//", "p"),
    Style("#882255", "\\\\", "<"),
    Style("#44AA99", "xx", ">"),
    Style("#AA4499", "||", "H"),
)


def style_of(contender: str) -> Style:
    """Return the style of a contender: the same for the same name, in every run."""
    for pattern, style in _RULES:
        if re.search(pattern, contender):
            return style
    return _OTHERS[crc32(contender.encode()) % len(_OTHERS)]


def plain_numbers(axis: Axis) -> None:
    """Write 10,000 instead of a power of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
