"""Stores for the tests: every test that asks for `store_url` runs over SQLite and over PostgreSQL."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from support.control import Clock, Control, Running, control
from support.servers import postgresql
from support.servers.stores import new_postgresql, new_sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def postgresql_folder() -> Iterator[str]:
    why = postgresql.missing()
    if why:
        pytest.skip(why)
    with postgresql.server() as folder:
        yield folder


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield new_sqlite(tmp_path / "store.sqlite")
        return
    folder = request.getfixturevalue("postgresql_folder")
    name = f"test_{secrets.token_hex(6)}"
    yield new_postgresql(folder, name)
    postgresql.drop_database(folder, name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plane(store_url: str, tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "control", store=store_url) as running:
        yield running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Give a real control plane of the test's own."""
    running = Running(tmp_path / "control")
    yield running
    running.end()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Give a real control plane that the tests of a module share: each takes addresses of its own."""
    running = Running(tmp_path_factory.mktemp("shared") / "control")
    yield running
    running.end()
