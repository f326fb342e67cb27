"""Telling that something was written: in this process, and (PostgreSQL) in the others by LISTEN and NOTIFY.

A signal may come twice or for nothing; whoever gets one looks into the store. If one is lost with a connection, a slow
poll finds the change.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from authz.control.store.database import Store

Topic = Literal["changed", "published"]
_CHANNEL: Final = "authz"
_LOG = logging.getLogger("authz.control.signals")


class Signals:
    """Who wants to know what. Called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: dict[Topic, list[Callable[[], object]]] = {"changed": [], "published": []}
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, topic: Topic, call: Callable[[], object]) -> None:
        """Call `call` at each signal, from whatever thread; it must return at once."""
        self._wanted[topic].append(call)

    def announce(self, tx: Connection, topic: Topic) -> None:
        """Tell the other processes, once the transaction is committed."""
        if self._store.is_postgresql:
            tx.execute(text("SELECT pg_notify(:channel, :topic)"), {"channel": _CHANNEL, "topic": topic})

    def wake(self, topic: Topic) -> None:
        """Tell this process; after the commit."""
        for call in self._wanted[topic]:
            call()

    def start(self) -> None:
        """Listen to the other processes, where there can be some."""
        if self._store.is_postgresql:
            self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End. A second call is harmless."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(5.0)

    def _listen(self) -> None:
        while not self._end.is_set():
            try:
                self._listen_once()
            except Exception as error:  # noqa: BLE001  # psycopg has errors of its own; the store may be away for a while
                _LOG.warning("cannot listen to the store: %s", error)
                self._end.wait(1.0)

    def _listen_once(self) -> None:
        raw = self._store.engine.raw_connection()
        try:
            connection = raw.driver_connection
            if connection is None:
                raise SQLAlchemyError("no connection")
            connection.autocommit = True
            connection.execute(f"LISTEN {_CHANNEL}")
            for topic in self._wanted:  # what was told before we listened
                self.wake(topic)
            while not self._end.is_set():
                for note in connection.notifies(timeout=0.5):
                    self.wake("published" if note.payload == "published" else "changed")
        finally:
            raw.invalidate()
