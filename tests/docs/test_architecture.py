"""The drawing in docs/internals/architecture.md is the imports that are measured from the code."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from support.docs.imports import imports_at_run_time, modules

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "internals" / "architecture.md").read_text()
GROUND = {"addresses", "durable", "errors", "strict_yaml", "times", "wire"}


def part(module: str) -> str:
    name = module.split(".")[1]
    return "ground" if name in GROUND else name


def measured() -> dict[str, set[str]]:
    """Return which parts import which. Left out: the entry points `authz` and `authz.__main__`."""
    graph: dict[str, set[str]] = {}
    for name in modules():
        if name not in {"authz", "authz.__main__"}:
            others = {part(other) for other in imports_at_run_time(name) & modules().keys() if other != "authz"}
            graph.setdefault(part(name), set()).update(others - {part(name)})
    return graph


def without_implied(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return a graph without the arrows that a longer way implies (its transitive reduction)."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        children = graph.get(name, set())
        below[name] = children.union(*(below[child] for child in children))
    return {
        name: {child for child in children if not any(child in below[other] for other in children)}
        for name, children in graph.items()
        if children
    }


def drawn() -> dict[str, set[str]]:
    """Return the arrows of the page's drawing."""
    (drawing,) = re.findall(r"```mermaid\ngraph TD\n(.*?)```", PAGE, re.DOTALL)
    graph: dict[str, set[str]] = {}
    for line in drawing.splitlines():
        arrow = re.fullmatch(r" {4}(\w+) --> (\w+)", line)
        assert arrow is not None, line
        graph.setdefault(arrow[1], set()).add(arrow[2])
    return graph


def test_the_drawing_is_what_the_code_imports() -> None:
    assert drawn() == without_implied(measured())


def test_an_arrow_that_a_longer_way_implies_is_left_out() -> None:
    assert without_implied({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}}


def test_every_path_that_the_page_names_is_there() -> None:
    named = set(re.findall(r"`((?:authz|tests|engine|serve|snapshot|publisher|proto|benchmarks)/[\w./]*)`", PAGE))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists() and not (ROOT / "authz" / path).exists()} == set()
