"""The real Contour reads gateways/contour from a real API server; an Envoy with what it tells asks a real sidecar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.processes import wait_for
from support.proxies.client import ask_tls
from support.proxies.kubernetes.gateways import contour
from support.proxies.kubernetes.started import start_behind
from support.proxies.programs.envoy import Envoy
from support.proxies.upstream import Upstream
from support.suite.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list
HOST = "shop.example.com"


@pytest.fixture(scope="module")
def port(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where Contour tells Envoys."""
    folder: Path = tmp_path_factory.mktemp("contour")
    definitions = (shared("kubernetes/crds/contour") / "01-crds.yaml").read_text()
    assert cluster.apply(manifests=[manifest for manifest in yaml.safe_load_all(definitions) if manifest]).status == 0
    assert cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s").status == 0
    for namespace in ("shop", "authz"):
        cluster.make_namespace(namespace)
    said = cluster.apply("--force-conflicts", manifests=contour.objects(folder))
    assert said.status == 0, said.err
    with contour.start_contour(cluster, folder) as port:
        contour.wait_for_route(port, HOST)
        yield port


def test_contour_finds_the_route_valid_and_asks_as_we_mean(port: int, cluster: Cluster) -> None:
    def status() -> dict[str, Any]:
        said = cluster.kubectl("-n", "shop", "get", "httpproxy", "shop", "-o", "json")
        return dict(json.loads(said.out).get("status", {}))

    wait_for(lambda: status().get("currentStatus") == "valid", "Contour says that the route is valid")
    text = json.dumps(contour.told(port, "lds"))
    assert '"name": "envoy.filters.http.ext_authz"' in text
    assert '"status_on_error": {"code": "Forbidden"}' in text  # as route.yaml warns: it looks like a denial
    assert "failure_mode_allow" not in text
    assert '"timeout": "0.250s"' in text
    assert '"context_extensions": {"application": "shop"}' in json.dumps(contour.told(port, "rds"))


def test_envoy_by_contour_denies_the_right_client_and_fails_closed(port: int, tmp_path: Path) -> None:
    with Upstream() as upstream, start_behind("contour", tmp_path) as sidecar:
        config = contour.as_a_file(port, {"shop/": upstream.port, "extension/": sidecar.ports["grpc"]})
        with Envoy(tmp_path, config) as envoy:

            def status(client: str) -> int:
                forged = [("X-Forwarded-For", FORGED)]
                return ask_tls(envoy.ports["edge"], client, "/cart", forged, host=HOST).status

            wait_for(lambda: status(GOOD) == 200, "the first answer")
            assert status(BAD) == 403
            line = sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]
            assert '"application":"shop"' in line
            sidecar.process.end()
            before = len(upstream.seen)
            assert status(GOOD) == 403
            assert len(upstream.seen) == before
