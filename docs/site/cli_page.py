"""The page of all commands, from their own help."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from authz.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """\
# Commands

This page is generated from `authz … --help` by `make docs-generated`. Exit status: 0 done, 1 the answer is
no, 2 a mistake of the caller.
"""


def cli_page() -> str:
    """Return the page, as Markdown."""
    parts = [HEAD]
    for path, command in sorted(commands(typer.main.get_command(app), ("authz",))):
        parts.append("\n".join(section(" ".join(path), command)))
    return "\n".join(parts)


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, with the words that call it."""
    children = getattr(command, "commands", None)
    if not children or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, child in (children or {}).items():
        if not child.hidden:
            yield from commands(child, (*path, name))


def section(name: str, command: Any) -> Iterator[str]:
    """Yield the lines of one command."""
    yield f"## {name}\n"
    yield f"{text(command.help)}\n"
    shown = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    if shown:
        yield "| | |\n|---|---|"
        for parameter in shown:
            yield f"| {names(parameter)} | {text(parameter.help)}{' Required.' if parameter.required else ''} |"
        yield ""
    if command.epilog:
        yield f"{examples(command.epilog)}\n"


def names(parameter: Any) -> str:
    """Return how a parameter is written."""
    if parameter.param_type_name == "argument":
        return f"`{choice(parameter.metavar or parameter.name.upper())}`"
    value = "" if parameter.is_flag else f" {choice(parameter.metavar or 'VALUE')}"
    return ", ".join(f"`{name}{value}`" for name in [*parameter.opts, *parameter.secondary_opts])


def choice(metavar: str) -> str:
    """Return `a|b` as `{a,b}`: a bar would end the cell."""
    return f"{{{metavar.replace('|', ',')}}}" if "|" in metavar else metavar


def text(help_text: str | None) -> str:
    """Return help as one paragraph of Markdown: nothing in it is a tag, a cell border or a placeholder."""
    plain = re.sub(r"\s+", " ", (help_text or "").strip())
    return re.sub(r"([|<*_])", r"\\\1", plain)


def examples(epilog: str) -> str:
    """Return the examples under a command."""
    return "`" + re.sub(r"\s+", " ", epilog.strip()).replace("`", "'") + "`" if "`" not in epilog else text(epilog)
