"""The configuration of Traefik: routers and middlewares, and the static part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from authz.cli.sidecar.proxy_config.notes import about_http, about_sites, comment, passed_on
from authz.cli.sidecar.proxy_config.sites import AMBIGUOUS_PATH, HOST
from authz.cli.sidecar.proxy_config.target import believed, in_yaml, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import InputError, shorten
from authz.serve.grpc.responses import APPLICATION_HEADER, CLIENT_HEADER, LIST_HEADER, REMOVED

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Site, Sites
    from authz.cli.sidecar.proxy_config.template import Value
    from authz.serve.config.config import Config
    from authz.serve.config.values import Listen


# What the application is told.
_TOLD: Final = (CLIENT_HEADER, LIST_HEADER, APPLICATION_HEADER, "x-authz-warnings", "x-authz-dry-run")
_ASKED_ABOUT: Final = ("X-Forwarded-Host", "X-Forwarded-Method", "X-Forwarded-Uri")  # what Traefik tells the sidecar
# By these a client could have the application read another path than the one that is decided.
_OTHER_PATHS: Final = ("X-Original-URL", "X_original_url", "X-Rewrite-URL", "X_rewrite_url", "X_forwarded_host")


def render_traefik(config: Config, sites: Sites) -> str:
    """Return the dynamic part. Raises InputError if the sidecar does not listen for Traefik."""
    listen = _listen(config)
    by_header = config.application.http == "header"
    signal = config.attack_signal.header
    wanted = ["X-Request-Id", *([signal.title()] if signal else [])]
    if config.client_address.header != "x-forwarded-for":
        wanted.append(config.client_address.header.title())
    if by_header:
        wanted.append(config.application.header.title())
    asks = [_ask(listen, site.name, by_header=by_header) for site in sites.named]
    notes = [*about_sites(sites), *about_http("Traefik", config, listen), *passed_on("Traefik", config)]
    return fill(
        load("traefik.yaml"),
        {
            "where": shorten(listen),
            "notes": comment(notes),
            "ambiguous_path": AMBIGUOUS_PATH.replace("[^?]*", ".*"),
            "valid_host": HOST,
            "hosts": [_router(site, " || ".join(f"Host(`{host}`)" for host in site.hosts)) for site in sites.by_host],
            "paths": [_router(site, f"PathRegexp(`{site.path}`)") for site in sites.by_path],
            "dropped": [{"header": in_yaml(header)} for header in _forgeable(config)],
            "asks": [*asks, _ask(listen, "", by_header=by_header)],
            "application_header": in_yaml(config.application.header.title()),
            "our_headers": ", ".join(name.title() for name in _TOLD),
            "request_headers": ", ".join(wanted),
        },
    )


def render_traefik_static(config: Config, sites: Sites) -> str:  # noqa: ARG001  # as all renderers
    """Return the static part. Raises InputError as `render_traefik` does."""
    _listen(config)
    # Of who is trusted, Traefik keeps an X-Real-IP as it came: a balancer passes on what a client wrote.
    networks = [] if config.client_address.header == "x-real-ip" else believed(config)
    return fill(load("traefik-static.yaml"), {"trusted": ", ".join(in_yaml(network) for network in networks)})


def _listen(config: Config) -> Listen:
    listen = target("traefik", "http", config.http.listen)
    if listen.path is not None:
        raise InputError(
            f"http.listen: found {listen}, expected an address: Traefik asks over TCP only",
            hint="set http.listen to 127.0.0.1:9192 in authz.yaml",
        )
    return listen


def _router(site: Site, rule: str) -> dict[str, Value]:
    return {"router": in_yaml(site.name), "rule": rule.replace("'", "''"), "ask": _middleware(site.name)}


def _ask(listen: Listen, name: str, *, by_header: bool) -> dict[str, Value]:
    named = by_header and bool(name)
    target_ = f"http://{listen}/v1/forward" + (f"/{name}" if name and not by_header else "")
    ask = _middleware(name)
    return {
        "ask": ask,
        "ask_itself": f"{ask}-asked" if named else ask,
        "set_application": named,
        "name": in_yaml(name),
        "address": in_yaml(target_),
    }


def _middleware(name: str) -> str:
    return "authz-" + re.sub(r"[^A-Za-z0-9_-]", "_", name) if name else "authz"


def _forgeable(config: Config) -> list[str]:
    ours = [form for name in (*_TOLD, *REMOVED) for form in (name.title(), name.replace("-", "_"))]
    names = config.application.header.title()
    return [
        *ours,
        *_ASKED_ABOUT,
        *_OTHER_PATHS,
        *([names] if config.application.http == "header" and names not in ours else []),
    ]
