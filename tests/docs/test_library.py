"""authz as a library: the example of docs/guides/library.md, run as it stands."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from support.proxies.envoy_api import check_request, read_answer

import authz
from authz.errors import InputError, Refusal, SnapshotRefused
from authz.serve.grpc.check import CHECK_METHOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.publishing.publisher import Publisher

TEXT = (Path(__file__).parents[2] / "docs" / "guides" / "library.md").read_text()
POLICY = """\
version: 1
applications: {shop: {}}
entries: [{id: bad, list: deny, networks: [203.0.113.0/24], reason: abuse}]
"""


def test_the_example_prints_what_the_page_says(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    code, expected = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)[0] for kind in ("python", "text"))
    printed = io.StringIO()
    with contextlib.chdir(publisher.folder), contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/guides/library.md", "exec"), {})  # our own page
    assert printed.getvalue() == expected


def test_the_server_of_the_page_answers_as_envoy_expects(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[1]
    names: dict[str, Any] = {}
    with contextlib.chdir(publisher.folder):
        exec(compile(code, "docs/guides/library.md", "exec"), names)  # our own page
    try:
        with grpc.insecure_channel(f"127.0.0.1:{names['port']}") as channel:
            ask = channel.unary_unary(CHECK_METHOD, lambda request: request, lambda answer: answer)
            answer = read_answer(ask(check_request("203.0.113.9", context={"application": "shop"}), timeout=60))
    finally:
        names["server"].stop(None).wait()
    assert (answer.status, answer.metadata["reason"]) == (403, "denylisted")


def test_a_file_that_is_not_signed_by_a_trusted_key_is_refused(publisher: Publisher) -> None:
    path = publisher.publish(POLICY)
    with pytest.raises(SnapshotRefused) as refused:
        authz.open_snapshot(path, [publisher.public["b"]])
    assert refused.value.code == Refusal.UNKNOWN_KEY


def test_one_path_of_a_key_is_refused_and_not_taken_for_a_list_of_letters(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    with pytest.raises(InputError, match=r"trusted_keys: found 'keys/a\.pub', expected a list of files"):
        authz.open_snapshot(publisher.folder / "lists.snapshot", "keys/a.pub")


def test_all_that_is_promised_is_there_and_nothing_else_is_found() -> None:
    assert set(authz.__all__) < set(dir(authz))
    for name in authz.__all__:
        assert getattr(authz, name).__doc__
        assert f"`{name}" in TEXT or name in {"Outcome", "Ruleset"}
    with pytest.raises(AttributeError, match="has no attribute 'Config'"):
        _ = authz.Config


def sections_missing(function: Callable[..., object]) -> set[str]:
    """Return what the docstring does not tell: names of parameters, and `Returns`."""
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    arguments = text.partition("Args:\n")[2].partition("\n\n")[0]
    named = set(re.findall(r"^    (\w+): ", arguments, re.MULTILINE))
    expected = {name for name in signature.parameters if name not in {"self", "_"}}
    unsaid = {"Returns"} if signature.return_annotation not in {"None", None} and "Returns:\n" not in text else set()
    return (expected - named) | unsaid


def test_what_a_library_user_calls_says_what_it_takes_and_returns() -> None:
    functions: dict[str, Callable[..., object]] = {}
    for name in authz.__all__:
        promised = getattr(authz, name)
        members = vars(promised).items() if inspect.isclass(promised) else [(name, promised)]
        functions |= {f"{name}.{m}": f for m, f in members if inspect.isfunction(f) and not m.startswith("_")}
    assert {"Decider.check", "Ruleset.find", "open_snapshot.open_snapshot"} < set(functions)
    assert {name: missing for name, function in functions.items() if (missing := sections_missing(function))} == {}


def test_importing_it_loads_nothing_and_deciding_no_extra(publisher: Publisher) -> None:
    publisher.publish(POLICY)
    code = (
        "import sys, authz; print(sorted(n for n in sys.modules if n.startswith('authz')))\n"
        "d = authz.Decider(authz.Settings()); d.load(authz.open_snapshot('lists.snapshot', ['keys/a.pub']))\n"
        "print(d.check(authz.Request('203.0.113.9', application='shop'), 1.0)[0].decision)\n"
        "print(sorted({'numpy', 'typer', 'rich', 'securesystemslib', 'yaml', 'grpc'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run([sys.executable, "-c", code], cwd=publisher.folder, env=environment,
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert ran.stdout.splitlines() == ["['authz']", "deny", "[]"]
