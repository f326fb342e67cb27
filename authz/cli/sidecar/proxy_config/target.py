"""Where a proxy finds the sidecar, and how names and texts are written in the languages of configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml

from authz.errors import InputError
from authz.serve.config.values import Listen

if TYPE_CHECKING:
    from authz.serve.config.config import Config

CHAIN_HEADERS: Final = ("x-forwarded-for", "forwarded")  # each proxy adds an address; others have one value
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to ask a listener on all addresses


def target(proxy: str, front: str, listen: Listen) -> Listen:
    """Return where the proxy finds a listener. Raises InputError if there is nothing to find."""
    if listen.path is None and listen.host is None:
        raise InputError(
            f"{front}.listen: found 'off', expected a listener for {proxy}", hint=f"set {front}.listen in authz.yaml"
        )
    if listen.path is None and listen.port == 0:
        raise InputError(
            f"{front}.listen: found port 0, expected the port that {proxy} is to ask", hint="name a port in authz.yaml"
        )
    return Listen(host=_LOOPBACK.get(listen.host or "", listen.host), port=listen.port, path=listen.path)


def in_yaml(text: str) -> str:
    """Return a double-quoted YAML scalar on one line."""
    return str(yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=False)).strip()


def quoted(text: str) -> str:
    """Return a double-quoted word of nginx, HAProxy or Caddy. No variables: only for where none are expanded."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def believed(config: Config) -> list[str]:
    """Return the networks whose X-Forwarded-For a proxy passes on to the sidecar.

    The sidecar decides itself whom it believes. Where it counts hops, it counts from the end: all may be passed on.
    """
    if config.client_address.trusted_hops:
        return ["0.0.0.0/0", "::/0"]
    return [str(network) for networks in config.client_address.trusted_proxies for network in networks]
