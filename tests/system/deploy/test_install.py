"""The lines of the pages that install authz, run; and its wheel with the newest and the oldest dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.docs.blocks import blocks
from support.suite.checkout import checkout

pytestmark = pytest.mark.long

PAGES = ("README.md", "docs/start/first-snapshot.md")
USED = """\
set -e
authz --version
authz keys generate keys --name 2026
printf 'version: 1\\napplications: {shop: {}}\\n' > policy.yaml
echo 'entries: [{list: deny, networks: [203.0.113.0/24], reason: abuse}]' >> policy.yaml
authz snapshot build policy.yaml -o lists.snapshot --key keys/2026.key
authz snapshot verify lists.snapshot --trusted-key keys/2026.pub
echo 'snapshot: {path: lists.snapshot, trusted_keys: [keys/2026.pub]}' > authz.yaml
authz explain 203.0.113.9 --application shop --config authz.yaml | grep denylisted
authz control init control
"""


def shell(script: str, folder: Path, **environment: str) -> None:
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        ["bash", "-euc", script], cwd=folder, env=env | environment, capture_output=True, text=True, check=False,
        timeout=900,
    )  # fmt: skip
    if re.search("Could not find a version|No solution found.*network", done.stderr, re.DOTALL):
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_the_lines_of_the_pages_install_it(tmp_path: Path) -> None:
    """README.md, first-snapshot.md; releases.md has the same with the wheel in the place of the checkout."""
    firsts = [next(block.text for block in blocks(page) if "pip install" in block.text) for page in PAGES]
    assert firsts[0] == firsts[1]
    (released,) = [
        block.text for block in blocks("docs/operations/releases.md") if block.first.startswith("pip install")
    ]
    assert released.splitlines()[0] in firsts[0].replace("~/authz-env/bin/", "")
    home = tmp_path / "home"
    home.mkdir()
    shell(firsts[0] + "cd ~\n" + USED, checkout(tmp_path / "checkout"), HOME=str(home))


@pytest.mark.parametrize("resolution", ["highest", "lowest-direct"])
def test_the_wheel_works_with_the_newest_and_the_oldest_dependencies_that_it_allows(
    resolution: str, tmp_path: Path
) -> None:
    bin_folder = tmp_path / "env" / "bin"
    script = f"""
    {sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./checkout
    {sys.executable} -m twine check --strict dist/*
    uv venv --quiet --python {sys.executable} env
    uv pip install --quiet --python env/bin/python --resolution {resolution} \
        "authz[publish,control,stores] @ file://$(ls $PWD/dist/*.whl)"
    uv pip list --python env/bin/python
    """
    checkout(tmp_path / "checkout")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell(script, tmp_path, PATH=tools)
    (tmp_path / "used").mkdir()
    shell(USED, tmp_path / "used", PATH=f"{bin_folder}:{os.environ['PATH']}")
