"""Sharing a port or a path with a successor, and leaving it: who is bound behind us gets what comes new."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authz.errors import StartError
from authz.serve.config.values import Listen
from authz.serve.listeners.bind import bind, leave_to_others

if TYPE_CHECKING:
    from collections.abc import Iterator

CONNECTIONS = 48  # of two sockets one has none of so many by chance once in 10 ** 14

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's choice is Linux's")


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def sharing(stack: contextlib.ExitStack, number: int) -> list[socket.socket]:
    """Return so many sockets that listen on one port, in the order in which they were bound."""
    bound: list[socket.socket] = []
    for _ in range(number):
        port = bound[0].getsockname()[1] if bound else 0
        bound.append(bind("http", Listen(host="127.0.0.1", port=port), mode=0, overlap=True))
        stack.enter_context(bound[-1])
    return bound


def waiting(stack: contextlib.ExitStack, bound: list[socket.socket]) -> list[int]:
    """Connect, and return how many connections wait at each socket."""
    address = bound[0].getsockname()
    for _ in range(CONNECTIONS):
        stack.enter_context(socket.create_connection(address, timeout=10))
    counts = [0] * len(bound)
    for number, listening in enumerate(bound):
        with contextlib.suppress(BlockingIOError):
            while True:
                stack.enter_context(listening.accept()[0])
                counts[number] += 1
    assert sum(counts) == CONNECTIONS
    return counts


def test_sockets_that_share_a_port_all_get_connections(stack: contextlib.ExitStack) -> None:
    assert min(waiting(stack, sharing(stack, 2))) > 0


@pytest.mark.parametrize("overlap", [False, True])
def test_an_address_in_use_says_what_overlap_has_to_do_with_it(overlap: bool) -> None:
    """`overlap: true` in one of two processes alone: it was asked whether another authz runs, which was meant."""
    with bind("http", Listen(host="127.0.0.1"), mode=0, overlap=not overlap) as first:
        where = Listen(host="127.0.0.1", port=first.getsockname()[1])
        with pytest.raises(StartError, match="Address already in use") as caught:
            bind("http", where, mode=0, overlap=overlap)
    assert "`overlap: true`" in caught.value.hint
    assert ("that runs without" in caught.value.hint) is overlap


def test_one_that_leaves_gets_none_where_a_successor_listens(stack: contextlib.ExitStack) -> None:
    bound = sharing(stack, 2)
    leave_to_others(bound[0])
    assert waiting(stack, bound) == [0, CONNECTIONS]


def test_workers_that_leave_get_none_and_all_of_their_successors_do(stack: contextlib.ExitStack) -> None:
    bound = sharing(stack, 4)
    for ours in bound[:2]:
        leave_to_others(ours, own=2)
    *old, one, other = waiting(stack, bound)
    assert old == [0, 0]
    assert min(one, other) > 0


def test_without_a_successor_those_that_leave_get_all(stack: contextlib.ExitStack) -> None:
    bound = sharing(stack, 2)
    for ours in bound:
        leave_to_others(ours, own=2)
    assert min(waiting(stack, bound)) > 0


def test_the_next_one_after_a_successor_gets_connections(stack: contextlib.ExitStack) -> None:
    """The program stays on the port when the socket that it was attached to is closed."""
    bound = sharing(stack, 2)
    leave_to_others(bound[0])
    bound[0].close()
    assert waiting(stack, bound[1:]) == [CONNECTIONS]
    third = bind("http", Listen(host="127.0.0.1", port=bound[1].getsockname()[1]), mode=0, overlap=True)
    stack.enter_context(third)
    leave_to_others(bound[1])
    assert waiting(stack, [bound[1], third]) == [0, CONNECTIONS]


def test_two_containers_that_bind_a_path_at_once_take_no_socket_of_each_other(
    stack: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has the process id 1, and both bound beside the path under it: one did not start, or nobody listened."""
    where, second, chmod = Listen(path=tmp_path / "http.sock"), list[socket.socket](), Path.chmod

    def between(path: Path, mode: int) -> None:
        chmod(path, mode)
        monkeypatch.undo()
        second.append(stack.enter_context(bind("http", where, mode=0o600, overlap=True)))

    monkeypatch.setattr(Path, "chmod", between)
    first = stack.enter_context(bind("http", where, mode=0o600, overlap=True))
    assert len(second) == 1
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(str(where.path))
    stack.enter_context(first.accept()[0])
    assert [path.name for path in tmp_path.iterdir()] == ["http.sock"]


def test_a_socket_that_a_killed_process_left_beside_the_path_is_removed(
    tmp_path: Path, stack: contextlib.ExitStack
) -> None:
    """A process that was killed between bind and rename left a file for good, and the next one left another."""
    kept = {".0a1b2c", ".0a1b2d", ".0a1b2e", ".0a1b2c3", "0a1b2c"}
    for name in (*kept - {".0a1b2d"}, ".ffffff"):
        beside = stack.enter_context(socket.socket(socket.AF_UNIX))
        beside.bind(str(tmp_path / name))
        if name == ".0a1b2c":
            beside.listen()  # somebody is there
        if name != ".0a1b2e":  # which is about to listen
            os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".0a1b2d").write_text("no socket")
    os.utime(tmp_path / ".0a1b2d", (0, 0))
    path = tmp_path / "http.sock"
    stack.enter_context(bind("http", Listen(path=path), mode=0o600, overlap=True))
    assert {file.name for file in tmp_path.iterdir()} == {*kept, "http.sock"}
