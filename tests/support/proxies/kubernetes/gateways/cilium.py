"""What Cilium makes of our route with `ExternalAuth`: its operator's own translation, and its result for an Envoy.

CILIUM names the program of the folder cilium/, built with `go build -mod=mod`. It has no cluster, and its Envoy is not
Cilium's: the filters that Cilium's agent adds are not there.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from support.processes import LOOPBACK
from support.proxies.kubernetes.kustomize import build

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.proxies.kubernetes.kustomize import Manifest

_GATEWAY: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: cilium}
spec: {controllerName: io.cilium/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: public, namespace: gateway}
spec:
  gatewayClassName: cilium
  listeners:
  - {name: http, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {ports: [{name: http, port: 8080, targetPort: 8080, protocol: TCP}]}
"""
_READ: Final = {"HTTPRoute", "ReferenceGrant", "Service"}
_PROXY_PROTOCOL: Final = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"


def manifests() -> list[Manifest]:
    """Return what Cilium reads of our folder for gateways of the Gateway API."""
    return [manifest for manifest in build("gateway gateway-api") if manifest["kind"] in _READ]


def translate(ours: Sequence[Manifest]) -> list[dict[str, Any]]:
    """Return the resources for Envoy that Cilium makes of these manifests."""
    program = os.environ.get("CILIUM")
    if not program or not Path(program).is_file():
        pytest.skip("needs CILIUM, the path of tests/support/proxies/kubernetes/gateways/cilium as a program")
    given = yaml.safe_dump_all([*yaml.safe_load_all(_GATEWAY), *ours])
    done = subprocess.run([program], input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    resources: list[dict[str, Any]] = yaml.safe_load(done.stdout)["spec"]["resources"]
    return resources


def connection_of(resources: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of HTTP of the one listener."""
    (listener,) = (resource for resource in resources if resource["@type"].endswith(".Listener"))
    typed: dict[str, Any] = listener["filterChains"][0]["filters"][0]["typedConfig"]
    return typed


def as_a_file(resources: Sequence[Mapping[str, Any]], ports: Mapping[str, int]) -> dict[str, Any]:
    """Return them as a configuration without a control plane. ports: where a cluster is, by a part of its name.

    The listener `edge` is behind the PROXY protocol, so that a test chooses who connects.
    """
    plain = [({**resource}, resource["@type"].rpartition(".")[2]) for resource in resources]
    for resource, _ in plain:
        del resource["@type"]
    (edge,) = (resource for resource, kind in plain if kind == "Listener")
    (routes,) = (resource for resource, kind in plain if kind == "RouteConfiguration")
    typed = edge["filterChains"][0]["filters"][0]["typedConfig"]
    del typed["rds"]
    typed["routeConfig"] = routes
    edge |= {"name": "edge", "address": _address(0), "listenerFilters": [{
        "name": "envoy.filters.listener.proxy_protocol", "typedConfig": {"@type": _PROXY_PROTOCOL},
    }]}  # fmt: skip
    edge.pop("socketOptions", None)
    clusters = [resource for resource, kind in plain if kind == "Cluster"]
    for cluster in clusters:
        (port,) = (port for part, port in ports.items() if part in cluster["name"])
        cluster.pop("edsClusterConfig", None)
        cluster |= {"type": "STATIC", "loadAssignment": {
            "clusterName": cluster["name"],
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": _address(port)}}]}],
        }}  # fmt: skip
    return {"admin": {"address": _address(0)}, "staticResources": {"listeners": [edge], "clusters": clusters}}


def _address(port: int) -> dict[str, Any]:
    return {"socketAddress": {"address": LOOPBACK, "portValue": port}}
