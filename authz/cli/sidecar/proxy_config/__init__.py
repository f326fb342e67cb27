"""The configuration of a proxy that asks the sidecar of a given authz.yaml, for `authz print-config`.

The texts are in templates/; each module fills in those of one proxy: applications, hosts and deny answers of the
policy, where the sidecar listens, and which headers it reads. Pure: the same configuration and policy give the same
text. In all of them

- who connects to the proxy is the last in the chain that the sidecar reads, whatever the peer. (By default Envoy adds
  *its own* address for a peer on loopback; the printed configuration does not let it.)
- one path and one host are decided and forwarded; what could be read in two ways is refused
- headers that a client made up to look like ours do not reach the application
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.cli.sidecar.proxy_config.apache import render_apache
from authz.cli.sidecar.proxy_config.caddy import render_caddy
from authz.cli.sidecar.proxy_config.envoy import render_envoy
from authz.cli.sidecar.proxy_config.haproxy import render_haproxy, render_haproxy_lua
from authz.cli.sidecar.proxy_config.nginx import render_nginx
from authz.cli.sidecar.proxy_config.notes import WARNING, about_envoy, about_http
from authz.cli.sidecar.proxy_config.sidecar_certificate import about_certificate
from authz.cli.sidecar.proxy_config.sites import sites_of
from authz.cli.sidecar.proxy_config.traefik import render_traefik, render_traefik_static
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.cli.sidecar.proxy_config.sites import Sites
    from authz.engine.model import Application
    from authz.serve.config.config import Config

_TITLES: Final = {
    "nginx": "nginx", "traefik": "Traefik", "caddy": "Caddy", "haproxy": "HAProxy", "apache": "Apache",
}  # fmt: skip
_BY_CA: Final = {"envoy": render_envoy, "nginx": render_nginx}  # those that are printed with TLS
_PARTS: dict[str, dict[str, Callable[[Config, Sites], str]]] = {
    "envoy": {"main": render_envoy},
    "nginx": {"main": render_nginx},
    "traefik": {"main": render_traefik, "static": render_traefik_static},
    "caddy": {"main": render_caddy},
    "haproxy": {"main": render_haproxy, "lua": render_haproxy_lua},
    "apache": {"main": render_apache},
}


def parts_of(proxy: str) -> list[str]:
    """Return the names of the files that a proxy needs; the first is `main`."""
    return list(_PARTS[proxy])


def render(
    proxy: str,
    config: Config,
    applications: Sequence[Application] | None = None,
    part: str = "main",
    ca: str | None = None,
) -> str:
    """Return a configuration file.

    Args:
        proxy: A key of the proxies that are known, such as `envoy`.
        config: The sidecar's configuration.
        applications: Those of the policy, the first of which is `*`; None: examples.
        part: Which file, for a proxy that needs several.
        ca: A PEM file with the CA that signs the sidecar's certificates; None: the present certificate is trusted.

    Raises:
        InputError: The sidecar does not listen for that proxy, or on a port that is not known yet, or the proxy cannot
            recognise it by the CA.
    """
    if ca is not None:
        if proxy not in _BY_CA:
            raise InputError(f"--ca: found with {proxy}, expected it with {' or '.join(_BY_CA)}")
        return _BY_CA[proxy](config, sites_of(applications), ca)
    return _PARTS[proxy][part](config, sites_of(applications))


def warnings_of(proxy: str, config: Config, ca: str | None = None) -> list[str]:
    """Return what of the sidecar's configuration is wrong for a proxy, as the printed comment says it.

    Args:
        proxy: As for `render`.
        config: The sidecar's configuration.
        ca: As for `render`.
    """
    if proxy == "envoy":
        notes = [*about_envoy(config), *about_certificate("Envoy", config.grpc.tls, ca)]
    else:
        notes = list(about_http(_TITLES[proxy], config, config.http.listen))
    if proxy == "nginx":
        notes += about_certificate("nginx", config.http.tls, ca)
    return [note.removeprefix(WARNING) for note in notes if note.startswith(WARNING)]
