"""Command lines that are plain enough to be read without typer; `authz.cli.main` says which commands they are for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OFF: Final = ("AUTHZ_CONTROL_URL", "_AUTHZ_COMPLETE")  # variables with which `ban` and `unban` are typer's


class Shape(NamedTuple):
    """What a plain command line may have.

    Attributes:
        options: The parameter of each option that has a value.
        flags: The same of those that have none.
        lists: Parameters whose options may be given more than once.
        argument: The parameter of the one argument; "": there is none.
    """

    options: Mapping[str, str]
    flags: Mapping[str, str] = {}  # never changed
    lists: frozenset[str] = frozenset()
    argument: str = ""


_FILE: Final = {"--layer": "layer", "--key": "key"}
_SERVE: Final = Shape({"--config": "config", "--log-level": "log_level"})
_BAN: Final = Shape(
    {"--for": "period", "--application": "applications", "--list": "on", "--reason": "reason", **_FILE},
    {"--json": "json"}, frozenset({"applications"}), "network",
)  # fmt: skip
_UNBAN: Final = Shape(
    {"--application": "application", "--reason": "reason", **_FILE}, {"--json": "json"}, argument="which"
)


def serve_options(arguments: Sequence[str]) -> dict[str, str] | None:
    """Return the options of a plain `serve --config FILE [--log-level LEVEL]`, by name.

    None: anything else, a mistake and `--help` included, which are typer's to answer.
    """
    options = _read(arguments[1:], _SERVE) if arguments[:1] == ["serve"] else None
    return options if options and "config" in options else None


def ban_options(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return what `authz.cli.bans.local.ban` takes, for a plain `ban ADDRESS` on a file; None: anything else."""
    options = _read(arguments[1:], _BAN) if arguments[:1] == ["ban"] else None
    if not options or "network" not in options or any(map(os.environ.get, _OFF)):
        return None
    return {"period": "1h", "applications": [], "on": "deny", "reason": "", **_of_file(options)}


def unban_options(arguments: Sequence[str]) -> dict[str, Any] | None:
    """Return what `authz.cli.bans.local.unban` takes, for a plain `unban ADDRESS` on a file; None: anything else."""
    options = _read(arguments[1:], _UNBAN) if arguments[:1] == ["unban"] else None
    if not options or "which" not in options or any(map(os.environ.get, _OFF)):
        return None
    return {"application": None, "reason": "", **_of_file(options)}


def _of_file(options: dict[str, Any]) -> dict[str, Any]:
    layer = options.get("layer") or os.environ.get("AUTHZ_BANS") or "bans.yaml"
    return {"key": None, "json": False, **options, "layer": Path(layer)}


def _read(arguments: Sequence[str], shape: Shape) -> dict[str, Any] | None:
    options: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        if not argument.startswith("-"):
            if not shape.argument or shape.argument in options or not argument:
                return None
            options[shape.argument] = argument
            continue
        option, equals, value = argument.partition("=")
        if option in shape.flags and not equals:
            options[shape.flags[option]] = True
            continue
        value = value if equals else next(rest, "")
        if option not in shape.options or not value or value.startswith("-"):
            return None
        name = shape.options[option]
        options[name] = [*options.get(name, []), value] if name in shape.lists else value
    return options
