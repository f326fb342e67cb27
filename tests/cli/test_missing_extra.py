"""A sidecar that is installed without extras serves, and says of every other command which extra it needs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from support.processes import CONFIG, Process

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

# Python as it is where nothing but the dependencies of the sidecar is installed.
WITHOUT = """
import importlib.metadata, re, sys
wanted = {re.match(r"[\\w-]+", line)[0] for line in importlib.metadata.requires("authz") if "extra ==" in line}
for name in {*wanted, "click", "rich"}:
    sys.modules[name.lower().replace("-", "_")] = None
import runpy; runpy.run_module("authz", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("snapshot build policy.yaml -o x --key keys/a.key", "`authz snapshot build`"),
        ("snapshot inspect lists.snapshot", "`authz snapshot inspect`"),
        ("ranges 10.0.0.1", "`authz ranges`"),
        ("--help", "`authz`"),
    ],
)
def test_a_command_without_its_extra_says_which_it_needs(tmp_path: Path, arguments: str, told: str) -> None:
    with Process([sys.executable, "-c", WITHOUT, *arguments.split()], cwd=tmp_path) as command:
        assert command.wait() == 2
        assert command.output.splitlines() == [
            f"authz: error: {told} needs the extra 'publish': the package typer is not installed",
            "hint: pip install 'authz[publish]'; a sidecar needs no extra: authz serve --config FILE",
        ]


def test_without_its_extra_a_command_answers_json_where_it_is_asked_to(tmp_path: Path) -> None:
    with Process([sys.executable, "-c", WITHOUT, "snapshot", "inspect", "x", "--json"], cwd=tmp_path) as command:
        assert command.wait() == 2
        assert json.loads(command.output)["error"]["code"] == "missing_extra"


def test_a_sidecar_serves_without_any_extra(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish()
    (tmp_path / "authz.yaml").write_text(CONFIG)
    with Process([sys.executable, "-c", WITHOUT, "serve", "--config", "authz.yaml"], cwd=tmp_path) as sidecar:
        sidecar.wait_for_line(r"authz: serving$")
        sidecar.popen.terminate()
        assert sidecar.wait() == 0
