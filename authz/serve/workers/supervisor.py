"""The supervisor: binds sockets, starts the keeper and the workers, and replaces those that end.

It decides nothing, loads nothing and has one thread, so that it can fork at any time. It passes messages on, and holds
what a worker that begins needs at once, should the keeper be gone: the latest snapshot of each layer.

    keeper  -> layer, start -> all workers          worker -> report -> keeper
    keeper  -> watch        -> all workers          supervisor -> died -> keeper
    keeper  -> state        -> systemd: whether requests are decided and, if not, why
    keeper  -> dead         -> the next keeper: what those have counted that have ended, and up to which death
    each    -> alive        every second, from the first step of its start on

SIGHUP is blocked where a child is forked, until it can take it: else it would end a child that starts.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final, NoReturn

from authz.errors import StartError
from authz.serve.listeners.systemd import reloading
from authz.serve.workers.channel import Channel, Message
from authz.serve.workers.reports import NOTHING
from authz.serve.workers.share import LAYER

if TYPE_CHECKING:
    from collections.abc import Callable

KEEPER: Final = 0  # its number; workers are 1, 2, …
HUNG: Final = 30.0  # seconds without a message after which a child is killed
_TICK: Final = 0.5  # seconds
_ALL: Final = 1 << 20  # messages; a channel has room for fewer
_SLOWER: Final = 5.0  # seconds; a child that does not live as long is started again a while later
_AGAIN: Final = 1.0  # seconds of that while, and between two tries to start one
_PATIENCE: Final = 10.0  # seconds beyond `drain` that children have to end
_LOG = logging.getLogger("authz")


def _name(number: int) -> str:
    return "the keeper" if number == KEEPER else f"worker {number}"


class _Child:
    """A child that runs, and what it has not yet taken."""

    def __init__(self, number: int, pid: int, channel: Channel) -> None:
        self.number = number
        self.pid = pid
        self.channel = channel
        self.begun = self.heard = time.monotonic()
        self.unsent: dict[str, Message] = {}  # by what a newer one takes the place of
        self.ready = False  # whether it has said that it serves

    @property
    def name(self) -> str:
        return _name(self.number)


class Supervisor:
    """Runs the children until SIGTERM or SIGINT.

    Args:
        workers: How many.
        run: Runs a child, in a process of its own: its number, its channel. Returns its exit status.
        drain: Seconds that children take to end.
        tell: Tells systemd.
        watchdog: Seconds between two signs of life to systemd; None: it wants none.
        release: Closes our own copies of what is listened on; called when the end begins.
        forget: Told the number of a worker that has ended.
        reload: Reads the configuration again, for children that begin later.
    """

    def __init__(
        self,
        workers: int,
        run: Callable[[int, Channel], int],
        drain: float,
        tell: Callable[..., None],
        watchdog: float | None,
        release: Callable[[], None],
        forget: Callable[[int], None],
        reload: Callable[[], None],
    ) -> None:
        self._workers = workers
        self._run = run
        self._drain = drain
        self._tell = tell
        self._watchdog = watchdog
        self._release = release
        self._forget = forget
        self._reload = reload
        self._counted: dict[int, object] = {}  # by each worker, as it has reported last
        self._untold: list[Message] = []  # what the next keeper has to know
        self._deaths = 0  # of workers
        self._children: dict[int, _Child] = {}
        self._due: dict[int, float] = {}  # when a child that ended is to be started again
        self._latest: dict[str, Message] = {}  # what a new worker is told, in order
        self._signals: list[int] = []
        self._ending = 0.0  # when those that are left are killed; 0: we serve
        self._serving = False
        self._state = ""  # as the keeper says it; "": it has not yet
        self._told = 0.0  # when systemd last heard of us

    def serve(self) -> None:
        """Serve until the end. Raises StartError if a child cannot start at all."""
        wake, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(wanted, lambda caught, _: self._signals.append(caught))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        gc.collect()
        gc.freeze()  # what is here stays, and stays shared with the children
        try:
            for number in range(self._workers + 1):
                self._start(number)
            while self._children or self._due:
                self._turn(wake)
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)
            for message in self._latest.values():
                message.close()

    def _turn(self, wake: int) -> None:
        channels = {child.channel.fileno(): child for child in self._children.values()}
        ready, _, _ = select.select([wake, *channels], [], [], _TICK)
        for descriptor in ready:
            if descriptor == wake:
                os.read(wake, 4096)
            else:
                self._listen(channels[descriptor])
        while self._signals:
            self._signalled(self._signals.pop(0))
        self._reap()
        self._look(time.monotonic())

    # Children.

    def _start(self, number: int) -> None:
        try:
            pid, ours = self._fork(number)
        except OSError as error:  # no process, memory or descriptor: those that run go on
            if not self._serving:
                raise StartError(f"workers: cannot start a process: {error.strerror}") from error
            _LOG.error("no process for %s: %s: trying again in %g s", _name(number), error.strerror, _AGAIN)
            self._due[number] = time.monotonic() + _AGAIN
            return
        _LOG.info("%s: pid %d", _name(number), pid)
        child = self._children[number] = _Child(number, pid, ours)
        self._due.pop(number, None)
        if number == KEEPER:
            child.unsent = {f"untold {place}": message for place, message in enumerate(self._untold)}
        else:
            child.unsent = dict(self._latest)
        self._flush(child)

    def _fork(self, number: int) -> tuple[int, Channel]:
        """Return the process id of a new child, and our end of its channel. Raises OSError."""
        ours, theirs = Channel.pair()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            raise
        else:
            if not pid:
                self._become(number, ours, theirs)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
            theirs.close()
        return pid, ours

    def _become(self, number: int, ours: Channel, theirs: Channel) -> NoReturn:
        """Go on as a child."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for handled in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(handled, signal.SIG_DFL)
            ours.close()
            os.close(self._wake)
            for child in self._children.values():
                child.channel.close()
            for message in self._latest.values():
                message.close()
            status = self._run(number, theirs)
        except BaseException:  # noqa: BLE001  # the child ends here, whatever it is
            _LOG.exception("internal error")
        finally:
            with contextlib.suppress(Exception):
                logging.shutdown()
            os._exit(status)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                with contextlib.suppress(EOFError, OSError):
                    for message in child.channel.receive(_ALL):  # what it said last
                        self._take(child, message)
                child.channel.close()
                del self._children[child.number]
                self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, status: int) -> None:
        if self._ending:
            return
        if not self._serving and status == 2:
            raise StartError(self._failure[0], hint=self._failure[1])
        now = time.monotonic()
        how = f"signal {-status}" if status < 0 else f"status {status}"
        wait = 0.0 if now - child.begun > _SLOWER else _AGAIN
        _LOG.error("%s ended (%s): it is replaced%s", child.name, how, f" in {wait:g} s" if wait else "")
        self._due[child.number] = now + wait
        if child.number == KEEPER:
            self._stated("not known: the keeper has ended and is replaced")
            return
        self._forget(child.number)
        self._deaths += 1
        counted = self._counted.pop(child.number, NOTHING)
        died = Message("died", {"worker": child.number, "death": self._deaths, "metrics": counted})
        self._untold.append(died)  # until a keeper says that it has it: this one may be dying with it unread
        keeper = self._children.get(KEEPER)
        if keeper is not None:
            self._send(keeper, died, f"died {self._deaths}")

    _failure = ("a child ended at its start", "")

    # Messages.

    def _listen(self, child: _Child) -> None:
        child.heard = time.monotonic()
        try:
            for message in child.channel.receive():
                self._take(child, message)
        except EOFError:
            pass  # it is about to be reaped
        except OSError as error:  # what it said is lost: its successor says all that there is
            _LOG.error("%s: %s: it is ended", child.name, error.strerror)
            os.kill(child.pid, signal.SIGKILL)

    def _take(self, child: _Child, message: Message) -> None:
        """Take a message of a child. Raises OSError if it lacks what its kind has."""
        try:
            self._understand(child, message)
        except (LookupError, TypeError, AttributeError) as error:
            message.close()
            raise OSError(errno.EBADMSG, f"a message came without what it should have: {message.kind!r:.50}") from error

    def _understand(self, child: _Child, message: Message) -> None:
        if message.kind == "failed":
            self._failure = message.content["message"], message.content["hint"]
        elif message.kind == "alive":
            pass
        elif child.number != KEEPER:
            self._reported(child, message)
        elif message.kind == "state":
            self._stated(message.content["text"])
        elif message.kind == "dead":
            known = message.content["deaths"]
            later = [told for told in self._untold if told.kind == "died" and told.content["death"] > known]
            self._untold = [message, *later]
        else:
            self._broadcast(message)
            return
        message.close()

    def _reported(self, child: _Child, message: Message) -> None:
        child.ready = True
        self._counted[child.number] = message.content["metrics"]
        keeper = self._children.get(KEEPER)
        if keeper is not None:
            self._send(keeper, message._replace(descriptors=()), f"report {child.number}")

    def _stated(self, state: str) -> None:
        """Pass on to systemd whether requests are decided."""
        self._state = state
        if self._serving and not self._ending:
            self._tell(f"STATUS={state}")

    def _broadcast(self, message: Message) -> None:
        """Pass what the keeper says on to all workers, and hold what the next one needs."""
        key = f"{LAYER} {message.content['name']}" if message.kind == LAYER else message.kind
        for child in self._children.values():
            if child.number != KEEPER:
                self._send(child, message, key)
        if message.kind in {LAYER, "start"}:
            before = self._latest.get(key)
            self._latest[key] = message
            for child in self._children.values():  # nobody is to be sent what is closed now
                if before is not None and child.unsent.get(key) is before:
                    child.unsent[key] = message
            if before is not None:
                before.close()
            if "start" in self._latest:
                self._latest["start"] = self._latest.pop("start")  # the last of them
        else:
            message.close()

    def _send(self, child: _Child, message: Message, key: str) -> None:
        child.unsent.pop(key, None)
        child.unsent[key] = message
        self._flush(child)

    def _flush(self, child: _Child) -> None:
        """Send what waits, in order, for as long as it is taken."""
        with contextlib.suppress(OSError):
            for key, message in list(child.unsent.items()):
                if not child.channel.send(message):
                    return
                del child.unsent[key]

    # Time and signals.

    def _look(self, now: float) -> None:
        for number, due in list(self._due.items()):
            if now >= due and not self._ending:
                self._start(number)
        for child in self._children.values():
            self._flush(child)
            if now - child.heard > HUNG and not self._ending:
                _LOG.error("%s hangs: no sign of life for %g seconds", child.name, HUNG)
                os.kill(child.pid, signal.SIGKILL)
                child.heard = now
            if self._ending and now > self._ending:
                os.kill(child.pid, signal.SIGKILL)
        ready = sum(child.ready for child in self._children.values()) == self._workers
        if ready and self._state and not self._serving:
            self._serving = True
            self._tell("READY=1", f"STATUS={self._state}")
            _LOG.info("serving with %d workers%s", self._workers, "" if self._state == "ready" else f", {self._state}")
        if self._watchdog is not None and now - self._told >= self._watchdog:
            self._told = now
            self._tell("WATCHDOG=1")

    def _signalled(self, number: int) -> None:
        if number == signal.SIGCHLD:
            return
        if number != signal.SIGHUP and not self._ending:
            self._ending = time.monotonic() + self._drain + _PATIENCE
            self._due.clear()
            self._tell("STOPPING=1", "STATUS=draining")
            _LOG.info("drain: all workers end")
            self._release()
        told = number == signal.SIGHUP and self._serving and not self._ending  # READY=1 is not said before we are
        if told:
            self._tell(*reloading())
        if number == signal.SIGHUP:
            self._reload()
        for child in self._children.values():
            os.kill(child.pid, signal.SIGTERM if number == signal.SIGINT else number)
        if told:
            self._tell("READY=1", f"STATUS={self._state}")
