"""Templates of configuration files, whole but for what depends on the sidecar's configuration and the policy.

{{ name }}          a value, written as the language of the file wants it
{{ if name }}       the lines up to {{ end }} only where it is true; {{ if not name }} where it is not
{{ each name }}     the lines up to {{ end }} once for each item, with the item's values beside the others
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Value = str | bool | Sequence[Mapping[str, "Value"]]

_MARK: Final = re.compile(r"\{\{ (\w+) \}\}")
_BLOCK: Final = re.compile(r"\{\{ (?:(if not|if|each) (\w+)|end) \}\}")


def load(name: str) -> str:
    """Return the template of this name."""
    return (files("authz.cli.sidecar.proxy_config") / "templates" / name).read_text(encoding="utf-8")


def fill(template: str, values: Mapping[str, Value]) -> str:
    """Return the template with its values in place. Raises KeyError for a name without a value."""
    return "\n".join(_filled(template.splitlines(), values)) + "\n"


def _filled(lines: Sequence[str], values: Mapping[str, Value]) -> list[str]:
    done: list[str] = []
    number = 0
    while number < len(lines):
        block = _BLOCK.fullmatch(lines[number])
        if block is None:
            done.append(_MARK.sub(lambda mark: str(values[mark[1]]), lines[number]))
            number += 1
        else:
            end = _end(lines, number)
            for inner in _times(block[1], values[block[2]], values):
                done += _filled(lines[number + 1 : end], inner)
            number = end + 1
    return done


def _end(lines: Sequence[str], start: int) -> int:
    """Return the number of the line that ends the block which starts here."""
    depth = 0
    for number in range(start, len(lines)):
        block = _BLOCK.fullmatch(lines[number])
        if block is not None:
            depth += 1 if block[1] else -1
            if depth == 0:
                return number
    raise KeyError(f"no end of {lines[start]}")


def _times(kind: str, value: Value, values: Mapping[str, Value]) -> list[Mapping[str, Value]]:
    """Return the values for each time that the lines of a block stand in the result."""
    if kind == "each":
        assert not isinstance(value, str | bool)  # noqa: S101  # the template and its renderer belong together
        return [{**values, **item} for item in value]
    return [values] if bool(value) == (kind == "if") else []
