"""Any proxy with what is printed for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from support.processes import free_port
from support.proxies.programs.apache import start_apache
from support.proxies.programs.caddy import start_caddy
from support.proxies.programs.envoy import Envoy, adapt_envoy
from support.proxies.programs.haproxy import start_haproxy
from support.proxies.programs.nginx import Nginx
from support.proxies.programs.process import ProxyPorts
from support.proxies.programs.traefik import start_traefik

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.proxies.upstream import Upstream

PROXIES = ("envoy", "nginx", "traefik", "caddy", "haproxy", "apache")


@contextlib.contextmanager
def start_proxy(folder: Path, proxy: str, printed: Mapping[str, str], upstream: Upstream) -> Iterator[ProxyPorts]:
    """Run a proxy in a folder. printed: by the part, as `authz print-config` prints it."""
    if proxy == "envoy":
        with Envoy(folder, adapt_envoy(printed["main"], upstream)) as envoy:
            yield ProxyPorts(envoy.ports["edge"], envoy.ports["proxied"])
        return
    if proxy == "nginx":
        with Nginx(folder, printed["main"], upstream) as nginx:
            yield ProxyPorts(*nginx.ports)
        return
    start = {"haproxy": start_haproxy, "caddy": start_caddy, "traefik": start_traefik, "apache": start_apache}[proxy]
    with start(folder, printed, upstream.port, ProxyPorts(free_port(), free_port())) as process:
        yield process.ports
