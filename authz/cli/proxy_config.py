"""The configuration of a proxy that asks the sidecar of a given authz.yaml, for `authz print-config`.

The text is in templates/, whole but for what depends on the configuration:

    {{ name }}          a value, written as the language of the file wants it
    {{ if name }}       the lines up to {{ end }} only where it is true; {{ if not name }} where it is not

Pure: the same configuration gives the same text. Notes at its head say what an operator has to know or to change for
the two to work together.
"""

from __future__ import annotations

import re
import textwrap
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import yaml

from authz.addresses import parse_address
from authz.errors import InputError, shorten
from authz.serve.grpc.responses import APPLICATION_HEADER, CLIENT_HEADER, LIST_HEADER, REMOVED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.serve.config import Config, Listen

_CHAINS: Final = ("x-forwarded-for", "forwarded")
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # where to ask who listens everywhere
_MARK: Final = re.compile(r"\{\{ (\w+) \}\}")
_CONDITION: Final = re.compile(r"\{\{ (?:(if|if not) (\w+)|end) \}\}")


def render(proxy: str, config: Config) -> str:
    """Return the configuration of `envoy` or `nginx`.

    Raises InputError where the sidecar does not listen for that proxy, or on a port that is not known yet.
    """
    return _envoy(config) if proxy == "envoy" else _nginx(config)


def fill(template: str, values: Mapping[str, str | bool]) -> str:
    """Return the template with its values in place. Raises KeyError for a name without a value."""
    lines: list[str] = []
    conditions: list[bool] = []
    for line in template.splitlines():
        condition = _CONDITION.fullmatch(line)
        if condition is None:
            if all(conditions):
                lines.append(_MARK.sub(lambda mark: str(values[mark[1]]), line))
        elif condition[1]:
            conditions.append(bool(values[condition[2]]) == (condition[1] == "if"))
        else:
            conditions.pop()
    return "\n".join(lines) + "\n"


def _envoy(config: Config) -> str:
    listen = _target("envoy", "grpc", config.grpc.listen)
    tls, signal = config.grpc.tls, config.attack_signal
    header = config.client_address.header
    values: dict[str, str | bool] = {
        "where": _where(listen),
        "notes": _comment(_envoy_notes(config)),
        "external_address": header == "x-envoy-external-address",
        "context_key": _yaml(config.application.context_key),
        "client_header": _yaml(header),
        "our_headers": _wrapped(f"[{', '.join((CLIENT_HEADER, LIST_HEADER, APPLICATION_HEADER, *REMOVED))}].", 14),
        "attack_header": _yaml(signal.header) if signal.header else "",
        "attack_namespace": _yaml(signal.metadata.namespace) if signal.metadata else "",
        "tls": tls is not None,
        "certificate": _yaml(tls.certificate) if tls else "",
        "client_ca": bool(tls and tls.client_ca),
        "unix": listen.path is not None,
        "path": _yaml(str(listen.path)),
        "host": _yaml(listen.host or ""),
        "port": str(listen.port),
    }
    return fill(_template("envoy.yaml"), values)


def _nginx(config: Config) -> str:
    listen = _target("nginx", "http", config.http.listen)
    header = config.client_address.header
    values: dict[str, str | bool] = {
        "where": _where(listen),
        "notes": _comment(_nginx_notes(config, listen)),
        "server": _nginx_quoted(f"unix:{listen.path}") if listen.path else str(listen),
        "keepalive": _nginx_time(config.http.idle_timeout * 0.8),
        "by_header": config.application.http == "header",
        "application_header": config.application.header.title(),
        "by_chain": header == "x-forwarded-for",
        "forwarded": header == "forwarded",
        "single": header not in _CHAINS,
        "client_header": header.title(),
        "attack_header": (config.attack_signal.header or "").title(),
        "dropped": "\n".join(
            f'        proxy_set_header {name.title():<22} "";' for name in (APPLICATION_HEADER, *REMOVED)
        ),
    }
    return fill(_template("nginx.conf"), values)


def _template(name: str) -> str:
    return (files("authz.cli") / "templates" / name).read_text(encoding="utf-8")


def _target(proxy: str, front: str, listen: Listen) -> Listen:
    """Return where the proxy finds a listener. Raises InputError where there is nothing to find."""
    if listen.path is None and listen.host is None:
        raise InputError(
            f"{front}.listen: found 'off', expected a listener for {proxy}", hint=f"set {front}.listen in authz.yaml"
        )
    if listen.path is None and listen.port == 0:
        raise InputError(
            f"{front}.listen: found port 0, expected the port that {proxy} is to ask", hint="name a port in authz.yaml"
        )
    host = _LOOPBACK.get(listen.host or "", listen.host)
    return type(listen)(host=host, port=listen.port, path=listen.path)


def _where(listen: Listen) -> str:
    return shorten(listen)


def _envoy_notes(config: Config) -> Iterator[str]:
    """Yield what an operator has to know. Envoy reports its own peer, so its own address is never looked at."""
    client = config.client_address
    if client.trusted_hops:
        yield (
            "NOTE: client_address.trusted_hops counts from what this Envoy writes into X-Forwarded-For: 1 is who "
            "connects to it, 2 whom that one names."
        )
    elif not client.trusted_proxies:
        yield (
            "NOTE: client_address.trusted_proxies is empty: who connects to this Envoy is the client. Behind a load "
            "balancer list its addresses there, or the balancer is the client of every request."
        )
    if client.header == "x-envoy-external-address":
        yield (
            "NOTE: client_address.header is x-envoy-external-address: set xff_num_trusted_hops to the number of "
            "proxies before this Envoy, or it names the nearest of them."
        )
    elif client.header != "x-forwarded-for":
        yield (
            f"NOTE: client_address.header is {client.header}, which Envoy passes on as it comes. The proxy before it "
            "must write it on every request."
        )
    if config.grpc.tls and config.grpc.tls.client_ca:
        yield "NOTE: the sidecar wants a certificate of Envoy: see tls_certificates below."


def _nginx_notes(config: Config, listen: Listen) -> Iterator[str]:
    """Yield what an operator has to know. The sidecar's peer is nginx, which it must trust to believe a header."""
    client = config.client_address
    if client.trusted_hops:
        yield (
            "NOTE: client_address.trusted_hops counts from what this nginx writes into X-Forwarded-For: 1 is who "
            "connects to it, 2 whom that one names."
        )
    if listen.path is not None:
        if not client.trust_unix:
            yield (
                "WARNING: client_address.trust_unix is off, and nginx asks over a unix socket: every request would be "
                "denied (peer_untrusted_transport). Set trust_unix: true."
            )
    elif not client.trusted_hops:
        yield from _nginx_source_notes(config, listen.host or "")


def _nginx_source_notes(config: Config, host: str) -> Iterator[str]:
    source = "::1" if host == "::1" else "127.0.0.1" if host.startswith("127.") else ""
    if not source:
        yield (
            "NOTE: the address from which nginx asks must be in client_address.trusted_proxies, or nginx is the client "
            "of every request."
        )
    elif parse_address(source) not in config.client_address.rules().trusted_proxies:
        yield (
            f"WARNING: client_address.trusted_proxies has no {source}, from where nginx asks: nginx would be the "
            "client of every request. Add it."
        )


def _comment(notes: Iterator[str]) -> str:
    return "\n".join(_wrapped(note, 0, hanging="  ") for note in notes)


def _wrapped(text: str, indent: int, *, hanging: str = "") -> str:
    begin = " " * indent + "# "
    return textwrap.fill(text, 118, initial_indent=begin, subsequent_indent=begin + hanging, break_on_hyphens=False)


def _yaml(text: str) -> str:
    """Return a double-quoted YAML scalar on one line."""
    return str(yaml.safe_dump(text, default_style='"', width=float("inf"), allow_unicode=False)).strip()


def _nginx_time(seconds: float) -> str:
    return f"{int(seconds)}s" if seconds >= 1 else f"{max(1, int(seconds * 1000))}ms"


def _nginx_quoted(text: str) -> str:
    """Return a double-quoted word of nginx. No variables: only for where nginx expands none."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'
