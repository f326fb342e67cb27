"""What an operator of the console has before them: a control plane, a sidecar that follows it, and Envoy in front."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import load_config
from support.control import Running
from support.processes import Sidecar, free_port, wait_for
from support.proxies.client import ask
from support.proxies.programs.envoy import Envoy, adapt_envoy, envoy_path
from support.proxies.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Edge(NamedTuple):
    """A control plane, and the proxy whose sidecar follows it."""

    running: Running
    port: int

    def status(self, client: str, path: str = "/shop/") -> int:
        """Return what the proxy answers a client."""
        return ask(self.port, path, [], peer=client).status

    def waits(self, client: str, status: int) -> None:
        """Wait until a client is answered so."""
        wait_for(lambda: self.status(client) == status, f"{client} gets {status}")


@contextlib.contextmanager
def new_edge(folder: Path, *, extra: str = "") -> Iterator[Edge]:
    """Run all three, with the application `shop`. extra: more of control.yaml."""
    envoy_path()
    running = Running(folder, extra=extra)
    try:
        running.ok("PUT", "/v1/applications/shop?wait=published", {"mode": "block"})
        with Sidecar(folder, _sidecar_config(folder)), Upstream() as upstream:
            printed = render("envoy", load_config(folder / "authz.yaml", {}))
            with Envoy(folder, adapt_envoy(printed, upstream)) as envoy:
                edge = Edge(running, envoy.ports["proxied"])
                edge.waits("192.0.2.1", 200)
                yield edge
    finally:
        running.end()


def _sidecar_config(folder: Path) -> str:
    listen = f'grpc: {{listen: "127.0.0.1:{free_port()}"}}\nhttp: {{listen: "off"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
    return (folder / "authz.yaml").read_text() + listen + "drain: 0s\n"
