"""Real clients of gRPC beside a sidecar that is restarted: no call fails, whatever the client does with its calls."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import Process, Sidecar, free_port, wait_for
from support.publishing.publisher import Publisher
from support.sidecar.clients import client_command

from authz.wire.envoy.v3.check_pb2 import CheckRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = ("go", "js", "rust", "java", "python")
POLICY = "version: 1\nentries:\n  - {id: bad, list: deny, networks: [203.0.113.0/24]}\n"
ALLOWED, DENIED = "192.0.2.7", "203.0.113.9"
RESTARTS = 2
WORKERS = 8  # of each client
CALLS = 200  # of each client, between two restarts


def config(port: int, admin: int) -> str:
    return (
        "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1h}\n"
        f'grpc: {{listen: "127.0.0.1:{port}"}}\n'
        f'http: {{listen: "off"}}\nadmin: {{listen: "127.0.0.1:{admin}"}}\n'
        "decision_log: {path: 'off'}\napplication: {unknown: default}\noverlap: true\ndrain: 500ms\n"
    )


def question(client: str) -> str:
    request = CheckRequest()
    request.attributes.source.address.socket_address.address = client.encode()
    request.attributes.request.http.path = b"/"
    return request.SerializeToString().hex()


def calls_of(client: Process) -> int:
    return max((int(number) for number in re.findall(r"^calls (\d+)$", client.output, re.MULTILINE)), default=0)


def wait_for_more(clients: dict[str, Process], calls: int = CALLS) -> None:
    """Wait until each client has had so many more answers."""
    before = {name: calls_of(client) for name, client in clients.items()}
    for name, client in clients.items():
        wait_for(lambda client=client, name=name: calls_of(client) >= before[name] + calls, f"{name} goes on",  # type: ignore[misc]
                 patience=60)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clients")
    Publisher(path).publish(POLICY)
    return path


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what became of the calls of each client that is built, over restarts of the sidecar."""
    port, text = free_port(), ""
    text = config(port, free_port())
    commands = {}
    for name in CLIENTS:
        with contextlib.suppress(pytest.skip.Exception):
            commands[name] = client_command(name)
    with contextlib.ExitStack() as running:
        sidecar = running.enter_context(Sidecar(folder, text))
        arguments = [f"127.0.0.1:{port}", question(ALLOWED), question(DENIED)]
        clients = {
            name: running.enter_context(Process([*command, *arguments], cwd=folder))
            for name, command in commands.items()
        }
        wait_for_more(clients)
        for _ in range(RESTARTS):
            following = running.enter_context(Sidecar(folder, text))
            os.kill(sidecar.pid, signal.SIGTERM)
            assert sidecar.wait() == 0
            wait_for_more(clients)
            sidecar = following
        for client in clients.values():
            client.popen.send_signal(signal.SIGTERM)
        for name, client in clients.items():
            assert client.wait() == 0, f"{name}: {client.output}"
        return {name: json.loads(client.lines[-1] or client.lines[-2]) for name, client in clients.items()}


@pytest.mark.parametrize("name", CLIENTS)
def test_no_call_fails_in_a_rolling_restart(reports: dict[str, dict[str, Any]], name: str) -> None:
    client_command(name)  # skips where it is not built
    report = reports[name]
    assert report["failed"] == []
    assert report["wrong"] == 0
    assert report["calls"] > CALLS * (RESTARTS + 1)
    assert report.get("again", 0) <= RESTARTS * WORKERS  # tonic: never sent by hyper, see clients/README.md


@pytest.mark.parametrize("name", CLIENTS)
def test_calls_were_cancelled_and_compressed_meanwhile(reports: dict[str, dict[str, Any]], name: str) -> None:
    client_command(name)
    assert reports[name]["cancelled"] > 0
    assert reports[name]["compressed"] > 10


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    port = free_port()
    with Sidecar(folder, config(port, free_port())):
        yield port


def grpcurl(port: int, *arguments: str, data: str = "") -> str:
    command = [*client_command("grpcurl"), "-plaintext", *(["-d", data] if data else []), f"127.0.0.1:{port}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_lists_services_by_reflection(port: int) -> None:
    assert "envoy.service.auth.v3.Authorization" in grpcurl(port, "list").split()
    assert "SERVING" in grpcurl(port, "grpc.health.v1.Health/Check")


def test_grpcurl_asks_and_shows_the_decision(port: int) -> None:
    address = {"socketAddress": {"address": DENIED}}
    data = json.dumps({"attributes": {"source": {"address": address}, "request": {"http": {"path": "/"}}}})
    answer = json.loads(grpcurl(port, "envoy.service.auth.v3.Authorization/Check", data=data))
    assert answer["status"]["code"] == 7
    assert answer["denied_response"]["status"]["code"] == 403
