"""Fixtures of the sidecar's tests."""

from __future__ import annotations

import pytest

from authz.serve import background
from authz.serve.listeners import accept, budget
from authz.serve.observe import decision_log


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the end of a sidecar in this process take less time than for real."""
    monkeypatch.setattr(accept, "GOODBYE", 0.01)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no turn end because the machine is slow, or collects garbage; the tests of these limits set their own."""
    monkeypatch.setattr(budget, "SECONDS_AT_ONCE", 60.0)
    monkeypatch.setattr(budget, "SECONDS_A_TURN", 60.0)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a thread to begin, and for the last lines of the decision log, however long the machine takes."""
    monkeypatch.setattr(background, "MAX_WAIT_TO_BEGIN", 60.0)
    monkeypatch.setattr(decision_log, "_PATIENCE", 60.0)
