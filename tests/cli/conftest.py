"""The command, and a folder to type it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import CONFIG
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

MADE = 1_790_000_000  # seconds since 1970: when the snapshot of these tests was made


@pytest.fixture
def shop(publisher: Publisher, tmp_path: Path) -> Publisher:
    """A folder with keys, a policy, a snapshot with serial 7, and a configuration."""
    publisher.publish(serial=7, created=MADE)
    (tmp_path / "authz.yaml").write_text(CONFIG)
    return publisher


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command, in the folder of `shop`."""
    return Commands(tmp_path, monkeypatch)
