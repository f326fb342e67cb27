"""What commands print: tables and colours for people, JSON for programs, progress on long work."""

from __future__ import annotations

import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PATIENCE = 1.0  # seconds of work before a progress bar shows
# Text is text: with markup a reason could hide or crash, with emoji codes 2001:db8:a:bee:: would show an insect.
out = Console(soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)


def print_json(content: object) -> None:
    """Print one JSON object on one line."""
    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def visible(value: object) -> str:
    """Return a value as text whose control characters are spelled out: a terminal must not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def table(title: str, rows: Iterable[tuple[str, object]], *, style: str = "") -> None:
    """Print names and values. style: of the title."""
    grid = Table(title=Text(visible(title), style), show_header=False, title_justify="left", box=None, pad_edge=False)
    grid.add_column(style="bold")
    grid.add_column()
    for name, value in rows:
        grid.add_row(name, visible(value))
    out.print(grid)


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 entry", "1,234 entries"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def block(title: str, lines: Iterable[str], *, indent: int = 0, style: str = "bold") -> None:
    """Print a title and lines below it, wrapped to the width of the terminal, further lines indented more."""
    margin = " " * indent
    out.print(margin + visible(title), style=style)
    for line in lines:
        wrapped = textwrap.wrap(
            visible(line), out.width, initial_indent=f"{margin}  ", subsequent_indent=f"{margin}      ",
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True,
        )  # fmt: skip
        for part in wrapped:
            out.print(part)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function (step, done, of how much) that shows bars on a terminal, once the work takes over a second."""
    begin = time.monotonic()
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:

        def advance(step: str, done: int, total: int) -> None:
            if step not in tasks:
                if time.monotonic() - begin < PATIENCE:
                    return
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield advance
