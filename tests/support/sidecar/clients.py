"""Real clients of gRPC in several languages, built by `make clients` from tests/serve/clients into build/clients."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.contenders.building import NotBuilt, program

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "tests/serve/clients"
BUILT = ROOT / "build/clients"
LANGUAGES = ("go", "js", "rust", "java", "grpcurl")
RUN = {"js": ["node"], "java": ["java", "-jar"]}  # what runs it; the others are programs


def client_command(language: str) -> list[str | Path]:
    """Return the command of a client, or skip the test."""
    if language == "python":
        return [sys.executable, SOURCES / "python/main.py"]
    try:
        path = program(SOURCES / language, BUILT, build=False)
    except NotBuilt as error:
        pytest.skip(f"{error} (make clients)")
    return [*RUN.get(language, []), path]


def main() -> int:
    """Build all that can be built here; say what could not."""
    missing = 0
    for language in LANGUAGES:
        try:
            print(program(SOURCES / language, BUILT))  # noqa: T201
        except NotBuilt as error:
            missing += 1
            print(f"left out: {error}", file=sys.stderr)  # noqa: T201
    return min(missing, 1)


if __name__ == "__main__":
    sys.exit(main())
