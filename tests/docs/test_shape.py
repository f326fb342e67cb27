"""The shape of the house: no circle of imports, small folders, small modules, short functions."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest
from support.docs.imports import imports, imports_at_run_time, modules, sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
MEDIAN_FUNCTION = 5  # lines of a function's body, its docstring aside
MAX_SIBLINGS = 13  # "about twelve": decision 0075
# `authz` has its nine parts and the five of the ground, which nothing else may be added to (see RANKS in
# test_imports.py): a folder for them would hide the first words that one learns.
WIDER = {"authz": 14}
# What a folder holds beside what one searches in it: read first, or used by all.
NOT_COUNTED = {"README.md", "conftest.py", "pictures", "py.typed", "results"}
# What is in these is numbered or dated.
NUMBERED = {"benchmarks/reports", "benchmarks/results", "docs/decisions", "authz/control/store/migrations/versions"}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Return a circle of a graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        around: list[str] = error.args[1]
        return around
    return []


def graph_of_modules() -> dict[str, set[str]]:
    return {name: set(imports_at_run_time(name) & modules().keys()) for name in modules()}


def graphs_of_siblings() -> dict[str, dict[str, set[str]]]:
    """Return, for each folder, which of its modules and folders import which of the others."""
    graphs: dict[str, dict[str, set[str]]] = {}
    for name, others in graph_of_modules().items():
        for other in others:
            parts, others_parts = name.split("."), other.split(".")
            depth = next((n for n, (a, b) in enumerate(zip(parts, others_parts, strict=False)) if a != b), 0)
            if depth:  # else one is the package that the other is in
                graph = graphs.setdefault(".".join(parts[:depth]), {})
                graph.setdefault(parts[depth], set()).add(others_parts[depth])
    return graphs


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph_of_modules()) == []


def test_no_modules_name_each_other_in_a_circle_not_even_for_types() -> None:
    graph = {name: set(imports(path) & modules().keys()) - {name} for name, path in modules().items()}
    assert circle(graph) == []


def test_no_folders_import_each_other_in_a_circle() -> None:
    graphs = graphs_of_siblings()
    assert {"authz", "authz.serve", "authz.publisher"} <= graphs.keys()
    assert {folder: around for folder, graph in graphs.items() if (around := circle(graph))} == {}


def test_a_circle_would_be_seen() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def folders() -> Iterator[tuple[str, list[str]]]:
    """Yield the folders of the repository, and what a reader sees in each."""
    for top in ("authz", "benchmarks", "deploy", "docs", "examples", "proto", "tests"):
        for path in [ROOT / top, *(ROOT / top).rglob("*/")]:
            relative = path.relative_to(ROOT).as_posix()
            if not any(f"{relative}/".startswith(f"{numbered}/") for numbered in NUMBERED):
                children = (child.name for child in path.iterdir())
                yield relative, [name for name in children if name[0] not in "._" and name not in NOT_COUNTED]


def test_no_folder_has_more_than_about_twelve_siblings() -> None:
    crowded = {
        folder: sorted(children) for folder, children in folders() if len(children) > WIDER.get(folder, MAX_SIBLINGS)
    }
    assert crowded == {}, "find what belongs together among them, and give it a folder with a name that says so"


def _go_files() -> Iterator[Path]:
    """Yield the sources of load generators, contenders and clients in Go."""
    for top in ("benchmarks", "tests"):
        yield from (ROOT / top).rglob("*.go")


def test_no_module_is_longer_than_it_may_be() -> None:
    go = {path.relative_to(ROOT).as_posix(): path.read_text() for path in _go_files()}
    assert len(go) > 5
    long = {path for path, text in (sources() | go).items() if text.count("\n") > MAX_LINES}
    assert long == set(), f"longer than {MAX_LINES} lines: cut it where it has two ideas"


def lengths(tree: ast.Module) -> Iterator[int]:
    """Yield the lines of each function's body without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert body[-1].end_lineno is not None
            yield body[-1].end_lineno - body[0].lineno + 1


def test_the_usual_function_is_short() -> None:
    lines = [length for name in modules() for length in lengths(ast.parse(modules()[name].read_text()))]
    assert len(lines) > 500
    assert median(lines) <= MEDIAN_FUNCTION


@pytest.mark.parametrize(
    ("source", "expected"),
    [("def f():\n    '''Text.'''\n    a = 1\n    return a\n", [2]), ("def f():\n    '''Text.'''\n", [1])],
)
def test_a_docstring_does_not_count(source: str, expected: list[int]) -> None:
    assert list(lengths(ast.parse(source))) == expected
