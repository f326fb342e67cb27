"""Docstrings have sections (Google's style) for fields of classes, and for what another part of authz uses."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest
from support.docs.imports import modules

if TYPE_CHECKING:
    from collections.abc import Iterator

Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Example):$", re.MULTILINE)


def trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text()) for name, path in modules().items()}


def part(module: str) -> str:
    """Return the package or module right below authz."""
    return module.split(".")[1] if "." in module else module


def used_elsewhere() -> set[tuple[str, str]]:
    """Return module and name of all that another part imports."""
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for user, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                for alias in node.names:
                    users[node.module, alias.name].add(part(user))
    return {(module, name) for (module, name), parts in users.items() if parts - {part(module)}}


def public(module: str, tree: ast.Module, used: set[tuple[str, str]]) -> Iterator[tuple[str, Documented]]:
    """Yield what another part uses of a module, and the public methods of its classes."""
    for node in tree.body:
        if isinstance(node, Documented) and (module, node.name) in used:
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner


def names_of(node: Documented) -> set[str]:
    """Return what a docstring tells: parameters, or the fields and the parameters of a class."""
    if isinstance(node, ast.ClassDef):
        fields = {
            field.target.id
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        }
        starts = (inner for inner in node.body if isinstance(inner, ast.FunctionDef) and inner.name == "__init__")
        return fields.union(*(names_of(start) for start in starts))
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return {argument.arg for argument in arguments} - {"self", "cls"}


def outside_of_sections(node: Documented) -> list[str]:
    """Return what the prose of a docstring tells of a name or an error that has a section of its own."""
    prose = SECTION.split(ast.get_docstring(node) or "")[0]
    prose = re.sub(r"`[^`]*`|\"[^\"]*\"|^    .*$", "", prose, flags=re.MULTILINE)  # code is not prose
    sentences = [
        sentence
        for paragraph in prose.split("\n\n")
        for sentence in re.split(r"(?<=[.;]) ", " ".join(paragraph.split()))
    ]
    told = [
        name for name in sorted(names_of(node)) for text in sentences if re.match(rf"(\w+, )*{name}(, \w+)*: ", text)
    ]
    return told + [text for text in sentences if re.match(r"[Rr]aises [A-Z]", text)]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def f(now):\n    '''Do it. now: seconds.'''", ["now"]),
        ("def f(now):\n    '''Do it. Raises InputError.'''", ["Raises InputError."]),
        ("def f(now):\n    '''Do it.\n\n    Args:\n        now: Seconds.\n\n    Raises:\n        E: Why.\n    '''", []),
        ("def f(kind):\n    '''Return a code of the kind: in capitals. Reading one raises DecodeError.'''", []),
        ("class A:\n    '''One. a, b: two.'''\n    a: int\n    b: int", ["a", "b"]),
        ("class A:\n    '''One. a: two.'''\n    def __init__(self, a):\n        '''Begin.'''", ["a"]),
        ("def f(now):\n    '''Return `now: x`, and never: why.'''", []),
    ],
)
def test_what_is_told_outside_of_sections_is_seen(source: str, told: list[str]) -> None:
    (node,) = ast.parse(source).body
    assert isinstance(node, Documented)
    assert outside_of_sections(node) == told


def test_what_another_part_uses_tells_arguments_attributes_and_errors_in_sections() -> None:
    used = used_elsewhere()
    seen = [
        (f"{module}: {name}", outside_of_sections(node))
        for module, tree in trees().items()
        for name, node in public(module, tree, used)
    ]
    assert len(seen) > 300
    assert {where: told for where, told in seen if told} == {}


# Their docstrings are descriptions in the OpenAPI document, which has no sections.
BODIES = ("authz.control.api.", "authz.control.detect.triggers.")


def test_the_fields_of_a_class_are_told_in_a_section() -> None:
    classes = [
        (f"{module}: {node.name}", node)
        for module, tree in trees().items()
        if not module.startswith(BODIES)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    assert len(classes) > 300
    assert {where: told for where, node in classes if (told := outside_of_sections(node))} == {}
