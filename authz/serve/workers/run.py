"""`workers: N` from the configuration to running processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING

import msgspec
import uvloop

from authz.errors import AuthzError
from authz.serve.config.reload import merge
from authz.serve.listeners.bind import bind, inode
from authz.serve.observe.log.file import LogFile
from authz.serve.workers.channel import Message
from authz.serve.workers.keeper import Keeper
from authz.serve.workers.spread import FRONTS, Spread, Table
from authz.serve.workers.supervisor import KEEPER, Supervisor
from authz.serve.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from authz.serve.config.config import Config
    from authz.serve.config.values import Listen
    from authz.serve.listeners.systemd import Passed
    from authz.serve.workers.channel import Channel


def serve_with_workers(
    config: Config,
    workers: int,
    read: Callable[[], Config],
    passed: Passed,
    tell: Callable[..., None],
    watchdog: float | None,
) -> None:
    """Serve with several workers until SIGTERM or SIGINT. Raises StartError."""
    family = _Family(config, workers, read, passed)
    passed.check_all_taken()
    LogFile.lock = os.memfd_create("authz-log-lock", os.MFD_CLOEXEC)
    supervisor = Supervisor(
        workers,
        family.run,
        config.drain,
        tell,
        watchdog,
        family.release,
        lambda number: family.table.forget(number - 1),
        family.reload,
    )
    supervisor.serve()
    family.remove_paths()
    logging.getLogger("authz").info("ended")


class _Family:
    """The sockets that the children have in common, and what each of them runs."""

    def __init__(self, config: Config, workers: int, read: Callable[[], Config], passed: Passed) -> None:
        self._config = config
        self._workers = workers
        self._read = read
        self.table = Table(workers)
        self._given: set[str] = set()  # listeners whose sockets are systemd's
        self._doors = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
        for one, other in self._doors:
            one.setblocking(False)
            other.setblocking(False)
        self._fronts = {name: self._bind(name, passed, workers) for name in FRONTS}
        self._admin = self._bind("admin", passed, 1)
        self._inodes = {path: inode(path) for path in self._paths()}

    def _bind(self, name: str, passed: Passed, number: int) -> list[socket.socket]:
        """Return a socket for each process; one for all where it is passed to us, or has a path."""
        settings = getattr(self._config, name)
        where: Listen = settings.listen
        if where.path is None and where.host is None:
            return []
        given = passed.take(name, where)
        if given is not None:
            self._given.add(name)
            return [given] * number
        if where.path is not None or number == 1:
            return [bind(name, where, mode=settings.unix_mode, overlap=self._config.overlap)] * number
        if not self._config.overlap:
            probe = bind(name, where, mode=0, overlap=False)  # in use by somebody else?
            where = msgspec.structs.replace(where, port=probe.getsockname()[1])
            probe.close()
        first = bind(name, where, mode=0, overlap=True)
        same = msgspec.structs.replace(where, port=first.getsockname()[1])
        return [first, *(bind(name, same, mode=0, overlap=True) for _ in range(number - 1))]

    def reload(self) -> None:
        """Read the configuration again, so that a child that is replaced later has what the others have."""
        with contextlib.suppress(AuthzError):  # those that run say so, and stay as they are
            self._config, _ = merge(self._config, self._read())

    def release(self) -> None:
        """Close our copies of what is listened on, so that it ends with the children's."""
        for listener in {*self._admin, *(listener for all_of in self._fronts.values() for listener in all_of)}:
            listener.close()

    def remove_paths(self) -> None:
        """Remove the unix sockets that are ours, and not a successor's by now."""
        for path, number in self._inodes.items():
            if number is not None and inode(path) == number:
                path.unlink()

    def _paths(self) -> list[Path]:
        """Return the unix sockets that we have bound."""
        listens = {name: getattr(self._config, name).listen.path for name in (*FRONTS, "admin")}
        return [path for name, path in listens.items() if path is not None and name not in self._given]

    def run(self, number: int, channel: Channel) -> int:
        """Run a child; in its own process. Returns the exit status."""
        role = "keeper" if number == KEEPER else f"worker {number}"
        for handler in logging.getLogger().handlers:
            handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)s %(name)s: {role}: %(message)s"))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._live(number, channel))
        except AuthzError as error:
            channel.send(Message("failed", {"message": error.message, "hint": error.hint}))
            return 2
        return 0

    async def _live(self, number: int, channel: Channel) -> None:
        if number == KEEPER:
            self._close_but(None)
            admin = self._admin[0] if self._admin else None
            child: Keeper | Worker = Keeper(self._config, self._read, channel, admin, self._workers)
        else:
            own = number - 1
            self._close_but(own)
            spread = Spread(self.table, own, [door for door, _ in self._doors], self._doors[own][1])
            sockets = {name: bound[own] for name, bound in self._fronts.items() if bound}
            child = Worker(self._config, self._read, channel, sockets, number, self._workers, spread)
        await child.start()
        await child.run_until_signal()

    def _close_but(self, own: int | None) -> None:
        """Close the sockets of others. own: number of the worker that we are, from 0."""
        keep = {bound[own] for bound in self._fronts.values() if bound} if own is not None else set(self._admin)
        for listener in {*self._admin, *(listener for bound in self._fronts.values() for listener in bound)} - keep:
            listener.close()
