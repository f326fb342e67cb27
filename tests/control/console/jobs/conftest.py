"""A new control plane for each test, and its clock. A module that needs another one has a `plane` of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.control import Clock, control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.control import Control


@pytest.fixture
def plane(tmp_path: Path, clock: Clock) -> Iterator[Control]:
    with control(tmp_path / "control", clock=clock) as running:
        yield running
