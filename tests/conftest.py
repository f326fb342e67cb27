"""Fixtures that several test modules use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A publisher whose files are in the test's own folder."""
    return Publisher(tmp_path)
