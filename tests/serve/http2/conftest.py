"""A service, a peer, and a look at faults of our own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from support.sidecar.http2 import (
    Peer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

from support.sidecar.http2_methods import Methods


@pytest.fixture
def methods() -> Methods:
    return Methods()


@pytest.fixture
def peer(methods: Methods) -> Peer:
    return Peer(methods.connections)


@pytest.fixture(autouse=True)
def faults() -> Iterator[list[logging.LogRecord]]:
    """Whatever a peer sends, no exception of ours may end a connection or a call; a test that makes one takes it."""
    records: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    handler = Handler()
    logger = logging.getLogger("authz.grpc")
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    assert [record.exc_info for record in records] == []
