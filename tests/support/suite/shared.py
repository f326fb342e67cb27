"""The data that lies beside the project, where it does. It is not part of the project, so every test can do without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("AUTHZ_SHARED", Path(__file__).parents[3].parent / "shared"))


def shared(name: str) -> Path:
    """Return a file or folder of the data, or skip the test."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs {name} of the shared data, which is not beside the project (or at AUTHZ_SHARED)")
    return path
