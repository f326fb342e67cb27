"""The README's five minutes, run as they are written: through the sidecar, the printed Envoy and the printed nginx."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from support.processes import Process, free_port, wait_for
from support.proxies.client import ask
from support.proxies.programs.envoy import Envoy, adapt_envoy
from support.proxies.programs.nginx import Nginx
from support.proxies.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[2] / "README.md").read_text()
FIVE_MINUTES = README.partition("## Your own policy in five minutes")[2].partition("\n## ")[0]
POLICY, CONFIGURATION = re.findall(r"```yaml\n(.*?)```", FIVE_MINUTES, re.DOTALL)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^    (authz .*)$", FIVE_MINUTES, re.MULTILINE)]
# A name and a value of a header, a path, and the status that is promised.
CURLS = re.findall(r"curl -i -H '(.*?): (.*?)' http://127.0.0.1:8080(\S+) +# (\d+)", FIVE_MINUTES)


class FiveMinutes:
    """A folder in which the commands are run, with free ports for the sidecar."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "authz.yaml").write_text(CONFIGURATION)
        self.ports = {front: free_port() for front in ("GRPC", "HTTP", "ADMIN")}
        listens = {f"AUTHZ_{front}__LISTEN": f"127.0.0.1:{port}" for front, port in self.ports.items()}
        self.environment = {**os.environ, **listens, "AUTHZ_DRAIN": "0s"}

    def run(self, *command: str) -> str:
        """Return what a command printed."""
        authz = [sys.executable, "-m", "authz", *command]
        done = subprocess.run(
            authz, cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def serve(self) -> Process:
        """Start the sidecar."""
        serve = next(command for command in COMMANDS if command[0] == "serve")
        sidecar = Process([sys.executable, "-m", "authz", *serve], cwd=self.folder, env=self.environment)
        sidecar.wait_for_line("authz: serving$")
        return sidecar

    def printed(self, proxy: str) -> str:
        """Return what the command prints that the README has for a proxy."""
        (command,) = [c for c in COMMANDS if c[:2] == ["print-config", proxy]]
        assert command[-2] == ">"
        return self.run(*command[:-2])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FiveMinutes]:
    minutes = FiveMinutes(tmp_path_factory.mktemp("readme"))
    for command in COMMANDS:
        if command[0] == "serve":
            break
        text = minutes.run(*command)
    assert "denylisted" in text  # of explain
    with minutes.serve():
        yield minutes


def test_the_steps_are_these() -> None:
    steps = ["keys", "snapshot", "explain", "serve", "print-config", "print-config", "doctor"]
    assert [command[0] for command in COMMANDS] == steps
    assert [status for *_, status in CURLS] == ["403", "200"]


def test_the_sidecar_denies_as_nginx_would_ask(started: FiveMinutes) -> None:
    (curl,) = re.findall(r"curl -i -H '(.*?): (.*?)' http://127.0.0.1:9192(\S+)", FIVE_MINUTES)
    name, value, path = curl
    reply = ask(started.ports["HTTP"], path, [(name, value)])
    assert (reply.status, reply.headers["x-authz-reason"]) == (403, "denylisted")


def check(edge: int, proxied: int, upstream: Upstream) -> None:
    """Send what the README sends: from this machine, and from the addresses themselves by the PROXY protocol."""
    wait_for(lambda: ask(edge, "/shop/", [("X-Forwarded-For", "203.0.113.10")]).status == 200, "the first answer")
    for name, value, path, status in CURLS:
        assert ask(edge, path, [(name, value)]).status == int(status)
        assert ask(proxied, path, peer=value).status == int(status)
        forged = [(name, "198.51.100.1")]  # the office: who connects is the client, whatever it says
        assert ask(proxied, path, forged, peer=value).status == int(status)
    assert ask(edge, CURLS[0][2], [("X-Forwarded-For", "203.0.113.9")]).body == b"Not from here.\n"
    assert {seen.headers["x-authz-client-address"] for seen in upstream.seen} == {"203.0.113.10"}


def test_envoy_as_printed_shows_403_and_200(started: FiveMinutes) -> None:
    """The first five minutes with Envoy let everybody in: it named itself as the client."""
    with (
        Upstream() as upstream,
        Envoy(started.folder, adapt_envoy(started.printed("envoy"), upstream)) as envoy,
    ):
        check(envoy.ports["edge"], envoy.ports["proxied"], upstream)


def test_nginx_as_printed_shows_403_and_200(started: FiveMinutes) -> None:
    with Upstream() as upstream, Nginx(started.folder, started.printed("nginx"), upstream) as nginx:
        check(nginx.ports.edge, nginx.ports.proxied, upstream)


def test_the_office_has_no_address_of_this_machine() -> None:
    """Documentation space is what some hosts really have."""
    networks = [ip_network(n) for entry in yaml.safe_load(POLICY)["entries"] for n in entry["networks"]]
    own = {ip_address(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    assert [address for address in own if any(address in network for network in networks)] == []
