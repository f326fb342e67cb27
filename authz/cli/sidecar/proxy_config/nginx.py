"""The configuration of nginx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from authz.cli.sidecar.proxy_config.notes import about_http, about_sites, comment
from authz.cli.sidecar.proxy_config.sidecar_certificate import about_certificate, check_ca, names_of
from authz.cli.sidecar.proxy_config.sites import AMBIGUOUS_PATH, HOST
from authz.cli.sidecar.proxy_config.target import CHAIN_HEADERS, quoted, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import shorten
from authz.serve.grpc.responses import REMOVED
from authz.times import format_duration

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Site, Sites
    from authz.cli.sidecar.proxy_config.template import Value
    from authz.engine.model import DenyAnswer
    from authz.serve.config.config import Config

_MAX_BODY: Final = 3500  # bytes; nginx reads words of a configuration that are shorter than 4 KiB
_EXAMPLE: Final[dict[str, Value]] = {
    "status": "403",
    "type": "application/json",
    "body": r"""'{"error":"forbidden","reason":"$authz_reason"}\n'""",
    "too_long": False,
}


def render_nginx(config: Config, sites: Sites, ca: str | None = None) -> str:
    """Return nginx.conf. Raises InputError if the sidecar does not listen for nginx, or the CA cannot be used."""
    listen = target("nginx", "http", config.http.listen)
    header, tls = config.client_address.header, config.http.tls
    if ca is not None:
        check_ca(ca, tls, "http.tls", by_host=True)
    notes = [*about_sites(sites), *about_http("nginx", config, listen), *about_certificate("nginx", tls, ca)]
    return fill(
        load("nginx.conf"),
        {
            "where": shorten(listen),
            "notes": comment(notes),
            "server": quoted(f"unix:{listen.path}") if listen.path else str(listen),
            "cache": format_duration(config.http.cache) if config.http.cache else "",
            "cache_key": quoted(_cache_key(config)),
            "scheme": "http" if tls is None else "https",
            "tls": tls is not None,
            "trusted_certificate": quoted(ca or tls.certificate) if tls else "",
            "certificate_name": _host_name(tls.certificate) if tls else "",
            "client_ca": bool(tls and tls.client_ca),
            "keepalive": _time(config.http.idle_timeout * 0.8),
            "ambiguous_path": quoted(f"~*{AMBIGUOUS_PATH}"),
            "valid_host": quoted(f"~^({HOST})$"),
            "by_header": config.application.http == "header",
            "application_header": config.application.header.title(),
            "by_chain": header == "x-forwarded-for",
            "forwarded": header == "forwarded",
            "single": header not in CHAIN_HEADERS,
            "client_header": header.title(),
            "attack_header": (config.attack_signal.header or "").title(),
            "dropped": "\n".join(f'    proxy_set_header {name.title():<22} "";' for name in REMOVED),
            "servers": [*map(_server, sites.by_host), _default_server(sites)],
            "general": [_page(sites.general.deny) if sites.real else _EXAMPLE],
            "pages": [{"name": site.name, **_page(site.deny)} for site in sites.named] if sites.real else [],
        },
    )


def _server(site: Site) -> dict[str, Value]:
    names = " ".join(site.hosts)
    return {"default": "", "names": names, "health": False, "paths": (), "host": site.name, "application": site.name}


def _default_server(sites: Sites) -> dict[str, Value]:
    """Return the server of every other host, with the applications that have a path."""
    paths: list[dict[str, Value]] = [{"application": site.name, "pattern": quoted(site.path)} for site in sites.by_path]
    default = " default_server"
    return {"default": default, "names": "_", "health": True, "paths": paths, "host": "others", "application": ""}


def _page(deny: DenyAnswer) -> dict[str, Value]:
    """Return the page of a denial. `{client}` is the client's address, as the sidecar puts it into its own answers."""
    body = deny.body.replace("$", "${authz_dollar}")
    body = body.replace("{client}", "${authz_shown_client}")
    fits = 0 < len(body.encode()) <= _MAX_BODY
    return {
        "status": str(deny.status),
        "type": quoted(deny.content_type),
        "body": '"' + body.replace("\\", "\\\\").replace('"', '\\"') + '"' if fits else "$authz_nothing",
        "too_long": bool(body) and not fits,
    }


def _cache_key(config: Config) -> str:
    """Return what tells questions apart whose answers may differ: application, host, who the client is, the signal."""
    header, signal = config.client_address.header, config.attack_signal.header
    client = "$proxy_add_x_forwarded_for" if header == "x-forwarded-for" else "$remote_addr"
    if header == "forwarded":
        client = "$authz_forwarded"
    parts = ["$authz_named" if config.application.http == "header" else "$uri", "$host", "$remote_addr", client]
    if signal:
        parts += [f"$http_{name.replace('-', '_')}" for name in (signal, "x-forwarded-for", header)]
    return "\n".join(dict.fromkeys(parts))  # no header has a line feed: else two questions could have one key


def _host_name(certificate: str) -> str:
    """Return the first host name of a certificate, or an example: nginx compares no addresses."""
    return next((name.text for name in names_of(certificate) if name.kind == "DNS"), "authz.example.com")


def _time(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds >= 1 else f"{max(1, int(seconds * 1000))}ms"
