"""What commands print: tables and colours for people, JSON for programs, progress on long work."""

from __future__ import annotations

import functools
import os
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.console import Console
    from rich.progress import TaskID

    out: Console  # see __getattr__
    err: Console

PATIENCE = 1.0  # seconds of work before a progress bar shows
_BOLD, _END = "\033[1m", "\033[0m"
_CONSOLES: Final = {"out": False, "err": True}  # and whether it is that of errors


def __getattr__(name: str) -> Console:
    """Make `out` and `err` when one of them is asked for: rich takes longer to load than a short command to run."""
    if name not in _CONSOLES:
        raise AttributeError(name)
    return _console(stderr=_CONSOLES[name])


@functools.cache
def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Text is text: with markup a reason could hide or crash, with emoji codes 2001:db8:a:bee:: would show an insect.
    return Console(stderr=stderr, soft_wrap=True, markup=False, emoji=False)


def print_json(content: object) -> None:
    """Print one JSON object on one line."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.buffer.flush()


def visible(value: object) -> str:
    """Return a value as text whose control characters are spelled out: a terminal must not obey them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def say(line: str) -> None:
    """Print one line of any length."""
    sys.stdout.write(f"{line}\n")


def warn(line: str) -> None:
    """Print a warning to standard error, in one line of any length."""
    sys.stderr.write(f"authz: warning: {visible(line)}\n")


def table(title: str, rows: Iterable[tuple[str, object]], *, style: str = "") -> None:
    """Print names and values, each in one line of any length: an id that is cut in two cannot be copied.

    style: of the title.
    """
    if style:
        _console().print(visible(title), style=style)
    else:
        say(visible(title))
    shown = [(name, visible(value)) for name, value in rows]
    width = max((len(name) for name, _ in shown), default=0)
    bold, end = (_BOLD, _END) if _coloured() else ("", "")
    for name, value in shown:
        say(f"{bold}{name:{width}}{end}  {value}".rstrip())


def _coloured() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 entry", "1,234 entries"."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def block(title: str, lines: Iterable[str], *, indent: int = 0, style: str = "bold") -> None:
    """Print a title and lines below it, wrapped to the width of the terminal, further lines indented more."""
    import textwrap

    margin = " " * indent
    out = _console()
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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    err = _console(stderr=True)
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
