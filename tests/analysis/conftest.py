"""The command, in a folder with two snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.publishing.analysed_policies import CREATED, NEW, OLD
from support.suite.commands import Commands

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


@pytest.fixture
def authz(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Commands:
    publisher.publish(OLD, to="old.snapshot", serial=1, created=CREATED)
    publisher.publish(NEW, to="new.snapshot", serial=2, created=CREATED)
    return Commands(publisher.folder, monkeypatch)
