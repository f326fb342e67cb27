"""What Envoy Gateway makes of our manifests: its own `egctl x translate`, and its result as a file for an Envoy."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from support.processes import LOOPBACK
from support.proxies.kubernetes.kustomize import build

if TYPE_CHECKING:
    from collections.abc import Mapping

_GATEWAY: Final = """\
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  gatewayClassName: eg
  listeners:
  - {name: http, protocol: HTTP, port: 8080, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: edge}]
  hostnames: [shop.example.com]
  rules: [{backendRefs: [{name: shop, port: 8000}]}]
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: shop}
spec: {clusterIP: 10.0.0.11, ports: [{name: http, port: 8000, targetPort: 8000, protocol: TCP}]}
"""
_TRANSLATED: Final = {
    "Namespace",
    "Service",
    "SecurityPolicy",
    "ReferenceGrant",
}

_PROXY_PROTOCOL: Final = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"


def translate(folder: Path) -> dict[str, Any]:
    """Return the dumps of Envoy's configuration by kind, such as `Routes`, for a route with our SecurityPolicy."""
    egctl = os.environ.get("EGCTL")
    if not egctl or not Path(egctl).is_file():
        pytest.skip("needs EGCTL, the path of Envoy Gateway's egctl")
    ours = [manifest for manifest in build("gateway envoy-gateway") if manifest["kind"] in _TRANSLATED]
    for manifest in ours:
        if manifest["kind"] == "Service":
            manifest["spec"]["clusterIP"] = "10.0.0.12"  # which an API server would choose
    (folder / "manifests.yaml").write_text(yaml.safe_dump_all([*yaml.safe_load_all(_GATEWAY), *ours]))
    command = [egctl, "x", "translate", "--from", "gateway-api", "--to", "xds", "--type", "all", "--output", "json"]
    done = subprocess.run(
        [*command, "--file", "manifests.yaml"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (dumps,) = json.loads(done.stdout)["xds"].values()
    return {dump["@type"].rpartition(".")[2].removesuffix("ConfigDump"): dump for dump in dumps["configs"]}


def as_a_file(dumps: Mapping[str, Any], ports: Mapping[str, int]) -> dict[str, Any]:
    """Return them as a configuration without a control plane. ports: where a cluster is, by a part of its name.

    The listener `edge` is behind the PROXY protocol, so that a test chooses who connects.
    """
    routes = {
        route["routeConfig"]["name"]: {**route["routeConfig"]} for route in dumps["Routes"]["dynamicRouteConfigs"]
    }
    listeners = [dump["activeState"]["listener"] for dump in dumps["Listeners"]["dynamicListeners"]]
    (edge,) = (listener for listener in listeners if "ready" not in listener["name"])
    (connection,) = edge["defaultFilterChain"]["filters"]
    typed = connection["typedConfig"]
    typed["routeConfig"] = routes[typed.pop("rds")["routeConfigName"]]
    del typed["routeConfig"]["@type"]
    del edge["@type"]
    edge |= {"name": "edge", "address": _address(0), "listenerFilters": [{
        "name": "envoy.filters.listener.proxy_protocol",
        "typedConfig": {"@type": _PROXY_PROTOCOL},
    }]}  # fmt: skip
    clusters = [dump["cluster"] for dump in dumps["Clusters"]["dynamicActiveClusters"]]
    for cluster in clusters:
        (port,) = (port for part, port in ports.items() if part in cluster["name"])
        del cluster["edsClusterConfig"], cluster["@type"]
        endpoint = {"endpoint": {"address": _address(port)}}
        cluster |= {"type": "STATIC", "loadAssignment": {
            "clusterName": cluster["name"], "endpoints": [{"lbEndpoints": [endpoint], "loadBalancingWeight": 1}],
        }}  # fmt: skip
        cluster["loadBalancingPolicy"]["policies"][0]["typedExtensionConfig"]["typedConfig"].pop(
            "localityLbConfig", None
        )
    return {
        "admin": {"address": _address(0)},
        "staticResources": {"listeners": [edge], "clusters": clusters},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socketAddress": {"address": LOOPBACK, "portValue": port}}
