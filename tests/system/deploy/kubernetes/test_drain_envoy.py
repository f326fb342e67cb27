"""At the end of a pod the sidecar asks Envoy to drain: no answer is cut, and every client is told to go elsewhere."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from support.processes import free_port
from support.proxies.stack import OFFICE, EnvoyStack

if TYPE_CHECKING:
    from pathlib import Path


def drain(*arguments: str) -> tuple[int, str]:
    """Run it as the preStop of the pod does; return the status and what it says."""
    command = [sys.executable, "-m", "authz.serve.grpc.drain_envoy", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_a_drained_envoy_answers_and_says_that_the_connection_ends(tmp_path: Path) -> None:
    with EnvoyStack(tmp_path, "unix") as stack:
        stack.publisher.publish()
        with stack.start_sidecar():
            before = stack.ask("/shop", peer=OFFICE)
            assert (before.status, before.headers.get("connection")) == (200, None)
            assert drain(f"127.0.0.1:{stack.envoy.admin_port}") == (0, "")
            for _ in range(5):  # new connections are taken, and each is told
                after = stack.ask("/shop", peer=OFFICE)
                assert (after.status, after.headers.get("connection")) == (200, "close")
            assert stack.envoy.get("/healthcheck/ok").status in {200, 405}
            assert stack.envoy.popen.poll() is None
            assert drain(f"127.0.0.1:{stack.envoy.admin_port}") == (0, ""), "a second call is harmless"


def test_an_envoy_that_is_not_there_is_an_error_that_says_where() -> None:
    port = free_port()
    status, said = drain(f"127.0.0.1:{port}")
    assert status == 2
    assert said.startswith(f"authz: error: 127.0.0.1:{port}: POST /healthcheck/fail: ")


def test_a_call_without_the_address_is_an_error() -> None:
    assert drain() == (
        2,
        "authz: error: found 0 arguments, expected HOST:PORT of Envoy's admin interface\n",
    )


def test_it_needs_nothing_but_the_sidecar() -> None:
    code = "import authz.serve.grpc.drain_envoy, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"typer", "rich", "httpx", "grpc", "numpy"} & set(done.stdout.split()) == set()
