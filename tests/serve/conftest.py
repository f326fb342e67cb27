"""Fixtures of the sidecar's tests."""

from __future__ import annotations

import pytest

from authz.serve.listeners import accept, budget


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a sidecar in this process take less time than for real."""
    monkeypatch.setattr(accept, "GOODBYE", 0.01)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small reads taken at once, however long the machine takes; the tests of that limit set their own."""
    monkeypatch.setattr(budget, "SECONDS_AT_ONCE", 60.0)
