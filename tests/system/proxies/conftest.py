"""Proxies that several test modules ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.proxies.stack import POLICY, STACKS, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=list(STACKS))
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything, running, by every proxy and way to ask; shared by the tests of a module that change nothing."""
    stack = STACKS[request.param](tmp_path_factory.mktemp("stack"))
    stack.publisher.publish(POLICY)
    with stack.start_sidecar(), stack:
        wait_for(lambda: stack.ask("/shop/").status == 200, "the first answer")
        yield stack


@pytest.fixture(params=[name for name in STACKS if name.endswith(("tcp", "unix"))])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A proxy without a sidecar yet, for the tests that start and stop one."""
    with STACKS[request.param](tmp_path) as stack:
        yield stack


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for the name of a unix socket: both together have 107 bytes at most."""
    return tmp_path_factory.mktemp("s")
