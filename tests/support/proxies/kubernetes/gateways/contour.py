"""The real Contour: it reads objects from a real API server, and what it tells Envoys becomes a file for one."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from support.processes import LOOPBACK, Process, free_port, wait_for
from support.proxies.certificates import make_certificate
from support.proxies.kubernetes.kustomize import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

_READ: Final = {"HTTPProxy", "ExtensionService", "Service"}  # what Contour reads of the overlay
_OUTSIDE: Final = "198.18.0.1"  # a pod: an API server takes no address of loopback for one


def objects(folder: Path) -> list[Manifest]:
    """Return what Contour reads: of the overlay, and the application with its certificate and pods before it."""
    make_certificate(folder, "shop")
    pair = {"tls.crt": folder / "shop.pem", "tls.key": folder / "shop.key"}
    secret = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "shop-tls", "namespace": "shop"},
        "data": {name: base64.b64encode(path.read_bytes()).decode() for name, path in pair.items()},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 8080}]},
    }  # fmt: skip
    ours = [manifest for manifest in build("gateway contour") if manifest["kind"] in _READ]
    (authz,) = (manifest for manifest in ours if manifest["kind"] == "Service")
    (grpc,) = (port["name"] for port in authz["spec"]["ports"] if port["port"] == 9191)
    return [*ours, secret, service, pods("shop", "shop", "http", 8080), pods("authz", "authz", grpc, 9191)]


def pods(namespace: str, service: str, port: str, number: int) -> Manifest:
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": f"{service}-1", "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": [{"addresses": [_OUTSIDE], "conditions": {"ready": True}}],
        "ports": [{"name": port, "port": number, "protocol": "TCP"}],
    }  # fmt: skip


@contextlib.contextmanager
def start_contour(cluster: Cluster, folder: Path) -> Iterator[int]:
    """Run it, and give the port where it tells Envoys; skips where CONTOUR names no program."""
    contour = os.environ.get("CONTOUR")
    if not contour or not Path(contour).is_file():
        pytest.skip("needs CONTOUR, the path of Contour's program")
    (folder / "contour.yaml").write_text("{}\n")
    ports = {name: free_port() for name in ("xds", "health", "http", "debug-http")}
    addresses = [f"--{name}-{part}" for name in ports for part in ("address", "port")]
    values = [value for port in ports.values() for value in (LOOPBACK, str(port))]
    listens = [word for pair in zip(addresses, values, strict=True) for word in pair]
    command = [contour, "serve", "--no-incluster", "--kubeconfig", str(cluster.kubeconfig), "--insecure"]
    command += ["--disable-leader-election", "--use-proxy-protocol", "-c", "contour.yaml", *listens]
    with Process(command, cwd=folder) as process:
        process.wait_for_line("started xDS server")
        yield ports["xds"]


def told(port: int, kind: str) -> list[dict[str, Any]]:
    """Return what Contour tells Envoys now. kind: lds, rds, cds, eds or sds."""
    command = [os.environ["CONTOUR"], "cli", kind, "--contour", f"{LOOPBACK}:{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as client:
        assert client.stdout is not None
        try:
            return _resources(client.stdout)
        finally:
            client.kill()


def _resources(lines: Any) -> list[dict[str, Any]]:
    """Return the resources of the first answer; before it stands the question."""
    text = ""
    for line in lines:
        text += line
        if line == "}\n":
            message = json.loads(text)
            if "resources" in message:
                return list(message["resources"])
            text = ""
    raise AssertionError(f"no answer: {text}")


def wait_for_route(port: int, fqdn: str) -> None:
    """Wait until Contour tells of a virtual host."""
    wait_for(lambda: fqdn in json.dumps(told(port, "rds")), f"Contour serves {fqdn}", patience=60)


def as_a_file(port: int, ports: Mapping[str, int]) -> dict[str, Any]:
    """Return what Contour tells as a configuration without it. ports: where a cluster is, by the begin of its name.

    Its listener with TLS, called `edge`, takes the PROXY protocol, so that a test chooses who connects.
    """
    (edge,) = (listener for listener in told(port, "lds") if listener["name"] == "ingress_https")
    secrets = {secret["name"]: secret["tls_certificate"] for secret in told(port, "sds")}
    routes = {route["name"]: _plain(route) for route in told(port, "rds")}
    for chain in edge["filter_chains"]:
        common = chain["transport_socket"]["typed_config"]["common_tls_context"]
        named = common.pop("tls_certificate_sds_secret_configs")
        common["tls_certificates"] = [secrets[name["name"]] for name in named]
        for connection in chain["filters"]:
            typed = connection["typed_config"]
            typed["route_config"] = routes[typed.pop("rds")["route_config_name"]]
    clusters = [_plain(cluster) for cluster in told(port, "cds")]
    for cluster in clusters:
        del cluster["eds_cluster_config"]
        (number,) = (number for begin, number in ports.items() if cluster["name"].startswith(begin))
        endpoint = {"endpoint": {"address": _address(number)}}
        assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [endpoint]}]}
        cluster |= {"type": "STATIC", "load_assignment": assignment}
    listener = _plain(edge) | {"name": "edge", "address": _address(0)}
    return {
        "admin": {"address": _address(0)},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _plain(resource: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": LOOPBACK, "port_value": port}}
