"""The image of deploy/: what can be checked without a container engine."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import yaml
from support.proxies.deployed import DEPLOY, ROOT

if TYPE_CHECKING:
    from pathlib import Path


# The image


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions, each with its arguments on one line."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def arguments(name: str) -> list[str]:
    return [value for instruction, value in dockerfile() if instruction == name]


def sources() -> list[str]:
    copied = [shlex.split(value) for value in arguments("COPY") if not value.startswith("--from=")]
    return [source for words in copied for source in words[:-1]]


def test_all_that_the_image_copies_is_there_and_passes_its_ignore_file() -> None:
    assert [source for source in sources() if not (ROOT / source).exists()] == []
    ignore = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert ignore[0] == "*"
    assert sorted(line.removeprefix("!") for line in ignore if line.startswith("!")) == sorted(sources())


def test_everything_that_pip_installs_for_the_image_is_pinned_by_hash() -> None:
    installs = [yaml.safe_load(value) for value in arguments("RUN") if '"install"' in value]
    assert len(installs) == 3
    for words in installs:
        if "--require-hashes" in words:
            assert "--only-binary=:all:" in words
            assert words[words.index("-r") + 1] in {"build-requirements.txt", "requirements.txt"}
        else:  # our own wheel, of the folder in which it was just built
            assert {"--no-deps", "--no-index"} <= set(words)
            assert words[-1] == "authz"
    for file in ("build-requirements.txt", "requirements.txt"):
        text = (DEPLOY / file).read_text()
        requirements = re.findall(r"^[a-z].*(?:\n    .*)*", text, re.MULTILINE)
        assert all(re.match(r"[a-z0-9-]+==\S+ ", one) and "--hash=sha256:" in one for one in requirements), file
    ours = (DEPLOY / "build-requirements.txt").read_text()
    assert ours in (ROOT / "constraints.txt").read_text(), "copy the lines of setuptools from constraints.txt"


def test_the_image_runs_without_a_shell_and_without_rights() -> None:
    assert [value for name in ("RUN", "ENTRYPOINT", "CMD") for value in arguments(name) if value[0] != "["] == []
    assert arguments("ADD") == []
    (user,) = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    last_stage = [name for name, _ in dockerfile()][-6:]
    assert last_stage == ["FROM", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"]
    (base,) = arguments("ARG")
    assert re.fullmatch(r"PYTHON=python:\d+\.\d+-slim-\w+", base)
    assert arguments("FROM") == ["${PYTHON} AS build", "${PYTHON}"]


def test_what_the_image_copies_is_enough_to_build_the_wheel_and_all_of_it_is_in_it(tmp_path: Path) -> None:
    context, out = tmp_path / "context", tmp_path / "dist"
    for source in ("LICENSE", "README.md", "pyproject.toml", "authz"):
        assert source in sources()
        to = context / source
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            to.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / source, to)
    (wheel,) = (yaml.safe_load(value) for value in arguments("RUN") if '"wheel"' in value)
    command = [sys.executable, *wheel[1:]]
    done = subprocess.run(
        [str(out) if word == "dist" else word for word in command],
        cwd=context,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.iterdir()
    shutil.unpack_archive(built, tmp_path / "unpacked", "zip")
    written = {path.relative_to(context) for path in (context / "authz").rglob("*") if path.is_file()}
    packed = {path.relative_to(tmp_path / "unpacked") for path in (tmp_path / "unpacked").rglob("*") if path.is_file()}
    assert written - packed == set()
