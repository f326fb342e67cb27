"""The real istiod: it reads objects and its mesh configuration from a real API server, and tells a real Envoy.

No node runs pods, so what that Envoy was told becomes a file for another one, whose clusters lead to this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from support.processes import LOOPBACK, Process, free_port, wait_for
from support.proxies.kubernetes.kustomize import KUBERNETES, build
from support.proxies.programs.envoy import Envoy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

HOST: Final = "shop.example.com"
_SYSTEM, _INGRESS = "istio-system", "istio-ingress"
_READ: Final = {"AuthorizationPolicy", "Service"}  # what Istio reads of the overlay
_OUTSIDE: Final = "198.18.0.1"  # a pod: an API server takes no address of loopback for one
# What Istio's own build of Envoy has and the official one has not; neither changes who is asked.
_ENVIRONMENT: Final = {
    "PILOT_ENABLE_ALPN_FILTER": "false",
    "PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "INJECT_ENABLED": "false",
    "ENABLE_CA_SERVER": "false",
    "VALIDATION_WEBHOOK_CONFIG_NAME": "",
    "POD_NAMESPACE": _SYSTEM,
    "POD_NAME": "istiod-0",
}


def objects(overlay: str, port: int, second: str = "") -> list[Manifest]:
    """Return what Istio reads: of the overlay, with its mesh configuration, and an application behind a gateway.

    second: an application that gets what `shop` has: a provider, a policy and a route.
    """
    mesh = (KUBERNETES / "gateways" / overlay / "meshconfig.yaml").read_text()
    ours = [manifest for manifest in build(f"gateway {overlay}") if manifest["kind"] in _READ]
    if second:
        mesh += mesh.partition("extensionProviders:\n")[2].replace("shop", second)
        (policy,) = (manifest for manifest in ours if manifest["kind"] == "AuthorizationPolicy")
        ours += [yaml.safe_load(yaml.safe_dump(policy).replace("shop", second)), _route(second)]
    mesh += "enableAutoMtls: false\n"  # its certificates come from an agent, which is not here
    listens = {"number": port, "name": "http", "protocol": "HTTP"}
    return [
        *ours,
        _route("shop"),
        _object("v1", "ConfigMap", _SYSTEM, "istio", data={"mesh": mesh}),
        _object("v1", "Service", "shop", "shop", spec={"ports": [{"name": "http", "port": 8080}]}),
        _pods("shop", "shop", {"http": 8080}),
        _pods("authz", "authz", {"grpc": 9191, "http": 9192}),
        _object("networking.istio.io/v1", "Gateway", _INGRESS, "edge", spec={
            "selector": {"istio": "ingress"}, "servers": [{"bind": LOOPBACK, "port": listens, "hosts": ["*"]}],
        }),
    ]  # fmt: skip


def _route(application: str) -> Manifest:
    """Return a route to the one application that is there, by the host of another."""
    route = {"destination": {"host": "shop.shop.svc.cluster.local", "port": {"number": 8080}}}
    return _object("networking.istio.io/v1", "VirtualService", "shop", application, spec={
        "hosts": [HOST.replace("shop", application)], "gateways": [f"{_INGRESS}/edge"], "http": [{"route": [route]}],
    })  # fmt: skip


def _object(version: str, kind: str, namespace: str, name: str, **more: Any) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, **more}


def _pods(namespace: str, service: str, ports: Mapping[str, int]) -> Manifest:
    made = _object(
        "discovery.k8s.io/v1", "EndpointSlice", namespace, f"{service}-1", addressType="IPv4",
        endpoints=[{"addresses": [_OUTSIDE], "conditions": {"ready": True}}],
        ports=[{"name": name, "port": port, "protocol": "TCP"} for name, port in ports.items()],
    )  # fmt: skip
    made["metadata"]["labels"] = {"kubernetes.io/service-name": service}
    return made


@contextlib.contextmanager
def start_istiod(cluster: Cluster, folder: Path, **environment: str) -> Iterator[int]:
    """Run it, and give the port where it tells Envoys; skips where ISTIOD names no program."""
    istiod = os.environ.get("ISTIOD")
    if not istiod or not Path(istiod).is_file():
        pytest.skip("needs ISTIOD, the path of Istio's pilot-discovery")
    ports = {name: free_port() for name in ("http", "grpc", "monitoring")}
    command = [istiod, "discovery", "--kubeconfig", str(cluster.kubeconfig), "--namespace", _SYSTEM]
    command += [f"--{name}Addr={LOOPBACK}:{port}" for name, port in ports.items()]
    command += ["--secureGRPCAddr=", "--httpsAddr=", "--ctrlz_port=0", "--clusterID=Kubernetes"]
    with Process(command, cwd=folder, env=os.environ | _ENVIRONMENT | environment) as process:
        process.wait_for_line("starting gRPC discovery service at")
        yield ports["grpc"]


def told(port: int, folder: Path, *hosts: str) -> dict[str, Any]:
    """Return what istiod tells the Envoy of a gateway, which takes it: by kind, such as `Listeners`.

    hosts: of routes that must be there, beside that of `shop`.
    """
    gateway = {
        "id": f"router~{_OUTSIDE}~gateway-0.{_INGRESS}~{_INGRESS}.svc.cluster.local",
        "cluster": f"gateway.{_INGRESS}",
        "metadata": {
            "LABELS": {"istio": "ingress"}, "NAMESPACE": _INGRESS, "NAME": "gateway-0", "CLUSTER_ID": "Kubernetes",
            "PROXY_CONFIG": {"gatewayTopology": {"proxyProtocol": {}}},
        },
    }  # fmt: skip
    endpoint = {"endpoint": {"address": _address(port)}}
    istiod = {
        "name": "istiod", "type": "STATIC", "connect_timeout": "5s", "http2_protocol_options": {},
        "load_assignment": {"cluster_name": "istiod", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }  # fmt: skip
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    source = {"api_type": "GRPC", "transport_api_version": "V3"}
    asking = {
        "node": gateway,
        "admin": {"address": _address(0)},
        "dynamic_resources": {
            "ads_config": {**source, "grpc_services": [{"envoy_grpc": {"cluster_name": "istiod"}}]},
            "cds_config": ads, "lds_config": ads,
        },
        "static_resources": {"clusters": [istiod]},
    }  # fmt: skip
    with Envoy(folder, asking) as envoy:

        def dumps() -> dict[str, Any] | None:
            configs = json.loads(envoy.get("/config_dump").body)["configs"]
            kinds = {dump["@type"].rpartition(".")[2].removesuffix("ConfigDump"): dump for dump in configs}
            assert "error_state" not in json.dumps(kinds["Listeners"]), kinds["Listeners"]
            routes = json.dumps(kinds.get("Routes", {}))
            return kinds if all(host in routes for host in (HOST, *hosts)) else None

        taken: dict[str, Any] = wait_for(dumps, "the gateway has the route", patience=60)
        return taken


def checks_of(dumps: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of the filters that ask authz."""
    manager = _edge(dumps)["filter_chains"][0]["filters"][-1]["typed_config"]
    return [
        http_filter["typed_config"]
        for http_filter in manager["http_filters"]
        if "ext_authz" in http_filter["typed_config"]["@type"]
    ]


def _edge(dumps: Mapping[str, Any]) -> dict[str, Any]:
    listeners = [dump["active_state"]["listener"] for dump in dumps["Listeners"]["dynamic_listeners"]]
    (edge,) = listeners
    return dict(yaml.safe_load(json.dumps(edge)))


def as_a_file(dumps: Mapping[str, Any], ports: Mapping[str, int]) -> dict[str, Any]:
    """Return them as a configuration without istiod. ports: where a cluster is, by a part of its name."""
    routes = {dump["route_config"]["name"]: dump["route_config"] for dump in dumps["Routes"]["dynamic_route_configs"]}
    edge = _edge(dumps)
    for chain in edge["filter_chains"]:
        typed = chain["filters"][-1]["typed_config"]
        typed["route_config"] = _plain(routes[typed.pop("rds")["route_config_name"]])
    clusters = []
    for dump in dumps["Clusters"]["dynamic_active_clusters"]:
        cluster = _plain(dump["cluster"])
        number = next((number for part, number in ports.items() if part in cluster["name"]), None)
        if number is not None:
            endpoint = {"endpoint": {"address": _address(number)}}
            assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
            for told_by_istiod in ("eds_cluster_config", "transport_socket_matches"):
                cluster.pop(told_by_istiod, None)
            clusters.append(cluster | {"type": "STATIC", "load_assignment": assignment})
    return {
        "admin": {"address": _address(0)},
        "static_resources": {
            "listeners": [_plain(edge) | {"name": "edge", "address": _address(0)}], "clusters": clusters,
        },
    }  # fmt: skip


def _plain(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}
