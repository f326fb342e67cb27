"""Fixtures of the sidecar's tests."""

from __future__ import annotations

import pytest

from authz.serve import listeners


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a sidecar in this process take less time than for real."""
    monkeypatch.setattr(listeners, "GOODBYE", 0.01)
