"""With every descriptor in use no ban is lost, and clients cannot use them all up."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import Process, Sidecar, wait_for
from support.sidecar.running import DENIED, NEW_POLICY, config, get, write
from support.suite.descriptors import descriptors

from authz.serve.listeners.descriptors import RESERVE, Descriptors

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /proc are Linux's")


def descriptors_of(process: Process) -> list[int]:
    return sorted(int(path.name) for path in Path(f"/proc/{process.popen.pid}/fd").iterdir())


def watches(process: Process) -> bool:
    """Return whether it watches the folder of its snapshot: the last that it does at its start."""
    folder = Path(f"/proc/{process.popen.pid}/fd")
    return any(str(path.readlink()) == "anon_inode:inotify" for path in folder.iterdir())


def limit(process: Process, soft: int) -> None:
    _, hard = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_ban_is_not_lost_where_no_descriptor_is_left(publisher: Publisher) -> None:
    """The failure counted as the file's own, and the same file was never tried again."""
    publisher.publish()
    with Sidecar(publisher.folder, config()) as sidecar:  # which polls once an hour
        before = resource.prlimit(sidecar.popen.pid, resource.RLIMIT_NOFILE)[0]
        limit(sidecar, 0)
        publisher.publish(NEW_POLICY)
        sidecar.wait_for_line("refused .*: unreadable: .*: Too many open files; serial 1 serves on")
        limit(sidecar, before)
        sidecar.wait_for_line("loaded serial 2")


def test_connections_are_refused_before_descriptors_run_out(publisher: Publisher) -> None:
    publisher.publish()
    with Sidecar(publisher.folder, config()) as sidecar, contextlib.ExitStack() as clients:
        wait_for(lambda: watches(sidecar), "all descriptors of a sidecar at rest")
        room = 10
        limit(sidecar, descriptors_of(sidecar)[-1] + 1 + room + RESERVE)
        connections = []
        for _ in range(100):
            connection = clients.enter_context(socket.create_connection(("127.0.0.1", sidecar.ports["http"])))
            connection.settimeout(20)
            with contextlib.suppress(ConnectionError):
                connection.sendall(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {DENIED}\r\n\r\n".encode())
            connections.append(connection)
        answered = 0
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                answered += connection.recv(12) == b"HTTP/1.1 403"
        assert room // 2 <= answered < room + RESERVE  # a copy that is just being written takes a few

        publisher.publish(NEW_POLICY)
        sidecar.wait_for_line("loaded serial 2")
        assert "refused" not in sidecar.output

        clients.close()

        def decided() -> bool:
            with contextlib.suppress(AssertionError, ConnectionError):  # refused: not all of them are closed yet
                return get(sidecar.ports["http"], "/v1/auth", DENIED).status == 200
            return False

        wait_for(decided, "descriptors are free again")


def test_the_limit_of_descriptors_is_raised_at_the_start(publisher: Publisher) -> None:
    publisher.publish()
    write(publisher.folder, config())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    command = f"ulimit -Sn 256; exec {sys.executable} -m authz serve --config authz.yaml"
    with Process(["sh", "-c", command], cwd=publisher.folder) as process:
        process.wait_for_line("authz: serving")
        assert resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_a_limit_that_is_too_low_for_the_connections_is_told_at_the_start(publisher: Publisher) -> None:
    publisher.publish()
    write(publisher.folder, config())
    command = f"ulimit -n 256; exec {sys.executable} -m authz serve --config authz.yaml"
    with Process(["sh", "-c", command], cwd=publisher.folder) as process:
        process.wait_for_line("authz: serving")
        assert (
            "descriptors: found a limit of 256, expected 5216 for the connections that are configured" in process.output
        )


def test_looking_for_descriptors_leaves_none_behind() -> None:
    before = descriptors()
    looking = Descriptors()
    assert not looking.scarce()
    looking.close()
    looking.close()
    assert descriptors() <= before
