"""A folder to build in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.build_folder import Folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    return Folder(tmp_path, monkeypatch)
