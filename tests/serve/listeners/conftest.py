"""What tests of listeners share."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from support.sidecar.secured import Sides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[Callable[..., Sides]]:
    """Return what makes a sidecar with more settings of `tls`."""
    with contextlib.ExitStack() as stack:

        def make(more: str = "") -> Sides:
            made = Sides(tmp_path, more)
            stack.enter_context(made.sidecar)
            return made

        yield make
