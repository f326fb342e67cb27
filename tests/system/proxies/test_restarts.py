"""Restarts of the sidecar behind a real Envoy and a real nginx, under traffic, without a failed request."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pytest
from support.processes import PATIENCE, Process, Sidecar, free_port, wait_for
from support.proxies.client import Traffic, ask
from support.proxies.stack import BAD, POLICY, STACKS, EnvoyStack, NginxStack

from benchmarks.load.paced import missing_paced, paced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.proxies.stack import Stack

ROUNDS = 3
_MAX_CONNECTIONS = 450  # connections that requests wait on: nginx takes 1,024, and each of them has one to the sidecar
# Takes the sockets of systemd's variables, as systemd hands them over: from descriptor 3 on.
HOLDER = """\
import os, sys
os.environ["LISTEN_PID"] = str(os.getpid())
for number, descriptor in enumerate(map(int, sys.argv[1].split(","))):
    os.dup2(descriptor, 100 + number)
for number in range(len(sys.argv[1].split(","))):
    os.dup2(100 + number, 3 + number)
    os.close(100 + number)
os.execv(sys.executable, [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"])
"""


def traffic_is_fine(traffic: Traffic) -> None:
    assert traffic.failures == []
    assert {reply.status for reply in traffic.replies} == {200}


@pytest.fixture(params=[*(name for name in STACKS if not name.endswith("header")), "nginx tls"])
def overlapping(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A proxy without a sidecar yet, whose sidecars may overlap."""
    changed = [("drain: 0s", "drain: 500ms\noverlap: true"), ("127.0.0.1:0", f"127.0.0.1:{free_port()}")]
    proxy, over = request.param.split()
    stack = {"envoy": EnvoyStack, "nginx": NginxStack}[proxy](tmp_path, over, changed)
    stack.publisher.publish(POLICY)
    with stack:
        yield stack


def test_the_very_same_configuration_twice_and_no_request_fails(overlapping: Stack) -> None:
    stack = overlapping
    with contextlib.ExitStack() as running:
        old = running.enter_context(stack.start_sidecar())
        wait_for(lambda: stack.ask("/shop/").status == 200, "the first answer")
        with Traffic(stack.client, "/shop/") as traffic:
            traffic.wait_for_more(100)
            for _ in range(ROUNDS):
                new = running.enter_context(stack.start_sidecar())
                traffic.wait_for_more(50)
                os.kill(old.pid, signal.SIGTERM)
                assert old.wait() == 0
                traffic.wait_for_more(100)
                assert ask(new.ports["admin"], "/readyz").status == 200
                old = new
        traffic_is_fine(traffic)


@pytest.mark.long
def test_at_500_requests_a_second_no_restart_fails_one(overlapping: Stack) -> None:
    stack = overlapping
    with contextlib.ExitStack() as running:
        old = [running.enter_context(stack.start_sidecar())]

        def restart() -> None:
            new = running.enter_context(stack.start_sidecar())
            time.sleep(1.0)
            os.kill(old[-1].pid, signal.SIGTERM)
            assert old.pop().wait() == 0
            old.append(new)

        no_request_fails_at_500_a_second(stack, restart)


def no_request_fails_at_500_a_second(stack: Stack, restart: Callable[[], None]) -> None:
    """Send requests that are due every 2 ms, whatever became of those before, and restart meanwhile.

    They are denied, so no application is behind.
    """
    reason = missing_paced()
    if reason is not None:
        pytest.skip(reason)
    seconds, restarts, series = 30.0, 0, stack.folder / "series"
    wait_for(lambda: stack.ask("/shop/").status == 200, "the first answer")
    url = f"http://127.0.0.1:{stack.edge_port}/shop/"
    headers = [("Host", "test.example.com"), ("X-Forwarded-For", BAD)]
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(paced, url, 500.0, seconds, headers=headers, series=series, most=_MAX_CONNECTIONS)
        while not load.done():
            time.sleep(1.0)
            restart()
            restarts += 1
        result = load.result()
    print(f"{restarts} restarts, {result}")  # noqa: T201  # the figures of the page
    assert restarts >= 3
    assert result.sent == result.answered == 500 * seconds
    assert {line.split()[2] for line in series.read_text().splitlines()} == {"403"}


@pytest.fixture(params=["envoy tcp", "envoy unix", "nginx tcp", "nginx unix"])
def patient(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A proxy without a sidecar yet, that waits longer for an answer than a start takes."""
    stack = STACKS[request.param](tmp_path, changed=[("drain: 0s", "drain: 100ms")])  # type: ignore[call-arg]
    stack.publisher.publish(POLICY)
    with stack:
        yield stack


class Held:
    """Sockets that outlive the sidecar, as those of a systemd unit do, and a place for its notifications."""

    def __init__(self, stack: Stack, front: str) -> None:
        self.stack = stack
        self.path = stack.folder / "notify.sock"
        where = getattr(stack.config(), front).listen
        self.listening = socket.socket(socket.AF_INET if where.path is None else socket.AF_UNIX)
        if where.path is None:
            self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind((where.host, where.port) if where.path is None else str(where.path))
        if where.path is not None:
            where.path.chmod(0o666)
        self.listening.listen(1024)
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(self.path))
        self.notified.settimeout(PATIENCE)

    def start(self, **more: str) -> Process:
        """Start a sidecar with these sockets, and wait until it says READY."""
        descriptor = self.listening.fileno()
        os.set_inheritable(descriptor, True)
        environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(self.path), **more}
        (self.stack.folder / "authz.yaml").write_text(self.stack.sidecar_config)
        command = [sys.executable, "-c", HOLDER, str(descriptor)]
        process = Process(command, cwd=self.stack.folder, env=environment, pass_fds=(descriptor,))
        self.wait_for("READY=1")
        return process

    def wait_for(self, line: str) -> list[str]:
        """Return the notification that has this line."""
        while True:
            lines = self.notified.recv(4096).decode().split("\n")
            if line in lines:
                return lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.close()
        self.notified.close()


def test_stop_then_start_with_the_sockets_of_systemd_and_no_request_fails(patient: Stack) -> None:
    stack, front = patient, "grpc" if patient.proxy == "envoy" else "http"
    with Held(stack, front) as held, contextlib.ExitStack() as running:
        process = running.enter_context(held.start())
        wait_for(lambda: stack.ask("/shop/").status == 200, "the first answer")
        with Traffic(stack.client, "/shop/") as traffic:
            for _ in range(ROUNDS):
                traffic.wait_for_more(100)
                os.kill(process.pid, signal.SIGTERM)
                assert "STATUS=draining" in held.wait_for("STOPPING=1")
                assert process.wait() == 0
                process = running.enter_context(held.start())
            traffic.wait_for_more(100)
        traffic_is_fine(traffic)
        assert held.listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        if stack.proxy == "envoy" and held.listening.family == socket.AF_UNIX:
            assert (stack.folder / stack.SOCKET).is_socket()  # type: ignore[attr-defined]  # of both stacks


@pytest.mark.long
def test_at_500_requests_a_second_no_stop_and_start_with_held_sockets_fails_one(patient: Stack) -> None:
    with Held(patient, "grpc" if patient.proxy == "envoy" else "http") as held, contextlib.ExitStack() as running:
        process = [running.enter_context(held.start())]

        def restart() -> None:
            os.kill(process[-1].pid, signal.SIGTERM)
            assert process.pop().wait() == 0
            process.append(running.enter_context(held.start()))

        no_request_fails_at_500_a_second(patient, restart)


def test_a_socket_that_no_listener_has_ends_the_start(tmp_path: Path) -> None:
    stack = STACKS["nginx tcp"](tmp_path)
    with stack, socket.create_server(("127.0.0.1", 0)) as other:
        (tmp_path / "authz.yaml").write_text(stack.sidecar_config)
        os.set_inheritable(other.fileno(), True)
        command = [sys.executable, "-c", HOLDER, str(other.fileno())]
        environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "metrics"}
        with Process(command, cwd=tmp_path, env=environment, pass_fds=(other.fileno(),)) as process:
            assert process.wait() == 2
            port = other.getsockname()[1]
            assert f"LISTEN_FDS: found a socket 'metrics' at 127.0.0.1:{port} that no listener has" in process.output


def test_the_watchdog_of_systemd_is_told_and_a_reload_is_announced(tmp_path: Path) -> None:
    stack = STACKS["nginx tcp"](tmp_path)
    stack.publisher.publish(POLICY)
    with stack, Held(stack, "http") as held, held.start(WATCHDOG_USEC="500000") as process:
        for _ in range(3):
            held.wait_for("WATCHDOG=1")
        os.kill(process.pid, signal.SIGHUP)
        held.wait_for("RELOADING=1")
        assert "STATUS=ready" in held.wait_for("READY=1")


def test_a_draining_sidecar_says_close_and_goaway_while_its_port_still_accepts(tmp_path: Path) -> None:
    stack = STACKS["nginx tcp"](tmp_path, changed=[("drain: 0s", "drain: 1h")])  # type: ignore[call-arg]
    stack.publisher.publish(POLICY)
    with stack, stack.start_sidecar() as sidecar:
        port: Any = sidecar.ports["http"]
        assert "connection" not in ask(port, "/v1/auth/shop").headers
        os.kill(sidecar.pid, signal.SIGTERM)
        wait_for(lambda: ask(port, "/readyz").status == 503)
        assert ask(port, "/v1/auth/shop").headers["connection"] == "close"
        os.kill(sidecar.pid, signal.SIGTERM)
        assert sidecar.wait() == 0


def test_an_overlap_that_is_not_configured_is_refused(tmp_path: Path) -> None:
    stack = STACKS["nginx tcp"](tmp_path)
    stack.publisher.publish(POLICY)
    with stack, stack.start_sidecar(), pytest.raises(AssertionError, match="Address already in use"):
        Sidecar(tmp_path, stack.sidecar_config)
