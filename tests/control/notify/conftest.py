"""A receiver of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.servers.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.end()
