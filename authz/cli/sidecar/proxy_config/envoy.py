"""The configuration of Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.cli.sidecar.proxy_config.notes import about_envoy, about_sites, comment, wrapped
from authz.cli.sidecar.proxy_config.sidecar_certificate import about_certificate, check_ca, names_of
from authz.cli.sidecar.proxy_config.sites import HOST
from authz.cli.sidecar.proxy_config.target import in_yaml, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import shorten
from authz.serve.grpc.responses import APPLICATION_HEADER, CLIENT_HEADER, LIST_HEADER, REMOVED

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Site, Sites
    from authz.serve.config.config import Config

# `error_response`, without which "cannot decide" is read as a denial, is from 1.37.
OLDEST_ENVOY: Final = (1, 37)


def render_envoy(config: Config, sites: Sites, ca: str | None = None) -> str:
    """Return envoy.yaml. Raises InputError if the sidecar does not listen for Envoy, or the CA cannot be used."""
    listen = target("envoy", "grpc", config.grpc.listen)
    tls, signal = config.grpc.tls, config.attack_signal
    header = config.client_address.header
    if ca is not None:
        check_ca(ca, tls, "grpc.tls", by_host=False)
    names = names_of(tls.certificate) if tls and ca else []
    return fill(
        load("envoy.yaml"),
        {
            "where": shorten(listen),
            "oldest": ".".join(map(str, OLDEST_ENVOY)),
            "notes": comment([*about_sites(sites), *about_envoy(config), *about_certificate("Envoy", tls, ca)]),
            "external_address": header == "x-envoy-external-address",
            "hosts": [_site(site) for site in sites.by_host],
            "paths": [_site(site) | match for site in sites.by_path for match in _matches(site)],
            "valid_host": f"({HOST})(:[0-9]*)?",
            "context_key": in_yaml(config.application.context_key),
            "client_header": in_yaml(header),
            "our_headers": wrapped(f"[{', '.join((CLIENT_HEADER, LIST_HEADER, APPLICATION_HEADER, *REMOVED))}].", 14),
            "traces": config.traces.url is not None,
            "attack_header": in_yaml(signal.header) if signal.header else "",
            "attack_namespace": in_yaml(signal.metadata.namespace) if signal.metadata else "",
            "tls": tls is not None,
            "trusted_ca": in_yaml(ca or tls.certificate) if tls else "",
            "by_name": bool(names),
            "names": [{"kind": name.kind, "name": in_yaml(name.text)} for name in names],
            "client_ca": bool(tls and tls.client_ca),
            "unix": listen.path is not None,
            "path": in_yaml(str(listen.path)),
            "host": in_yaml(listen.host or ""),
            "port": str(listen.port),
        },
    )


def _site(site: Site) -> dict[str, str]:
    domains = [form for host in site.hosts for form in (host, f"{host}:", f"{host}:*")]
    return {"name": in_yaml(site.name), "domains": ", ".join(map(in_yaml, domains))}


def _matches(site: Site) -> list[dict[str, str]]:
    """Return what routes match: the path of an application, and the same with parameters (see `Site.path`)."""
    path = f"/{site.name}"
    return [
        {"match": f"{{path_separated_prefix: {in_yaml(path)}}}", "why": "An application by its path."},
        {"match": f"{{prefix: {in_yaml(path + ';')}}}", "why": f"In Java, {path};x/cart is {path}/cart."},
    ]
