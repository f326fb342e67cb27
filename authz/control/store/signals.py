"""Telling that something was written: in this process, and (PostgreSQL) in the others by LISTEN and NOTIFY.

A signal may come twice or for nothing; who gets one looks into the store. Should one be lost with a connection, a slow
look finds it. The signal of a change names the layers that changed: who cares for one layer is not woken for others.
Each names who sends it, who has told its own process already:

    changed 5f1c09aa bans policy
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from typing import TYPE_CHECKING, Final, Literal

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from sqlalchemy import Connection

    from authz.control.model.records import Change
    from authz.control.store.database import Store

Topic = Literal["changed", "published", "triggers"]  # entries and documents; files; triggers and their breakers
_CHANNEL: Final = "authz"
_LOG = logging.getLogger("authz.control.signals")


class Writing:
    """A transaction that may write, and tells who follows what it changed.

    Attributes:
        tx: The transaction.
        told: What is signalled once it is committed.
    """

    def __init__(self, tx: Connection, signals: Signals) -> None:
        self.tx = tx
        self.told: list[tuple[Topic, Collection[str]]] = []
        self._signals = signals

    def tell(self, topic: Topic, layers: Collection[str] = ()) -> None:
        """Signal a topic. layers: that changed; none: any may have."""
        self._signals.announce(self.tx, topic, layers)
        self.told.append((topic, layers))

    def tell_changes(self, changes: Iterable[Change]) -> None:
        """Signal the layers of changes; without any, nothing."""
        if layers := {change.layer for change in changes}:
            self.tell("changed", layers)


class Signals:
    """Who wants to know what. Called from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._wanted: dict[Topic, list[tuple[str | None, Callable[[], object]]]] = {
            "changed": [], "published": [], "triggers": [],
        }  # fmt: skip
        self._origin = secrets.token_hex(4)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def on(self, topic: Topic, call: Callable[[], object], *, layer: str | None = None) -> None:
        """Call `call` at each signal, from whatever thread; it must return at once. layer: None: whichever it is of."""
        self._wanted[topic].append((layer, call))

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """Give a transaction that may write, as `Store.writing` does; once it is committed, what it told is signalled.

        Raises:
            NotReady: The database is away.
        """
        with self._store.writing() as tx:
            writing = Writing(tx, self)
            yield writing
        for topic, layers in writing.told:
            self.wake(topic, layers)

    def announce(self, tx: Connection, topic: Topic, layers: Iterable[str] = ()) -> None:
        """Tell the other processes, once the transaction is committed. layers: that changed; none: any may have."""
        if self._store.is_postgresql:
            told = " ".join([topic, self._origin, *sorted(layers)])
            tx.execute(text("SELECT pg_notify(:channel, :told)"), {"channel": _CHANNEL, "told": told})

    def wake(self, topic: Topic, layers: Collection[str] = ()) -> None:
        """Tell this process; after the commit. layers: see `announce`."""
        for layer, call in self._wanted[topic]:
            if layer is None or not layers or layer in layers:
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
                    words = note.payload.split()
                    if words[1:2] != [self._origin]:
                        topic = next((topic for topic in self._wanted if words[:1] == [topic]), "changed")
                        self.wake(topic, words[2:])
        finally:
            raw.invalidate()
