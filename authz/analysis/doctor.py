"""What a sidecar saw of requests that were sent through a proxy, and what that means: the judgement of `authz doctor`.

Pure: requests with what came of them go in, findings come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.addresses import try_parse_address
from authz.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from authz.addresses import NetworkSet

FORGED: Final = "203.0.113.77"  # documentation space: nobody's own address

_REASONS: Final = {
    "client_unresolved": "the forwarding header has an invalid address, or too many addresses, before the client's",
    "forwarded_missing": "a trusted proxy sent no forwarding header: let it send client_address.header always",
    "peer_untrusted_transport": "the proxy asks over a unix socket: set client_address.trust_unix: true",
    "malformed_request": "the sidecar could not read the request",
    "no_snapshot": "the sidecar has no snapshot yet: its /readyz says why",
    "stale_snapshot": "the snapshot is older than max_age, or has expired",
}


class Probe(NamedTuple):
    """A request that was sent.

    Attributes:
        name: What it is for.
        path: Asked for.
        host: Of the request; "" for the proxy's own.
        forwarded: The client that it claims to come from; None: none.
        application: Which it should be decided as; None: any.
        status: That the proxy answered; None: it did not.
        source: Our own address, as the proxy sees it.
        seen: The decision at the sidecar; None: it was not asked.
    """

    name: str
    path: str
    host: str
    forwarded: str | None
    application: str | None
    status: int | None
    source: str
    seen: Mapping[str, Any] | None


class Finding(NamedTuple):
    """What a probe means.

    Attributes:
        bad: Something is wrong.
        text: For people.
    """

    bad: bool
    text: str


def judge(probes: Sequence[Probe], trusted: NetworkSet) -> list[Finding]:
    """Return what the probes mean, each finding once.

    Args:
        probes: What was asked, and the answers.
        trusted: `client_address.trusted_proxies`.
    """
    return list(dict.fromkeys(finding for probe in probes for finding in _of(probe, trusted)))


def _of(probe: Probe, trusted: NetworkSet) -> Iterator[Finding]:
    seen = probe.seen
    if probe.status is None:
        yield Finding(True, f"{probe.name}: the proxy did not answer")
    elif seen is None:
        yield Finding(
            True,
            f"{probe.name}: the proxy answered {probe.status} and did not ask this sidecar: the route is exempt, or "
            "the proxy asks another sidecar, or it refused the request itself",
        )
    else:
        if seen["reason"] == "unknown_application":
            yield _of_the_application(probe, seen)
        elif seen["reason"] in _REASONS:
            yield Finding(True, f"{seen['reason']}: {_REASONS[seen['reason']]}")
        yield from _of_the_client(probe, seen, trusted)
        if probe.application not in {None, seen["application"]}:
            yield Finding(
                True,
                f"{probe.name}: decided as {seen['application']}, expected {probe.application}: the proxy names "
                f"{seen['named'] or 'no application'} on this route",
            )
        if seen["decision"] == "deny" and not 400 <= probe.status <= 503:
            what = f"the sidecar denied it, but the proxy answered {probe.status}, expected 400 to 503"
            yield Finding(True, f"{probe.name}: {what}")


def _of_the_application(probe: Probe, seen: Mapping[str, Any]) -> Finding:
    """Return what it means that the application is unknown."""
    if not seen["named"]:
        return Finding(False, "a request that is for none of your applications is denied: see application.unknown")
    what = f"the proxy names the application '{shorten(seen['named'])}', which the policy does not have"
    return Finding(True, f"{probe.name}: {what}")


def _of_the_client(probe: Probe, seen: Mapping[str, Any], trusted: NetworkSet) -> Iterator[Finding]:
    client, source = seen["client"], try_parse_address(probe.source)
    proxy = try_parse_address(seen["peer"]) if seen["front"] == "http" else None
    if proxy is not None and client == proxy.text and proxy not in trusted:
        yield Finding(
            True,
            f"the proxy asked from {proxy.text}, which is not in client_address.trusted_proxies: it is taken for the "
            "client of every request, and no list holds for anybody behind it. Name it there",
        )
        return
    if client is None or source is None or probe.forwarded is None:
        return
    if client == probe.forwarded:
        yield Finding(
            False,
            f"{source.text} connected, and named the client in the forwarding header: it may, as it is in "
            "client_address.trusted_proxies",
        )
    elif client == source.text:
        yield Finding(False, f"{source.text} connected, and is the client: another client that it names does not count")
    elif source in trusted:
        yield Finding(
            True,
            f"found client {client}, expected {source.text} (which connected) or {probe.forwarded} (which it named): a "
            "proxy writes its own address into the forwarding header, so every request seems to come from it. Envoy "
            "does so for peers on its machine: set skip_xff_append, or use what `authz print-config envoy` prints",
        )
    else:
        what = f"found client {client}, expected {source.text} (which connected) or {probe.forwarded} (which it named)"
        yield Finding(True, f"{what}: another proxy stands between, which is not in client_address.trusted_proxies")
