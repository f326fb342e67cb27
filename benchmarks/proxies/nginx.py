"""A real nginx that serves an answer of its own (empty_gif), and the ways in which it decides.

All have the configuration that `authz print-config nginx` prints, with one worker, no access log, client connections
that last, and patience for a busy machine; they differ in who is asked only. The client is the last address of
X-Forwarded-For for those that decide: authz trusts nginx and loopback, and so does the geo module.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Final

from support.processes import free_port

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import Config, HttpConfig, SnapshotConfig
from authz.serve.config.values import Listen
from benchmarks.data.policies import APPLICATION
from benchmarks.processes import Child

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from authz.addresses import Network

PATH: Final = f"/{APPLICATION}/pixel.gif"  # of the checked location
_NOBODY: Final = Listen(host="127.0.0.1", port=9)  # where nobody is asked
_HEAD: Final = """\
{user}error_log stderr notice;
pid {name}.pid;
worker_processes 1;
"""
_TEMPORARY: Final = "".join(
    f"    {kind}_temp_path tmp;\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
_FOREVER: Final = "    keepalive_requests 1000000;\n"  # of a client's connection; 1,000 by default
_GEO: Final = """\
    geo $listed {{
        default 0;
        proxy   127.0.0.1;
        include {name};
    }}
"""
_EMPTY: Final = f"""\
events {{{{ worker_connections 1024; }}}}
http {{{{
    access_log off;
{_TEMPORARY}{_FOREVER}    server {{{{
        listen 127.0.0.1:{{port}};
        return 204;
    }}}}
}}}}
"""
_FILES: Final = f"""\
events {{{{ worker_connections 1024; }}}}
http {{{{
    access_log off;
{_TEMPORARY}    server {{{{
        listen 127.0.0.1:PORT ssl;
        ssl_certificate {{certificate}};
        ssl_certificate_key {{key}};
        root {{folder}};
    }}}}
}}}}
"""


_LOCATION = rf'location ~ "\^/{APPLICATION}\(\[/;\]\|%3\[bB\]\|\$\)" {{\n'  # as it is printed, for a regular expression


def nginx_path() -> str | None:
    """Return the nginx of the system."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def missing_nginx() -> str | None:
    """Return why there is no nginx; None where there is one."""
    return None if nginx_path() else "it needs nginx (Debian package nginx-light)"


def asking(listen: Listen, cache: float = 0.0, kept: Path | None = None) -> str:
    """Return the configuration of an nginx that asks a sidecar, as it is printed but for what serves and measures.

    cache: seconds that answers are kept at most; 0: none is. kept: the folder of those.
    """
    http = HttpConfig(listen=listen, cache=cache)
    text = render("nginx", Config(snapshot=SnapshotConfig(path="", trusted_keys=()), http=http))
    for old, new in (
        (r"worker_processes auto;\n", ""),
        (r"http \{\n", f"http {{\n{_TEMPORARY}{_FOREVER}"),
        (r"access_log /var/log/nginx/access.log authz;", "access_log off;"),
        (r"listen 8080( default_server)?;\n *listen \[::\]:8080( default_server)?;", r"listen 127.0.0.1:PORT\1;"),
        (r"proxy_connect_timeout 100ms;", "proxy_connect_timeout 10s;"),
        (r"proxy_send_timeout    250ms;", "proxy_send_timeout 10s;"),
        (r"proxy_read_timeout    250ms;", "proxy_read_timeout 10s;"),
        (rf"({_LOCATION}[^}}]*)proxy_pass +http://\$authz_app;", r"\1empty_gif;"),
    ):
        text = _replaced(text, old, new)
    return _replaced(text, "/run/authz-nginx ", f"{kept} ") if kept else text


def asking_itself() -> str:
    """Return one whose auth_request goes to a location of its own that always says 204."""
    return _replaced(asking(_NOBODY), r"(location \^~ /_authz {\n *internal;\n)", r"\1            return 204;\n")


def asking_nobody() -> str:
    """Return one that lets everybody in."""
    return _replaced(asking(_NOBODY), r" *auth_request +/_authz.*\n", "", least=2)


def knowing(networks: Iterable[Network], folder: Path, name: str) -> str:
    """Return one that denies networks by the geo module, which reads them from a file in `folder`."""
    write_geo(networks, folder / name)
    text = _replaced(asking_nobody(), r"http \{\n", "http {\n" + _GEO.format(name=name))
    return _replaced(text, rf"({_LOCATION})", r"\1            if ($listed) { return 403; }\n")


def write_geo(networks: Iterable[Network], path: Path) -> None:
    """Write networks as the geo module includes them."""
    path.write_text("".join(f"{network} 1;\n" for network in networks), encoding="ascii")


def empty_server() -> str:
    """Return one that says 204 to everybody: what another server costs that does nothing."""
    return _EMPTY.format(port="PORT")


def files(folder: Path, certificate: Path, key: Path) -> str:
    """Return one that serves the files of a folder over TLS, as a plain web server does: with entity tags."""
    return _FILES.format(folder=folder, certificate=certificate, key=key)


def _replaced(text: str, old: str, new: str, least: int = 1) -> str:
    """Replace a pattern. Raises RuntimeError where the printed configuration does not have it (so often)."""
    text, count = re.subn(old, new, text)
    if count < least:
        raise RuntimeError(f"found '{old}' {count} times in the printed configuration, expected {least}")
    return text


class Nginx(Child):
    """A real nginx. port: where it listens. pid: of its worker, which does the work; of the newest after a reload."""

    def __init__(self, folder: Path, name: str, config: str) -> None:
        path = nginx_path()
        if path is None:
            raise RuntimeError("there is no nginx")
        self.port = free_port()
        user = "user root;\n" if os.geteuid() == 0 else ""  # or its workers could not enter the folder
        text = _HEAD.format(user=user, name=name) + config.replace("127.0.0.1:PORT", f"127.0.0.1:{self.port}")
        (folder / f"{name}.conf").write_text(text, encoding="ascii")
        options = ("-p", folder, "-c", folder / f"{name}.conf", "-e", "stderr", "-g", "daemon off;")
        super().__init__(folder, [path, *options])
        self.wait_until(self._serves)

    def _serves(self) -> list[str] | None:
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=1.0)):
            return self._workers() or None

    def _workers(self) -> list[str]:
        """Return the process ids of all workers that were started, the newest last."""
        return re.findall(r"start worker process (\d+)", self.output)

    @property
    def pid(self) -> int:
        """The process id of the worker."""
        return int(self._workers()[-1])

    def reload(self) -> None:
        """Make it read its configuration again, as `nginx -s reload` does, but do not wait for that."""
        self.popen.send_signal(signal.SIGHUP)

    def draining(self) -> bool:
        """Return whether a worker of before the last reload still runs."""
        return len(re.findall(r"worker process \d+ exited", self.output)) < len(self._workers()) - 1

    @property
    def url(self) -> str:
        """The checked location."""
        return f"http://127.0.0.1:{self.port}{PATH}"
