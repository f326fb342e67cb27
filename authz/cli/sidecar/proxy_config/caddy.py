"""The configuration of Caddy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from authz.cli.sidecar.proxy_config.notes import about_http, about_sites, comment, passed_on
from authz.cli.sidecar.proxy_config.sites import AMBIGUOUS_PATH, HOST
from authz.cli.sidecar.proxy_config.target import CHAIN_HEADERS, believed, quoted, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import shorten
from authz.serve.grpc.responses import APPLICATION_HEADER, CLIENT_HEADER, LIST_HEADER, REASON_HEADER, REMOVED

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Site, Sites
    from authz.serve.config.config import Config

# All that an answer of the sidecar's HTTP front has of ours, but for the reason.
_HIDDEN: Final = sorted(
    {CLIENT_HEADER, LIST_HEADER, APPLICATION_HEADER, *REMOVED, "x-authz-layer", "x-authz-warnings", "x-authz-dry-run"}
    - {REASON_HEADER}
)


def render_caddy(config: Config, sites: Sites) -> str:
    """Return a Caddyfile. Raises InputError if the sidecar does not listen for Caddy."""
    listen = target("caddy", "http", config.http.listen)
    header = config.client_address.header
    by_header = config.application.http == "header"
    notes = [*about_sites(sites), *about_http("Caddy", config, listen)]
    if header == "forwarded":
        notes += passed_on("Caddy", config)
    return fill(
        load("Caddyfile"),
        {
            "where": shorten(listen),
            "notes": comment(notes),
            "hidden": [{"header": header.title()} for header in _HIDDEN],
            "trusted": " ".join(believed(config)),
            "upstream": quoted(f"unix/{listen.path}") if listen.path else str(listen),
            "single": header not in CHAIN_HEADERS,
            "client_header": header.title(),
            "by_header": by_header,
            "application_header": config.application.header.title(),
            "ambiguous_path": f"`(?i){AMBIGUOUS_PATH}`",
            "bad_connection": f"`(?i)(^|[ \\t,])({'|'.join(_kept(config))})`",
            "valid_host": f"`^({HOST})(:[0-9]*)?$`",
            "hosts": [_site(site, by_header=by_header) | {"names": " ".join(site.hosts)} for site in sites.by_host],
            "paths": [_site(site, by_header=by_header) | {"pattern": f"`{site.path}`"} for site in sites.by_path],
        },
    )


def _kept(config: Config) -> list[str]:
    """Return how names of headers begin that must reach the sidecar or the application, as regular expressions."""
    signal = config.attack_signal.header
    return ["x-", "forwarded", *([re.escape(signal)] if signal else [])]


def _site(site: Site, *, by_header: bool) -> dict[str, str]:
    target_ = "/v1/forward" if by_header else f"/v1/forward/{site.name}"
    return {"name": site.name, "matcher": "app-" + re.sub(r"[^A-Za-z0-9_-]", "_", site.name), "target": target_}
