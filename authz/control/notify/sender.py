"""The thread that gathers and sends. Several control planes may run it; the one with the lease sends."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from authz.control.model.problems import NotTaken, Problem
from authz.control.model.records import MICROSECONDS
from authz.control.notify.channels.send import send
from authz.control.notify.outbox import Waiting, due_messages, gather, put_off, taken
from authz.control.store.notifications.deliveries import drop_old_deliveries
from authz.errors import InputError

if TYPE_CHECKING:
    from authz.control.notify.config import Notify
    from authz.control.notify.watch import Watch
    from authz.control.publish.lease import Lease
    from authz.control.store.database import Store

_LOOK: Final = 1.0  # seconds between looks
_KEPT: Final = 30 * 86400 * MICROSECONDS  # how long it is known what was told
_LOG = logging.getLogger("authz.control.notify")


class Sender:
    """Sends what waits in the outbox.

    Args:
        notify: The channels.
        store: Where the outbox is.
        lease: The right to send.
        watch: Looks for what is wrong before each round.

    """

    def __init__(self, notify: Notify, store: Store, lease: Lease, watch: Watch | None = None) -> None:
        self._notify = notify
        self._channels = {channel.name: channel for channel in notify.channels}
        self._store = store
        self._lease = lease
        self._watch = watch
        self._answered: set[str] = set()  # deliveries that were taken, and are not noted as such yet
        self._cleaned = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        """Begin to send, if there is a channel."""
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
            gather(tx, self._notify, now)
            if now - self._cleaned > _KEPT // 720:  # hourly
                drop_old_deliveries(tx, now - _KEPT)
                self._cleaned = now
        with self._store.reading() as tx:
            due = due_messages(tx, now)
        failing: set[str] = set()
        for message in due:
            if self._end.is_set():
                return
            if message.channel not in failing and not self._send(message):
                failing.add(message.channel)

    def _send(self, waiting: Waiting) -> bool:
        delivery, channel = waiting.message.delivery, self._channels.get(waiting.channel)
        try:
            if channel is None:
                raise NotTaken("the configuration has no such channel")
            if delivery not in self._answered:
                send(channel, waiting.message, self._store.now() // MICROSECONDS)
                self._answered.add(delivery)
        except (NotTaken, OSError, InputError) as error:
            _LOG.warning("%s: %s not sent (try %d): %s", waiting.channel, delivery, waiting.tries + 1, error)
            return self._put_off(waiting, str(error))
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001  # of a library: one message must not keep all others back
            _LOG.exception("%s: %s not sent (try %d)", waiting.channel, delivery, waiting.tries + 1)
            return self._put_off(waiting, f"internal error: {type(error).__name__}")
        with self._store.writing() as tx:  # should the store be away, it is noted in the next round, and not sent again
            taken(tx, waiting, self._store.now())
        self._answered.discard(delivery)
        return True

    def _put_off(self, waiting: Waiting, error: str) -> bool:
        with self._store.writing() as tx:
            put_off(tx, waiting, error, self._store.now())
        return False

    def _run(self) -> None:
        while not self._end.wait(_LOOK):
            try:
                sending = self._lease.held()
                if self._watch is not None:
                    self._watch.look(of_all=sending)
                if sending:
                    self.send_due()
            except (Problem, OSError) as error:
                _LOG.warning("cannot send: %s", error)
            except Exception:  # noqa: BLE001  # a bug in authz must not stop the sender
                _LOG.exception("cannot send")
