"""The thread that gathers and sends. Several control planes may run it; the one with the lease sends."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from authz.control.model import MICROSECONDS
from authz.control.notify.outbox import GIVE_UP, Waiting, due_messages, gather, put_off, taken
from authz.control.notify.webhook import NotTaken, send
from authz.control.problems import Problem

if TYPE_CHECKING:
    from authz.control.notify.config import Notify
    from authz.control.publish.lease import Lease
    from authz.control.store.database import Store

_LOOK: Final = 1.0  # seconds between looks
_LOG = logging.getLogger("authz.control.notify")


class Sender:
    """Sends what waits in the outbox."""

    def __init__(self, notify: Notify, store: Store, lease: Lease) -> None:
        self._channels = {channel.name: channel for channel in notify.channels}
        self._store = store
        self._lease = lease
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        """Begin to send, where there is a channel."""
        if self._channels:
            self._thread.start()

    def close(self) -> None:
        """End: what is being sent is finished first. A second call is harmless."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join(15.0)
        self._lease.close()

    def send_due(self) -> None:
        """Gather what has waited long enough, and send what is due. A channel that fails has the others go on."""
        now = self._store.now()
        with self._store.writing() as tx:
            gather(tx, now)
        with self._store.reading() as tx:
            due = due_messages(tx, now)
        failing: set[str] = set()
        for one in due:
            if self._end.is_set():
                return
            if one.channel not in failing and not self._send(one):
                failing.add(one.channel)

    def _send(self, waiting: Waiting) -> bool:
        channel = self._channels.get(waiting.channel)
        try:
            if channel is None:
                raise NotTaken("the configuration has no such channel")
            send(channel, waiting.delivery, waiting.content, self._store.now() // MICROSECONDS)
        except (NotTaken, OSError) as error:
            _LOG.warning("%s: %s not sent (try %d): %s", waiting.channel, waiting.delivery, waiting.tries + 1, error)
            old = self._store.now() - waiting.created > GIVE_UP
            with self._store.writing() as tx:
                taken(tx, waiting) if old else put_off(tx, waiting, self._store.now())
            return False
        with self._store.writing() as tx:
            taken(tx, waiting)
        return True

    def _run(self) -> None:
        while not self._end.wait(_LOOK):
            try:
                if self._lease.held():
                    self.send_due()
            except (Problem, OSError) as error:
                _LOG.warning("cannot send: %s", error)
            except Exception:  # noqa: BLE001  # a fault of ours must not end sending for good
                _LOG.exception("cannot send")
