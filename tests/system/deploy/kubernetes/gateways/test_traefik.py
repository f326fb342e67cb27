"""The real Traefik reads gateways/traefik from a real API server, before a real sidecar of that folder.

It reads gateways/ingress-nginx, too: its provider for the annotations of ingress-nginx is one way to leave that one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from support.processes import wait_for
from support.proxies.client import ask, ask_tls
from support.proxies.kubernetes.gateways import traefik
from support.proxies.kubernetes.started import start_behind
from support.proxies.upstream import Upstream
from support.suite.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.proxies.client import Reply
    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.started import Deployed
    from support.proxies.programs.process import ProxyPorts

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list
HOST = "shop.example.com"
PROVIDERS = {  # by overlay
    "traefik": ("kubernetescrd", {"allowexternalnameservices": "true", "namespaces": "behind-traefik"}),
    "ingress-nginx": ("kubernetesingressnginx", {"watchnamespace": "behind-ingress-nginx", "httpentrypoint": "web"}),
}


class Gateway:
    """Traefik with what it read, the sidecar that it asks and the application behind it."""

    def __init__(self, ports: ProxyPorts, sidecar: Deployed, upstream: Upstream, *, secure: bool) -> None:
        self._ports, self.sidecar, self.upstream, self._secure = ports, sidecar, upstream, secure

    def ask(self, peer: str, path: str = "/cart", *headers: tuple[str, str]) -> Reply:
        """Ask as a peer."""
        if self._secure:
            return ask_tls(self._ports.proxied, peer, path, headers, host=HOST)
        return ask(self._ports.edge, path, headers, peer=peer, host=HOST)


@pytest.fixture(scope="module", params=PROVIDERS)
def gateway(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    overlay, namespace = request.param, f"behind-{request.param}"
    folder: Path = tmp_path_factory.mktemp("traefik")
    for file in sorted(shared("kubernetes/crds/traefik").iterdir()):
        said = cluster.apply(manifests=[manifest for manifest in yaml.safe_load_all(file.read_text()) if manifest])
        assert said.status == 0, said.err
    assert cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s").status == 0
    cluster.make_namespace(namespace)
    controller = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "nginx"},
                  "spec": {"controller": "k8s.io/ingress-nginx"}}  # fmt: skip
    with Upstream() as upstream, start_behind(overlay, folder) as sidecar:
        objects = traefik.routed(overlay, namespace, sidecar.ports["http"], upstream.port)
        said = cluster.apply("--force-conflicts", manifests=[controller, *objects])
        assert said.status == 0, said.err
        with traefik.start(cluster, folder, *PROVIDERS[overlay]) as process:
            made = Gateway(process.ports, sidecar, upstream, secure=overlay == "traefik")
            wait_for(lambda: made.ask(GOOD).status == 200, "the first answer", patience=60)
            yield made


def test_traefik_denies_the_right_client_and_believes_no_forged_header(gateway: Gateway) -> None:
    assert gateway.ask(BAD).status == 403
    assert gateway.ask(BAD, "/cart", ("X-Forwarded-For", FORGED)).status == 403
    assert gateway.ask(BAD, "/cart", ("X-Real-Ip", FORGED)).status == 403
    assert gateway.ask(GOOD, "/cart", ("X-Forwarded-For", BAD)).status == 200
    line = gateway.sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]
    assert '"application":"shop"' in line


def test_the_application_hears_of_the_client_and_of_nothing_made_up(gateway: Gateway) -> None:
    assert (
        gateway.ask(GOOD, "/cart?item=1", ("X-Authz-List", "allow"), ("X-Authz-Client-Address", FORGED)).status == 200
    )
    seen = gateway.upstream.last()
    assert seen.path == "/cart?item=1"
    told = {name: seen.headers.get(f"x-authz-{name}") for name in ("client-address", "list", "application")}
    assert told == {"client-address": GOOD, "list": "none", "application": "shop"}


def test_while_authz_is_away_nobody_is_let_in(gateway: Gateway) -> None:
    gateway.sidecar.process.end()
    before = len(gateway.upstream.seen)
    assert gateway.ask(GOOD).status == 500
    assert len(gateway.upstream.seen) == before
