"""A proxy with the printed configuration, an application behind it, and a publisher and a sidecar beside it."""

from __future__ import annotations

import contextlib
import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Self

from authz.cli.sidecar.proxy_config import render
from authz.serve.config.config import load_config
from support.processes import Sidecar, free_port
from support.proxies.certificates import make_certificate
from support.proxies.client import Client, Reply, ask
from support.proxies.programs.envoy import Envoy, adapt_envoy
from support.proxies.programs.nginx import Nginx
from support.proxies.upstream import Upstream
from support.publishing.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.serve.config.config import Config

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com], deny: {status: 403, body: "Not from here.\\n"}}
  admin: {default: deny, deny: {status: 404, body: '{"error":"not found"}', content_type: application/json}}
  api: {dry_run: true}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"], except: [203.0.113.10]}
  - {id: scrapers, list: deny, networks: [198.51.100.20-198.51.100.29], applications: [shop]}
  - {id: watched, list: deny, networks: [198.51.100.200], action: warn}
"""
BANNED = "  - {id: banned, list: deny, networks: [198.51.100.77], applications: [shop]}\n"  # added to a policy

UNKNOWN = "198.51.100.77"  # on no list
OFFICE = "192.0.2.5"
BAD = "203.0.113.9"
SCRAPER = "198.51.100.25"
BALANCER = "10.0.0.1"  # a trusted proxy

_TLS = "tls: {certificate: grpc.pem, key: grpc.key, client_ca: envoy.pem}"  # both sides show a certificate


class Stack(ABC):
    """All of it in one folder. As a context manager: the proxy and the application run; the sidecar is started apart.

    config: the sidecar's. changed: parts of it, and what stands there instead.
    """

    proxy: ClassVar[str]
    ca: ClassVar[str | None] = None  # that the proxy recognises the sidecar by; None: by its present certificate

    def __init__(self, folder: Path, config: str, changed: Sequence[tuple[str, str]]) -> None:
        for old, new in changed:
            assert old in config
            config = config.replace(old, new)
        self.folder = folder
        self.sidecar_config = config
        self.publisher = Publisher(folder)
        (folder / "authz.yaml").write_text(config)
        self.upstream = Upstream()
        self.printed = render(self.proxy, load_config(folder / "authz.yaml", {}), ca=self.ca)

    @abstractmethod
    def start_proxy(self, stack: contextlib.ExitStack) -> None:
        """Start the proxy; the stack ends it."""

    @property
    @abstractmethod
    def proxied_port(self) -> int:
        """The port on which the PROXY protocol names the peer."""

    @property
    @abstractmethod
    def edge_port(self) -> int:
        """The port on which the peer is who connects."""

    def config(self) -> Config:
        """Return the sidecar's configuration."""
        return load_config(self.folder / "authz.yaml", {})

    def start_sidecar(self) -> Sidecar:
        """Start a sidecar; the caller ends it."""
        return Sidecar(self.folder, self.sidecar_config)

    def ask(self, path: str, peer: str = UNKNOWN, xff: str | None = None, **more: Any) -> Reply:
        """Ask the proxy, which takes us for `peer`."""
        return self.ask_with(path, [] if xff is None else [("X-Forwarded-For", xff)], peer, **more)

    def ask_with(self, path: str, headers: Sequence[tuple[str, str]], peer: str = UNKNOWN, **more: Any) -> Reply:
        """The same with these headers."""
        return ask(self.proxied_port, path, headers, peer=peer, **more)

    def client(self, peer: str = UNKNOWN) -> Client:
        """Return a kept connection."""
        return Client(self.proxied_port, peer=peer)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.upstream)
            self.start_proxy(stack)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()


class EnvoyStack(Stack):
    """Envoy asks over `tcp`, a `unix` socket, or with mutual `tls`."""

    proxy = "envoy"
    SOCKET = "it's %REQ(x)% {a: b} #1.sock"  # its name must not mean anything to Envoy
    CONFIG = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}}
grpc: {grpc}
http: {{listen: "off"}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [10.0.0.0/8, 127.0.0.1, "2001:db8:10::/48"]}}
application: {{unknown: default}}
decision_log: {{path: "off"}}
drain: 0s
"""

    def __init__(self, folder: Path, over: str, changed: Sequence[tuple[str, str]] = ()) -> None:
        listen = f"unix:{self.SOCKET}" if over == "unix" else f"127.0.0.1:{free_port()}"
        for name in ("grpc", "envoy") if over == "tls" else ():
            make_certificate(folder, name)
        grpc = f'{{listen: "{listen}"{", " + _TLS if over == "tls" else ""}}}'
        super().__init__(folder, self.CONFIG.format(grpc=grpc), changed)
        self.envoy_config = adapt_envoy(self.printed, self.upstream)
        self.envoy: Envoy

    @property
    def proxied_port(self) -> int:
        """The port on which the PROXY protocol names the peer."""
        return self.envoy.ports["proxied"]

    @property
    def edge_port(self) -> int:
        """The port on which the peer is who connects."""
        return self.envoy.ports[self.envoy_config["static_resources"]["listeners"][0]["name"]]

    def start_proxy(self, stack: contextlib.ExitStack) -> None:
        """Start Envoy."""
        self.envoy = stack.enter_context(Envoy(self.folder, self.envoy_config))


class NginxStack(Stack):
    """nginx asks over `tcp` or a `unix` socket, or with mutual `tls`, or names the application by a `header`."""

    proxy = "nginx"
    SOCKET = "it's $host {;} #1.sock"  # its name must not mean anything to nginx
    CONFIG = """\
snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}}
grpc: {{listen: "off"}}
http: {{listen: "{listen}", unix_mode: 666{tls}}}
admin: {{listen: "127.0.0.1:0"}}
client_address: {{trusted_proxies: [10.0.0.0/8, 127.0.0.1, "::1", "2001:db8:10::/48"], trust_unix: {unix}}}
application: {{http: {named_by}, unknown: default}}
decision_log: {{path: "off"}}
drain: 0s
"""

    def __init__(self, folder: Path, over: str, changed: Sequence[tuple[str, str]] = ()) -> None:
        self.sidecar_port = free_port()
        for name in ("http", "nginx") if over == "tls" else ():
            make_certificate(folder, name)
        config = self.CONFIG.format(
            listen=f"unix:{self.SOCKET}" if over == "unix" else f"127.0.0.1:{self.sidecar_port}",
            tls=f", {_TLS.replace('grpc', 'http').replace('envoy', 'nginx')}" if over == "tls" else "",
            unix=str(over == "unix").lower(),
            named_by="header" if over == "header" else "path",
        )
        super().__init__(folder, config, changed)
        self.nginx: Nginx

    @property
    def proxied_port(self) -> int:
        """The port on which the PROXY protocol names the peer."""
        return self.nginx.ports.proxied

    @property
    def edge_port(self) -> int:
        """The port on which the peer is who connects."""
        return self.nginx.ports.edge

    def start_proxy(self, stack: contextlib.ExitStack) -> None:
        """Start nginx."""
        self.nginx = stack.enter_context(Nginx(self.folder, self.printed, self.upstream))


STACKS: dict[str, Callable[[Path], Stack]] = {
    **{f"envoy {over}": functools.partial(EnvoyStack, over=over) for over in ("tcp", "unix", "tls")},
    **{f"nginx {over}": functools.partial(NginxStack, over=over) for over in ("tcp", "unix", "header")},
}  # by proxy and by how it asks
