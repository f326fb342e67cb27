"""What imports what, read from the source: nothing is imported for it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "authz"


@functools.cache
def modules() -> dict[str, Path]:
    """Return every module of authz by name, but for generated code."""
    paths = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if not path.name.endswith("_pb2.py"):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            paths[".".join(parts).removesuffix(".__init__")] = path
    return paths


@functools.cache
def sources() -> dict[str, str]:
    """Return the text of every module of the repository but generated ones, by its path."""
    texts = {}
    for folder in ("authz", "benchmarks", "deploy", "docs", "examples", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.name.endswith("_pb2.py"):
                texts[path.relative_to(ROOT).as_posix()] = path.read_text()
    return texts


@functools.cache
def imports(path: Path) -> frozenset[str]:
    """Return all that a module imports, wherever: at its top, in a function, or for types only."""
    return frozenset(_named(ast.walk(ast.parse(path.read_text()))))


@functools.cache
def imports_at_run_time(name: str) -> frozenset[str]:
    """Return what a module imports when it is imported or called: not what only its types need, and not itself."""
    return frozenset(_named(_nodes_at_run_time(ast.parse(modules()[name].read_text())))) - {name}


def _nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children: list[ast.AST] = [*node.orelse]
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _nodes_at_run_time(child)


def _named(nodes: Iterator[ast.AST]) -> Iterator[str]:
    """Yield the modules that import statements among the nodes name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            assert node.module is not None
            # `from authz.wire.snapshot.v1 import snapshot_pb2` is an import of the module.
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else node.module
