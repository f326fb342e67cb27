"""The tree of errors is whole, and an error says both sides."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authz import errors
from authz.control.model import problems
from authz.errors import AddressError, AuthzError, BadValue, Refusal, SnapshotRefused

if TYPE_CHECKING:
    from types import ModuleType

PACKAGE = Path(errors.__file__).parent
# What stops a parser of a library, or a call of our own, and never leaves its module.
INSIDE = {
    "control/model/records.py",
    "snapshot/signing/envelope.py",
    "serve/http2/frames.py",
    "serve/layers/store.py",
}


def modules() -> list[tuple[str, ast.Module]]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "_pb2" not in path.name]
    return [(str(path.relative_to(PACKAGE)), ast.parse(path.read_text())) for path in paths]


@pytest.mark.parametrize("module", [errors, problems], ids=["errors", "control.model.problems"])
def test_the_tree_in_the_docstring_is_the_tree_of_the_classes(module: ModuleType) -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in (module.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)  ", line)
        if match:
            above[len(match[1]) // 4 :] = [match[2]]
            drawn[match[2]] = above[-2] if len(above) > 1 else "Exception"
    classes = {
        name: base.__name__
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Exception) and (base := value.__base__)
    }
    if module is problems:  # which hangs on two branches of the other tree
        classes["AuthzError"], classes["InputError"] = "Exception", "AuthzError"
    assert drawn == classes


def test_no_other_module_has_an_error_of_its_own() -> None:
    both = (vars(errors) | vars(problems)).items()
    ours = {name for name, value in both if isinstance(value, type) and issubclass(value, Exception)}
    defined = {
        f"{name}: {node.name}"
        for name, tree in modules()
        if name not in {"errors.py", "control/model/problems.py"} and name not in INSIDE
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name) and (base.id.endswith(("Error", "Exception")) or base.id in ours)
    }
    assert defined == set()


def test_nobody_raises_a_bare_value_error() -> None:
    raised = {
        f"{name}:{node.lineno}"
        for name, tree in modules()
        if name not in INSIDE
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and node.exc is not None and "ValueError" in ast.dump(node.exc)
    }
    assert raised == set()


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (BadValue("x"), "found 'x'", ""),
        (BadValue("x\n", "a number"), "found 'x\\x0a', expected a number", ""),
        (AddressError("1.2.3", "an address", meant="1.2.3.0"), "found '1.2.3', expected an address",
         "did you mean '1.2.3.0'?"),
        (SnapshotRefused(Refusal.EXPIRED, "too late"), "too late", ""),
        (SnapshotRefused(Refusal.BAD_DIGEST, found=1, expected=2, hint="h"), "found 1, expected 2", "h"),
        (SnapshotRefused(Refusal.BAD_DIGEST, "sets", found="1"), "sets: found 1", ""),
        (SnapshotRefused(Refusal.BAD_DIGEST, "sets", expected="2"), "sets: expected 2", ""),
    ],
)  # fmt: skip
def test_an_error_says_what_was_found_and_what_was_expected(error: AuthzError, message: str, hint: str) -> None:
    assert (error.message, str(error), error.hint) == (message, message, hint)


def test_a_refusal_has_both_sides_and_a_copy_of_it_no_traceback() -> None:
    with pytest.raises(SnapshotRefused) as caught:
        raise SnapshotRefused(Refusal.TRUNCATED, found=3, expected="at least 12")
    copied = caught.value.copy("a.snapshot")
    assert (copied.code, copied.found, copied.expected) == (Refusal.TRUNCATED, "3", "at least 12")
    assert copied.message == "a.snapshot: truncated: found 3, expected at least 12"
    assert copied.__traceback__ is None
    named = SnapshotRefused(Refusal.UNREADABLE, "a.snapshot: no such file")
    assert named.copy("a.snapshot").message == "a.snapshot: unreadable: no such file"
    assert named.copy().message == named.message


def test_only_what_the_machine_is_at_fault_for_is_worth_another_try() -> None:
    assert {code for code in Refusal if code.transient} == {
        *("unreadable", "state_unwritable", "internal_error", "unreachable", "bad_answer", "part_missing")
    }
