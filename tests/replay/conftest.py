"""Replay logs in a folder of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.proxies.access_logs import Replay
from support.suite.commands import Commands

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


@pytest.fixture
def replay(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Replay:
    return Replay(publisher, Commands(publisher.folder, monkeypatch))
