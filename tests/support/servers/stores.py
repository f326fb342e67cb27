"""Empty stores with their tables, copied for each test: making the tables takes longer than most of the tests."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from authz.control.store.database import migrate
from support.servers import postgresql

_TEMPLATE = "tables"


@functools.cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        migrate(f"sqlite:///{path}")
        return path.read_bytes()


@functools.cache
def _postgresql_template(folder: str) -> str:
    migrate(postgresql.new_database(folder, _TEMPLATE))
    return _TEMPLATE


def new_sqlite(path: Path) -> str:
    """Write a store to a file, and return its URL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_sqlite_template())
    return f"sqlite:///{path}"


def new_postgresql(folder: str, name: str) -> str:
    """Make a store in a database of a server, and return its URL."""
    return postgresql.new_database(folder, name, template=_postgresql_template(folder))
