"""What keeper and workers say to their supervisor: whole messages or a fault, and none that keep others waiting."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.processes import PATIENCE
from support.sidecar.running import config, write
from support.suite.descriptors import descriptors

from authz.errors import StartError
from authz.serve.config.config import load_config
from authz.serve.workers.channel import Channel, Message
from authz.serve.workers.share import LAYER
from authz.serve.workers.spread import Spread, Table
from authz.serve.workers.supervisor import KEEPER, Supervisor, _Child
from authz.serve.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.publishing.publisher import Publisher


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


def idle() -> Supervisor:
    """Return a supervisor of a worker that does nothing."""
    return Supervisor(
        1, lambda _number, _channel: 0, 0.0, lambda *_: None, None, lambda: None, lambda _: None, lambda: None
    )


def test_a_message_without_all_of_its_descriptors_is_a_fault(ends: tuple[Channel, Channel]) -> None:
    """Where a worker had none left it was taken for a whole one."""
    one, other = ends
    before = descriptors()
    one.send(Message(LAYER, {}, [one.fileno()] * 252))  # more than are taken
    with pytest.raises(OSError, match="without all of its descriptors"):
        list(other.receive())
    assert descriptors() <= before


@pytest.mark.parametrize("data", [b"\0", b"\0{", b"\0[1]", b"\0[1,2,3]", b"\x007", b"\1", b"\1x"])
def test_a_message_that_cannot_be_read_is_a_fault_of_who_sent_it(data: bytes) -> None:
    """It ended the supervisor, and with it every worker."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel, before = Channel(receiver), descriptors()
    sender.send(data)
    with pytest.raises(OSError, match="cannot be read"):
        list(channel.receive())
    assert descriptors() <= before
    sender.close()
    channel.close()


def test_who_sends_without_a_pause_keeps_nobody_else_waiting(ends: tuple[Channel, Channel]) -> None:
    """The supervisor took messages for as long as any came: no sign of life for systemd, nobody replaced."""
    one, other = ends
    assert one.send(Message("report", {}))
    taken = 0
    for _ in other.receive():
        taken += 1
        assert taken < 1000
        assert one.send(Message("report", {}))  # each is followed by another
    assert taken > 1
    assert [message.kind for message in other.receive()] == ["report"]


def test_a_child_of_whose_words_one_is_lost_is_ended() -> None:
    """A layer for which the supervisor had no descriptor left reached no worker, and the keeper took it for given."""
    supervisor = idle()
    ours, theirs = Channel.pair()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        theirs.send(Message(LAYER, {}, [theirs.fileno()] * 252))
        supervisor._listen(_Child(KEEPER, process.pid, ours))
        assert process.wait(PATIENCE) == -9
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, Message("report", {})),
        (1, Message("report", None)),
        (KEEPER, Message(LAYER, {})),
        (KEEPER, Message("dead", {"metrics": []})),
        (KEEPER, Message("failed", ["x"])),
    ],
    ids=["an empty report", "a report of nothing", "a layer without a name", "the dead of nobody", "a failure"],
)
def test_a_message_without_its_keys_ends_who_sent_it_and_nobody_else(number: int, message: Message) -> None:
    """It ended the supervisor, and with it every worker."""
    supervisor, before = idle(), descriptors()
    supervisor._untold = [Message("died", {"death": 1})]
    ours, theirs = Channel.pair()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        theirs.send(message._replace(descriptors=[theirs.fileno()]))
        supervisor._listen(_Child(number, process.pid, ours))
        assert process.wait(PATIENCE) == -9
    ours.close()
    theirs.close()
    assert descriptors() <= before


def test_where_no_process_can_be_started_those_that_run_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no process or memory left for the successor of one worker, all of them ended."""
    supervisor, before = idle(), descriptors()
    results: list[int | OSError] = [BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))] * 2

    def fork() -> int:
        result = results.pop(0)
        if isinstance(result, OSError):
            raise result
        return result

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(StartError, match="Resource temporarily unavailable"):
        supervisor._start(1)  # of a sidecar that does not serve yet
    supervisor._serving = True
    supervisor._start(1)
    assert list(supervisor._due) == [1]
    assert descriptors() <= before
    results.append(os.getpid())
    supervisor._due[1] = 0.0
    supervisor._look(time.monotonic())
    assert not supervisor._due
    assert supervisor._children[1].pid == os.getpid()
    supervisor._children[1].channel.close()
    assert descriptors() <= before


def test_a_child_whose_start_takes_long_says_that_it_lives(publisher: Publisher, ends: tuple[Channel, Channel]) -> None:
    """It was killed as one that hangs after 30 seconds, and its successors as well."""
    ours, theirs = ends
    publisher.publish()
    settings = load_config(write(publisher.folder, config("poll: 1h")), {})
    door, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def heard() -> None:
        worker = Worker(settings, lambda: settings, theirs, {}, 1, 1, Spread(Table(1), 0, [door], own))
        start = asyncio.create_task(worker.start())  # which waits for a keeper that has not loaded yet
        kinds: list[str] = []
        while kinds.count("alive") < 2:
            await asyncio.sleep(0.05)
            kinds += [message.kind for message in ours.receive()]
        assert not start.done()
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await start

    asyncio.run(asyncio.wait_for(heard(), PATIENCE))
    door.close()
    own.close()
