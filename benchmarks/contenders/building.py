"""Programs in other languages, built once from a folder of sources: Go, Rust, JavaScript, Java.

A built program lies where `into` says, its name ending with a hash of its sources, so that a change builds it anew.
What it is built from is pinned by the folder's lock file: go.sum, Cargo.lock, package-lock.json; pom.xml. These name no
registry, so that each machine asks the one that it is set up for; Cargo wants the name in its lock, so it is put in.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BUILT: Final = Path(__file__).parents[1] / "results" / "bin"
BUILDING: Final = 1800.0  # seconds at most; the first time, modules are fetched
_SOURCES: Final = ("*.go", "go.mod", "go.sum", "Cargo.toml", "Cargo.lock", "src/*.rs", "build.rs", "*.js",
                   "package.json", "package-lock.json", "pom.xml", "src/*.java", "*.proto")  # fmt: skip
_NAMELESS: Final = 'source = "registry"'
_NAMED: Final = re.compile(r'^source = "registry\+[^"]+"$', re.MULTILINE)


class NotBuilt(Exception):
    """A program is not there, and why."""


def program(sources: Path, into: Path | None = None, *, build: bool = True) -> Path:
    """Return the program of a folder, built where it is not yet; without `build` it must be there. Raises NotBuilt.

    into: the folder of built programs; None: BUILT. Of JavaScript it is the main.js, to run with node; of Java a jar.
    """
    into = into or BUILT
    path = into / f"{sources.name}-{fingerprint(sources)}"
    if not path.exists():
        if not build:
            raise NotBuilt(f"{sources.name} is not built yet")
        into.mkdir(parents=True, exist_ok=True)
        _build(sources, path)
    return path / "main.js" if path.is_dir() else path


def fingerprint(sources: Path) -> str:
    """Return a short hash of the sources of a folder."""
    digest = hashlib.sha256()
    for path in _files(sources):
        digest.update(f"{path.relative_to(sources)} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _files(sources: Path) -> list[Path]:
    return sorted({path for pattern in _SOURCES for path in sources.glob(pattern)})


def _build(sources: Path, path: Path) -> None:
    marks: dict[str, tuple[str, Callable[[Path, Path, str], None]]] = {
        "go.mod": ("go", _build_go), "Cargo.toml": ("cargo", _build_rust), "package.json": ("npm", _build_javascript),
        "pom.xml": ("mvn", _build_java),
    }  # fmt: skip
    tool, building = next(steps for mark, steps in marks.items() if (sources / mark).exists())
    if shutil.which(tool) is None:
        raise NotBuilt(f"{sources.name} needs {tool}, to be built")
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        building(sources, unfinished, sources.name)
        unfinished.rename(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)


def _build_go(sources: Path, path: Path, name: str) -> None:
    tool = re.search(r"^tool (\S+)$", (sources / "go.mod").read_text(), re.MULTILINE)  # a module that only names one
    package = tool[1] if tool else "."
    run(["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", path, package], sources, name)


def _build_rust(sources: Path, path: Path, name: str) -> None:
    """Build in a copy of the sources, whose lock names the registry as this machine's Cargo does."""
    with _copied(sources, path) as folder:
        lock = folder / "Cargo.lock"
        pinned = lock.read_text()
        lock.unlink()
        run(["cargo", "generate-lockfile", "--quiet"], folder, name)
        named = _NAMED.search(lock.read_text())
        lock.write_text(pinned.replace(_NAMELESS, named[0]) if named else pinned)
        run(["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", "target"], folder, name)
        crate = re.search(r'^name = "([^"]+)"', (folder / "Cargo.toml").read_text(), re.MULTILINE)
        shutil.copy(folder / "target" / "release" / (crate[1] if crate else name), path)


def _build_java(sources: Path, path: Path, name: str) -> None:
    with _copied(sources, path) as folder:
        run(["mvn", "--batch-mode", "--quiet", "--strict-checksums", "package"], folder, name)
        shutil.copyfile(folder / "target" / "client.jar", path)


@contextmanager
def _copied(sources: Path, path: Path) -> Iterator[Path]:
    """Give a copy of the sources beside what is built, for builders that write into their folder."""
    folder = path.with_name(f"{path.name}.sources")
    try:
        for file in _files(sources):
            (folder / file.relative_to(sources)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.relative_to(sources))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _build_javascript(sources: Path, path: Path, name: str) -> None:
    path.mkdir()
    for file in _files(sources):
        shutil.copyfile(file, path / file.name)
    run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], path, name)


def run(command: Sequence[str | Path], folder: Path, name: str) -> None:
    """Run a step of a build. Raises NotBuilt with the last line that it wrote."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=BUILDING)
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{name} was not built within {BUILDING:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"{command[0]} failed"])[-1]
        raise NotBuilt(f"{name} could not be built: {last}")
