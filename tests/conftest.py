"""Fixtures that several test modules use."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from pathlib import Path

# grpc's handlers at a fork touch descriptors that the child has closed; a child started as another user crashed.
# grpc reads the setting when it starts, after this module is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

# A busy machine is no fault of a test.
settings.register_profile("authz", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("authz")


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A publisher whose files are in the test's own folder."""
    return Publisher(tmp_path)
