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
from authz.cli.sidecar.proxy_config.sites import sites_of
from authz.cli.sidecar.proxy_config.traefik import render_traefik, render_traefik_static

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from authz.cli.sidecar.proxy_config.sites import Sites
    from authz.engine.model import Application
    from authz.serve.config.config import Config

_TITLES: Final = {
    "nginx": "nginx", "traefik": "Traefik", "caddy": "Caddy", "haproxy": "HAProxy", "apache": "Apache",
}  # fmt: skip
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


def render(proxy: str, config: Config, applications: Sequence[Application] | None = None, part: str = "main") -> str:
    """Return a configuration file.

    Args:
        proxy: A key of the proxies that are known, such as `envoy`.
        config: The sidecar's configuration.
        applications: Those of the policy, the first of which is `*`; None: examples.
        part: Which file, for a proxy that needs several.

    Raises:
        InputError: The sidecar does not listen for that proxy, or on a port that is not known yet.
    """
    return _PARTS[proxy][part](config, sites_of(applications))


def warnings_of(proxy: str, config: Config) -> list[str]:
    """Return what of the sidecar's configuration is wrong for a proxy, as the printed comment says it.

    Args:
        proxy: As for `render`.
        config: The sidecar's configuration.
    """
    notes = about_envoy(config) if proxy == "envoy" else about_http(_TITLES[proxy], config, config.http.listen)
    return [note.removeprefix(WARNING) for note in notes if note.startswith(WARNING)]
