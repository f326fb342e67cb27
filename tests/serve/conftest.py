"""Fixtures of the sidecar's tests."""

from __future__ import annotations

import pytest

from authz.serve.listeners import accept


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a sidecar in this process take less time than for real."""
    monkeypatch.setattr(accept, "GOODBYE", 0.01)
