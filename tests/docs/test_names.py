"""Names of local variables: a reader learns from each what it holds."""

from __future__ import annotations

import re
import symtable
from typing import TYPE_CHECKING

import pytest
from support.docs.imports import sources

if TYPE_CHECKING:
    from collections.abc import Iterator

# Names that tell nothing, and beside what each does: `one` and `other` are a pair; errors say `found`, `expected`.
EMPTY = {"one": "other", "found": "expected"}


def empty_names(table: symtable.SymbolTable) -> Iterator[tuple[str, int]]:
    """Yield each empty name of a local variable, with the line where its function or comprehension begins."""
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_local()}
    if table.get_type() == "function":
        yield from (
            (name, table.get_lineno()) for name, beside in EMPTY.items() if name in names and beside not in names
        )
    for inner in table.get_children():
        yield from empty_names(inner)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(found):\n    return found", [("found", 1)]),
        ("def f(found, expected):\n    return found, expected", []),
        ("def f(rows):\n    return [one for one in rows]", [("one", 2)]),
        ("f = lambda one, other: one < other", []),
        ("class Violation:\n    found: str", []),
        ("def f(rows, found=''):\n    one, other = rows\n    return lambda: one", [("found", 1)]),
    ],
)
def test_an_empty_name_is_seen(source: str, expected: list[tuple[str, int]]) -> None:
    assert list(empty_names(symtable.symtable(source, "f.py", "exec"))) == expected


@pytest.mark.parametrize("top", ["authz", "benchmarks", "deploy", "docs", "examples", "tests"])
def test_a_local_variable_is_called_what_it_is(top: str) -> None:
    empty = {
        f"{path}:{line}: {variable}"
        for path, text in sources().items()
        if path.startswith(f"{top}/")
        for variable, line in empty_names(symtable.symtable(text, path, "exec"))
    }
    assert empty == set()


def test_an_upper_limit_is_called_max() -> None:
    constants = {
        f"{path}: {name}"
        for path, text in sources().items()
        for name in re.findall(r"^(_?MOST(?:_\w+)?)\b.* = ", text, re.MULTILINE)
    }
    assert constants == set()
