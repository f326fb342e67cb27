"""Whom the NetworkPolicies of an overlay let through. No node is there to see them enforced."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from support.proxies.kubernetes.kustomize import containers_of, pod_labels, pod_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from support.proxies.kubernetes.kustomize import Manifest
    from support.proxies.kubernetes.mounted import Mounted

_NAME: Final = "kubernetes.io/metadata.name"  # the label that each namespace has
_OUTSIDE: Final[dict[str, str]] = {}  # labels of what is in no namespace
_PORTS: Final = {"http": 80, "https": 443, "s3": 443, "gs": 443, "az": 443}


class Port(NamedTuple):
    """A port that is asked for: by its number, and by its name where a container has one."""

    number: int
    name: str = ""
    protocol: str = "TCP"


NAME_SERVER: Final = (Port(53, protocol="UDP"), Port(53))


def named(manifest: Manifest, name: str) -> Port:
    """Return the port of that name of a manifest's pods."""
    for container in containers_of(pod_spec(manifest) or {"containers": []}):
        for port in container.get("ports", ()):
            if port.get("name") == name:
                return Port(port["containerPort"], name, port.get("protocol", "TCP"))
    raise AssertionError(f"no port {name}")


def lets_in(manifests: Sequence[Manifest], pods: Manifest, namespace: Mapping[str, str], port: Port) -> bool:
    """Return whether pods may be asked from a namespace with these labels."""
    return _lets(manifests, pods, "Ingress", namespace, port)


def lets_out(manifests: Sequence[Manifest], pods: Manifest, namespace: Mapping[str, str], port: Port) -> bool:
    """Return whether pods may ask in a namespace with these labels; none: outside of the cluster."""
    return _lets(manifests, pods, "Egress", namespace, port)


def cut_off(manifests: Sequence[Manifest], sidecar: Mounted) -> list[str]:
    """Return where a sidecar cannot fetch its layers, for want of a service, a port, a name server or a policy."""
    urls = [layer.url for layer in sidecar.config.layers_in_order() if layer.url]
    problems = {problem for url in urls for problem in _unreachable(manifests, sidecar, str(url))}
    system = {_NAME: "kube-system"}
    if urls and not all(lets_out(manifests, sidecar.manifest, system, port) for port in NAME_SERVER):
        problems.add("the name server cannot be asked")
    return sorted(problems)


def _unreachable(manifests: Sequence[Manifest], sidecar: Mounted, url: str) -> Iterator[str]:
    parts = urlsplit(url)
    number = parts.port or _PORTS[parts.scheme]
    inside = re.fullmatch(r"([a-z-]+)\.([a-z-]+)\.svc(\.cluster\.local)?", parts.hostname or "")
    if inside is None:
        if not lets_out(manifests, sidecar.manifest, _OUTSIDE, Port(number)):
            yield f"{url}: the policies of the sidecar let nothing out to port {number}"
        return
    service, namespace = inside[1], inside[2]
    if not lets_out(manifests, sidecar.manifest, {_NAME: namespace}, Port(number)):
        yield f"{url}: the policies of the sidecar let nothing out to {namespace}, port {number}"
    for asked in (m for m in manifests if m["kind"] == "Service" and _is(m, namespace, service)):
        if number not in {port["port"] for port in asked["spec"]["ports"]}:
            yield f"{url}: the service has no port {number}"
    for pods in (m for m in manifests if m["kind"] == "Deployment" and _is(m, namespace, service)):
        if not lets_in(manifests, pods, _labels(manifests, sidecar.manifest), named(pods, "api")):
            yield f"{url}: the policies of {namespace} let the sidecar's namespace not in"


def _is(manifest: Manifest, namespace: str | None, name: str) -> bool:
    return (manifest["metadata"].get("namespace"), manifest["metadata"]["name"]) == (namespace, name)


def _labels(manifests: Sequence[Manifest], pods: Manifest) -> dict[str, str]:
    """Return the labels of a namespace; of the operator's own the page says which it needs."""
    name = pods["metadata"].get("namespace", "default")
    (made,) = [
        m["metadata"].get("labels", {}) for m in manifests if m["kind"] == "Namespace" and _is(m, None, name)
    ] or [{"authz-control-client": "true"}]
    return {**made, _NAME: name}


def _lets(
    manifests: Sequence[Manifest], pods: Manifest, direction: str, namespace: Mapping[str, str], port: Port
) -> bool:
    policies = [
        manifest["spec"]
        for manifest in manifests
        if manifest["kind"] == "NetworkPolicy"
        and manifest["metadata"].get("namespace") == pods["metadata"].get("namespace")
        and _matches(manifest["spec"]["podSelector"], pod_labels(pods))
        and direction in manifest["spec"]["policyTypes"]
    ]
    rules = [rule for spec in policies for rule in spec.get(direction.lower(), ())]
    peers = "from" if direction == "Ingress" else "to"
    return not policies or any(_peer(rule.get(peers), namespace) and _port(rule.get("ports"), port) for rule in rules)


def _peer(peers: Sequence[Manifest] | None, namespace: Mapping[str, str]) -> bool:
    """Return whether any of the peers is that namespace; without any, a rule is for everybody."""
    if not peers:
        return True
    return any("namespaceSelector" in peer and _matches(peer["namespaceSelector"], namespace) for peer in peers)


def _port(ports: Sequence[Manifest] | None, port: Port) -> bool:
    return not ports or any(
        each["port"] in {port.number, port.name} and each.get("protocol", "TCP") == port.protocol for each in ports
    )


def _matches(selector: Any, labels: Mapping[str, str]) -> bool:
    expressions = selector.get("matchExpressions", ())
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )
