"""The configuration of HAProxy, and the script that it asks the sidecar with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.cli.sidecar.proxy_config.notes import about_http, about_sites, comment
from authz.cli.sidecar.proxy_config.sites import AMBIGUOUS_PATH, BAD_ESCAPE, HOST
from authz.cli.sidecar.proxy_config.target import CHAIN_HEADERS, quoted, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import shorten

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Sites
    from authz.serve.config.config import Config


def render_haproxy(config: Config, sites: Sites) -> str:
    """Return haproxy.cfg. Raises InputError if the sidecar does not listen for HAProxy."""
    listen = target("haproxy", "http", config.http.listen)
    return fill(
        load("haproxy.cfg"),
        {
            "where": shorten(listen),
            "notes": comment([*about_sites(sites), *about_http("HAProxy", config, listen)]),
            "ambiguous_path": _word(AMBIGUOUS_PATH),
            "bad_escape": _word(BAD_ESCAPE),
            "valid_host": _word(f"^({HOST})(:[0-9]*)?$"),
            "hosts": [{"name": site.name, "names": " ".join(site.hosts)} for site in sites.by_host],
            "paths": [{"name": site.name, "pattern": _word(site.path)} for site in sites.by_path],
        },
    )


def render_haproxy_lua(config: Config, sites: Sites) -> str:  # noqa: ARG001  # as all renderers
    """Return authz.lua; the sites are in haproxy.cfg. Raises InputError as `render_haproxy` does."""
    listen = target("haproxy", "http", config.http.listen)
    header = config.client_address.header
    return fill(
        load("haproxy.lua"),
        {
            "where": shorten(listen),
            "url": quoted("http://127.0.0.1" if listen.path else f"http://{listen}"),
            "destination": quoted(f"unix@{listen.path}") if listen.path else "nil",
            "by_chain": header == "x-forwarded-for",
            "forwarded": header == "forwarded",
            "single": header not in CHAIN_HEADERS,
            "client_header": quoted(header),
            "attack_header": quoted(config.attack_signal.header) if config.attack_signal.header else "",
            "by_header": config.application.http == "header",
            "application_header": quoted(config.application.header),
        },
    )


def _word(text: str) -> str:
    """Return a word in single quotes, in which HAProxy expands nothing."""
    return f"'{text}'"
