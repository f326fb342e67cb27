"""The real HAProxy, with the printed configuration and script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.processes import LOOPBACK
from support.proxies.programs.process import ProxyProcess, adapted, program_of_system

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.proxies.programs.process import ProxyPorts


def haproxy_path() -> Path:
    """Return the HAProxy of the system, or skip the test."""
    return program_of_system("haproxy", "HAProxy (Debian package haproxy)")


def start_haproxy(folder: Path, printed: Mapping[str, str], upstream_port: int, ports: ProxyPorts) -> ProxyProcess:
    """Start it in a folder."""
    binds = f"bind {LOOPBACK}:{ports.edge}\n    bind {LOOPBACK}:{ports.proxied} accept-proxy"
    main = adapted(
        printed["main"],
        {"bind :8080": binds, "server app 127.0.0.1:8000": f"server app 127.0.0.1:{upstream_port}"},
    )
    (folder / "haproxy.cfg").write_text(main)
    (folder / "authz.lua").write_text(adapted(printed["lua"], {"TIMEOUT = 250": "TIMEOUT = 10000"}))
    return ProxyProcess([haproxy_path(), "-f", "haproxy.cfg", "-db"], folder, ports)
