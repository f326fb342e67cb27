"""What a sidecar saw of requests that were sent through a proxy, and what that means: the judgement of `authz doctor`.

Pure: requests with what came of them go in, findings come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from authz.addresses import try_parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from authz.addresses import NetworkSet

FORGED: Final = "203.0.113.77"  # documentation space: nobody's own address

_REASONS: Final = {
    "client_unresolved": "the chain in the forwarding header could not be read where it had to be",
    "forwarded_missing": "a trusted proxy sent no forwarding header: let it write client_address.header always",
    "peer_untrusted_transport": "the proxy asks over a unix socket: set client_address.trust_unix",
    "unknown_application": "the proxy names an application that the policy does not know",
    "malformed_request": "the request could not be read",
    "no_snapshot": "no snapshot is loaded yet",
    "stale_snapshot": "the snapshot is older than it may be",
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
    """What a probe means. bad: something is wrong."""

    bad: bool
    text: str


def judge(probes: Sequence[Probe], trusted: NetworkSet) -> list[Finding]:
    """Return what the probes mean, each finding once. trusted: `client_address.trusted_proxies`."""
    return list(dict.fromkeys(finding for probe in probes for finding in _of(probe, trusted)))


def _of(probe: Probe, trusted: NetworkSet) -> Iterator[Finding]:
    seen = probe.seen
    if probe.status is None:
        yield Finding(True, f"{probe.name}: the proxy did not answer")
    elif seen is None:
        yield Finding(
            True,
            f"{probe.name}: the proxy answered {probe.status} and did not ask this sidecar: its route is exempt, or it "
            "asks another one, or it refused the request itself",
        )
    else:
        if seen["reason"] == "unknown_application" and not seen["named"]:
            yield Finding(False, "a request that is for none of your applications is denied: see application.unknown")
        elif seen["reason"] in _REASONS:
            yield Finding(True, f"{seen['reason']}: {_REASONS[seen['reason']]}")
        yield from _of_the_client(probe, seen, trusted)
        if probe.application not in {None, seen["application"]}:
            yield Finding(
                True,
                f"{probe.name}: decided as {seen['application']}, expected {probe.application}: the proxy names "
                f"{seen['named'] or 'none'} on this route",
            )
        if seen["decision"] == "deny" and not 400 <= probe.status <= 503:
            yield Finding(True, f"{probe.name}: the sidecar denied it, and the proxy answered {probe.status}")


def _of_the_client(probe: Probe, seen: Mapping[str, Any], trusted: NetworkSet) -> Iterator[Finding]:
    client, source = seen["client"], try_parse_address(probe.source)
    if client is None or source is None or probe.forwarded is None:
        return
    if client == probe.forwarded:
        yield Finding(
            False,
            f"who connects from {source.text} says in the forwarding header who the client is: it is in "
            "client_address.trusted_proxies",
        )
    elif client == source.text:
        yield Finding(False, f"{source.text} is not believed about others: who connects is the client")
    elif source in trusted:
        yield Finding(
            True,
            f"the client is taken to be {client}, which neither connected ({source.text}) nor was named "
            f"({probe.forwarded}): a proxy writes its own address into the chain, so nobody is denied. Envoy does so "
            "for peers on its machine: set skip_xff_append, or use what `authz print-config envoy` prints",
        )
    else:
        yield Finding(True, f"the client is taken to be {client}: another proxy stands between, and is not trusted")
