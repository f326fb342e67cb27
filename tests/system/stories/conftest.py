"""A folder as after the first hour: a key, a snapshot and the sidecar's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import CONFIG
from support.publishing.publisher import Publisher
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    publisher = Publisher(tmp_path)
    publisher.publish(serial=7)
    (tmp_path / "authz.yaml").write_text(CONFIG)
    return Commands(tmp_path, monkeypatch)
