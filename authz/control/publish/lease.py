"""One publisher, and one sender of notifications, among all control planes of a store.

Each is an advisory lock of PostgreSQL, or a lock on a file beside SQLite.

Either goes with its holder: the database drops it with the connection, the kernel with the process.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any, Final, Protocol

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from authz.control.store.database import Store

_LOCKS: Final = {"publisher": 0x617574687A, "sender": 0x617574687B}  # "authz", and the next


class Lease(Protocol):
    """The right to publish, or to send."""

    def held(self) -> bool:
        """Return whether it is ours; takes it where it is free."""

    def close(self) -> None:
        """Give it back. A second call is harmless."""


def lease_of(store: Store, role: str = "publisher") -> Lease:
    """Return the lease of a store for a role: `publisher` or `sender`."""
    if store.is_postgresql:
        return _DatabaseLease(store, _LOCKS[role])
    return _FileLease(f"{store.engine.url.database}.{role}")


class _DatabaseLease:
    def __init__(self, store: Store, lock: int) -> None:
        self._store = store
        self._lock = lock
        self._connection: Any = None

    def held(self) -> bool:
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
                return True
            connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError:
            self.close()
            return False
        try:
            if connection.execute(text("SELECT pg_try_advisory_lock(:id)"), {"id": self._lock}).scalar_one():
                self._connection = connection
                return True
        except SQLAlchemyError:
            connection.invalidate()
        connection.close()
        return False

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()  # closes it really: the lock must not go back into the pool
            self._connection.close()
            self._connection = None


class _FileLease:
    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def held(self) -> bool:
        if self._descriptor >= 0:
            return True
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
