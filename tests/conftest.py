"""Fixtures that several test modules use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from pathlib import Path

# A busy machine is no fault of a test.
settings.register_profile("authz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("authz")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A publisher whose files are in the test's own folder."""
    return Publisher(tmp_path)
