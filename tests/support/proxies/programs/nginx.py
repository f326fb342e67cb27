"""The real nginx, with the printed configuration.

A test on one machine cannot use the printed ports and paths. Nor may it depend on how busy the machine is: timeouts are
longer. Everything else is as printed.
"""

from __future__ import annotations

import json
import os
import re
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from support.processes import LOOPBACK, Process, free_port, has_ipv6, wait_for
from support.proxies.programs.process import program_of_system

if TYPE_CHECKING:
    from pathlib import Path

    from support.proxies.upstream import Upstream


def nginx_path() -> Path:
    """Return the nginx of the system, or skip the test."""
    return program_of_system("nginx", "nginx (Debian package nginx-light)")


class NginxPorts(NamedTuple):
    """proxied: the peer is whom the PROXY protocol names."""

    edge: int
    proxied: int


def adapt_nginx(printed: str, upstream_port: int = 8000, ports: NginxPorts | None = None) -> str:
    """Return a printed configuration with these ports, and all its files in the folder that nginx is started in."""
    ports = ports or NginxPorts(8080, 8081)
    listens = [f"127.0.0.1:{ports.edge}", f"127.0.0.1:{ports.proxied} proxy_protocol"]
    if has_ipv6():
        listens.append(f"[::1]:{ports.edge}")
    temporary = " ".join(f"{kind}_temp_path tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""  # or its workers could not enter the test's folder
    text = user + printed
    for old, new in (
        ("worker_processes auto;", "worker_processes 1;"),
        ("\nhttp {\n", f"\nhttp {{\n    {temporary}\n"),
        ("/var/log/nginx/access.log", "access.log"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{upstream_port};"),
        ("proxy_connect_timeout 100ms;", "proxy_connect_timeout 50s;"),
        ("proxy_send_timeout    250ms;", "proxy_send_timeout    50s;"),
        ("proxy_read_timeout    250ms;", "proxy_read_timeout    50s;"),
        ("# real_ip_header   proxy_protocol;", "real_ip_header   proxy_protocol;"),
        ("# set_real_ip_from 10.0.0.0/8;", "set_real_ip_from 127.0.0.1;"),
    ):
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    text = text.replace("/run/authz-nginx", "cache")
    text, count = re.subn(
        r"        listen 8080(.*);\n        listen \[::\]:8080\1;\n",
        lambda match: "".join(f"        listen {listen}{match[1]};\n" for listen in listens),
        text,
    )
    assert count >= 1
    return text


class Nginx(Process):
    """A real nginx, with everything in `folder`. ports: where it listens."""

    def __init__(self, folder: Path, printed: str, upstream: Upstream) -> None:
        self.folder = folder
        self.ports = NginxPorts(free_port(), free_port())
        (folder / "nginx.conf").write_text(adapt_nginx(printed, upstream.port, self.ports))
        super().__init__(nginx_command(folder, "-g", "daemon off; pid nginx.pid;"), cwd=folder)
        try:
            wait_for(self._listens)
        except BaseException:
            self.end()
            raise

    def _listens(self) -> bool:
        assert self.popen.poll() is None, f"nginx ended:\n{self.output}"
        places = [(LOOPBACK, port) for port in self.ports] + [("::1", self.ports.edge)] * has_ipv6()
        for place in places:  # it opens one after the other
            socket.create_connection(place).close()
        return True

    def log_of(self, path: str) -> dict[str, Any]:
        """Return the line of the access log for the one request with this path."""

        def logged() -> dict[str, Any] | None:
            for line in (self.folder / "access.log").read_text().splitlines():
                entry: dict[str, Any] = json.loads(line)
                if entry["path"] == path:
                    return entry
            return None

        entry: dict[str, Any] = wait_for(logged, f"a line of the access log for {path}")
        return entry


def nginx_command(folder: Path, *options: str) -> list[str | Path]:
    """Return the command for the nginx.conf of a folder."""
    return [nginx_path(), "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", *options]


def validate_nginx(folder: Path) -> None:
    """Let nginx check the nginx.conf of a folder."""
    with Process(nginx_command(folder, "-t", "-g", "pid nginx.pid;"), cwd=folder) as nginx:
        assert nginx.wait() == 0, nginx.output
