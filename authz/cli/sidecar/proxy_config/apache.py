"""The configuration of Apache, with the script in it that asks the sidecar."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from authz.cli.sidecar.proxy_config.notes import about_http, about_sites, comment
from authz.cli.sidecar.proxy_config.sites import AMBIGUOUS_PATH, HOST
from authz.cli.sidecar.proxy_config.target import CHAIN_HEADERS, quoted, target
from authz.cli.sidecar.proxy_config.template import fill, load
from authz.errors import shorten

if TYPE_CHECKING:
    from authz.cli.sidecar.proxy_config.sites import Sites
    from authz.serve.config.config import Config


def render_apache(config: Config, sites: Sites) -> str:
    """Return apache.conf. Raises InputError if the sidecar does not listen for Apache."""
    listen = target("apache", "http", config.http.listen)
    return fill(
        load("apache.conf"),
        {
            "where": shorten(listen),
            "notes": comment([*about_sites(sites), *about_http("Apache", config, listen)]),
            "hosts": [{"name": site.name, "names": "|".join(map(re.escape, site.hosts))} for site in sites.by_host],
            "paths": [{"name": site.name, "pattern": site.path} for site in sites.by_path],
            "script": textwrap.indent(_script(config), " " * 12).rstrip(),
        },
    )


def _script(config: Config) -> str:
    listen = target("apache", "http", config.http.listen)
    header = config.client_address.header
    return fill(
        load("apache.lua"),
        {
            "unix": listen.path is not None,
            "path": quoted(str(listen.path or "")),
            "host": quoted(listen.host or ""),
            "port": str(listen.port),
            "by_chain": header == "x-forwarded-for",
            "forwarded": header == "forwarded",
            "single": header not in CHAIN_HEADERS,
            "client_header": quoted(header),
            "attack": bool(config.attack_signal.header),
            "attack_header": quoted(config.attack_signal.header or ""),
            "by_header": config.application.http == "header",
            "application_header": quoted(config.application.header),
            "ambiguous_path": AMBIGUOUS_PATH,
            "valid_host": f"^({HOST})(:[0-9]*)?$",
        },
    )
