"""A checkout of the repository with no more than an installation or a build of images needs."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from support.docs.blocks import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def checkout(folder: Path) -> Path:
    """Copy it into a folder, and return that."""
    for name in ("authz", "deploy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder
