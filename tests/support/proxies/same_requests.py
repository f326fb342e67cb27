"""A proxy with what is printed for it, a sidecar and an application: for the tests that ask all proxies the same."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from authz.cli.sidecar.proxy_config import parts_of, render
from authz.publisher.policy.read import read_applications
from authz.serve.config.config import load_config
from support.processes import Sidecar, free_port, wait_for
from support.proxies.client import Reply, ask
from support.proxies.every import start_proxy
from support.proxies.upstream import Upstream
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from pathlib import Path

POLICY = """\
version: 1
applications:
  "*": {deny: {status: 403, body: "no\\n"}}
  shop: {deny: {status: 403, body: "Not from {client}: $5, \\"x\\" \\\\ {} ; done.\\n"}}
  admin:
    hosts: [admin.example.com, back.example.com]
    default: deny
    deny: {status: 404, body: '{"error":"not found"}', content_type: application/json}
  api: {dry_run: true}
  quiet: {default: deny, deny: {status: 429}}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], except: [203.0.113.10]}
  - {id: scrapers, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop]}
"""
CONFIG = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}}
grpc: {{listen: "127.0.0.1:{grpc}"}}
http: {{listen: "127.0.0.1:{http}"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [10.0.0.0/8, 127.0.0.1, "2001:db8:10::/48"]}}
application: {{unknown: default}}
decision_log: {{path: "off"}}
drain: 0s
"""

UNKNOWN = "198.51.100.77"  # on no list
OFFICE, OFFICE6 = "192.0.2.5", "2001:db8:1::7"
BAD, BAD6 = "203.0.113.9", "2001:db8:bad::7"
EXCEPTION = "203.0.113.10"
SCRAPER = "198.51.100.25"
BALANCER, BALANCER6 = "10.0.0.1", "2001:db8:10::1"  # trusted proxies
ADMIN = "admin.example.com"
OTHER = "test.example.com"


class Case(NamedTuple):
    """A request and what is to become of it. peer: None: on this machine. client: None: it is denied."""

    peer: str | None
    path: str
    application: str
    client: str | None
    forwarded: str | None = None
    host: str = OTHER
    method: str = "GET"


class Stack:
    """An application, a proxy with what is printed for it, and a sidecar."""

    def __init__(self, folder: Path, proxy: str) -> None:
        self.publisher = Publisher(folder)
        self.publisher.publish(POLICY)
        config = CONFIG.format(grpc=free_port(), http=free_port())
        (folder / "authz.yaml").write_text(config)
        sidecar = load_config(folder / "authz.yaml", {})
        applications = read_applications(folder / "policy.yaml")
        printed = {part: render(proxy, sidecar, applications, part) for part in parts_of(proxy)}
        assert "WARNING" not in printed["main"]
        self.upstream = Upstream()
        self._running = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.upstream)
            stack.enter_context(Sidecar(folder, config))
            self.ports = stack.enter_context(start_proxy(folder, proxy, printed, self.upstream))
            wait_for(lambda: self.ask(Case(OFFICE, "/shop", "shop", OFFICE)).status == 200, "the first answer")
            self._running = stack.pop_all()

    def ask(self, case: Case, *more: tuple[str, str]) -> Reply:
        """Send a request of the cases."""
        port = self.ports.edge if case.peer is None else self.ports.proxied
        headers = [] if case.forwarded is None else [("X-Forwarded-For", case.forwarded)]
        body = b"posted" if case.method in {"POST", "PUT"} else None
        return ask(port, case.path, [*headers, *more], peer=case.peer, host=case.host, method=case.method, body=body)

    def close(self) -> None:
        """End all."""
        self._running.close()
