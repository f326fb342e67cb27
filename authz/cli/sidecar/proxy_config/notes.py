"""Notes at the head of a printed configuration: what an operator has to know or to change for it to work."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from authz.addresses import parse_address
from authz.serve.config.config import MAX_CACHE
from authz.times import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from authz.cli.sidecar.proxy_config.sites import Sites
    from authz.serve.config.config import Config
    from authz.serve.config.values import Listen

WARNING: Final = "WARNING: "  # before what would not work
_HOPS = (
    "NOTE: client_address.trusted_hops counts from what this {proxy} writes into X-Forwarded-For: 1 is who connects "
    "to it, 2 whom that one names."
)


def about_sites(sites: Sites) -> Iterator[str]:
    """Say which applications are printed."""
    if not sites.real:
        yield (
            "The applications are examples, for no policy and no snapshot was read. Print again with --policy, or "
            "once the snapshot is built."
        )
    elif sites.by_path:
        names = ", ".join(f"/{site.name}" for site in sites.by_path)
        yield f"NOTE: the policy names no hosts for some applications. They are served at paths of their names: {names}"


def about_envoy(config: Config) -> Iterator[str]:
    """Say what Envoy needs. It reports its own peer, so its own address need not be trusted."""
    client = config.client_address
    if client.trusted_hops:
        yield _HOPS.format(proxy="Envoy")
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
        yield _passed_on("Envoy", client.header)
    if config.grpc.tls and config.grpc.tls.client_ca:
        yield "NOTE: the sidecar wants a certificate of Envoy: see tls_certificates below."


def about_http(proxy: str, config: Config, listen: Listen) -> Iterator[str]:
    """Say what a proxy needs that asks over HTTP: the sidecar's peer is that proxy, which it must trust."""
    client = config.client_address
    if config.http.tls is not None and proxy != "nginx":
        yield (
            f"{WARNING}http.tls is on, and what is printed here has {proxy} ask without TLS: write https:// and the CA "
            "that signed the certificate of the sidecar."
        )
    elif config.http.tls is not None and config.http.tls.client_ca:
        yield "NOTE: the sidecar wants a certificate of nginx: see proxy_ssl_certificate below."
    if proxy == "nginx" and config.http.cache > MAX_CACHE:
        yield (
            f"{WARNING}nginx keeps answers for {format_duration(config.http.cache)}, expected at most "
            f"{format_duration(MAX_CACHE)}: a new ban does not hold before."
        )
    if client.trusted_hops:
        yield _HOPS.format(proxy=proxy)
    if listen.path is not None:
        if not client.trust_unix:
            yield (
                f"{WARNING}client_address.trust_unix is off, and {proxy} asks over a unix socket: every request would "
                "be denied (peer_untrusted_transport). Set trust_unix: true."
            )
    elif not client.trusted_hops:
        yield from _about_source(proxy, config, listen.host or "")


def passed_on(proxy: str, config: Config) -> Iterator[str]:
    """Say that a proxy does not write the header that names the client."""
    if config.client_address.header not in {"x-forwarded-for", "x-real-ip"}:
        yield _passed_on(proxy, config.client_address.header)


def _passed_on(proxy: str, header: str) -> str:
    return (
        f"NOTE: client_address.header is {header}, which {proxy} passes on as it comes. The proxy before it must write "
        "it on every request."
    )


def _about_source(proxy: str, config: Config, host: str) -> Iterator[str]:
    source = "::1" if host == "::1" else "127.0.0.1" if host.startswith("127.") else ""
    if not source:
        yield (
            f"NOTE: the address from which {proxy} asks must be in client_address.trusted_proxies, or {proxy} is the "
            "client of every request."
        )
    elif parse_address(source) not in config.client_address.rules().trusted_proxies:
        yield (
            f"{WARNING}client_address.trusted_proxies has no {source}, from where {proxy} asks: {proxy} would be the "
            "client of every request. Add it."
        )


def comment(notes: Iterable[str]) -> str:
    """Return notes as the lines of a comment."""
    return "\n".join(wrapped(note, 0, hanging="  ") for note in notes)


def wrapped(text: str, indent: int, *, hanging: str = "") -> str:
    """Return text as the lines of a comment that begins at a column."""
    begin = " " * indent + "# "
    return textwrap.fill(text, 118, initial_indent=begin, subsequent_indent=begin + hanging, break_on_hyphens=False)
