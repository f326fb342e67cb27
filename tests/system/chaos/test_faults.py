"""Each deliberate fault of `support.suite.faults` is noticed by the test that is named for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.suite.faults import FAULTS, Fault

ROOT: Final = Path(__file__).parents[3]
NAMES: Final = [f"{number}-{fault.module.rpartition('/')[2]}" for number, fault in enumerate(FAULTS, 1)]
FAILED: Final = 1  # the status of pytest where tests failed; another one: they did not run


@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_each_fault_has_its_place_and_its_test(fault: Fault) -> None:
    assert (ROOT / "authz" / fault.module).read_text().count(fault.old) == 1
    path, _, name = fault.test.partition("::")
    assert f"def {name}" in (ROOT / "tests" / path).read_text()


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=NAMES)
def test_each_fault_is_noticed(fault: Fault, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "authz", tmp_path / "authz", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "authz" / fault.module
    module.write_text(module.read_text().replace(fault.old, fault.new))
    places = os.pathsep.join((str(tmp_path), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": places, "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-o",
        "pythonpath=tests",  # not the project's folder as well, whose authz has no fault
        f"tests/{fault.test}",
    ]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == FAILED, ran.stdout[-2000:] + ran.stderr[-2000:]
