"""The real istiod reads gateways/istio and gateways/istio-http from a real API server; an Envoy with what it tells asks
a real sidecar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.processes import free_port, wait_for
from support.proxies.client import ask
from support.proxies.kubernetes import istio
from support.proxies.kubernetes.started import start_behind
from support.proxies.programs.envoy import Envoy
from support.proxies.upstream import Upstream
from support.suite.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list


@pytest.fixture(scope="module", params=["istio", "istio-http"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def dumps(overlay: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What istiod tells the Envoy of the gateway."""
    folder: Path = tmp_path_factory.mktemp("istio")
    for file in sorted(shared("kubernetes/crds/istio").iterdir()):
        assert (
            cluster.apply(
                manifests=[definition for definition in yaml.safe_load_all(file.read_text()) if definition]
            ).status
            == 0
        )
    assert cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s").status == 0
    for namespace in ("istio-system", "istio-ingress", "shop", "authz"):
        cluster.make_namespace(namespace)
    said = cluster.apply("--force-conflicts", manifests=istio.objects(overlay, free_port()))
    assert said.status == 0, said.err
    with istio.start_istiod(cluster, folder) as port:
        yield istio.told(port, folder)
    removed = cluster.kubectl("-n", "istio-ingress", "delete", "authorizationpolicies.security.istio.io", "--all")
    assert removed.status == 0, removed.err


def test_istio_makes_the_filter_that_we_mean(overlay: str, dumps: dict[str, Any]) -> None:
    check = istio.check_of(dumps)
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert "failure_mode_allow" not in check
    if overlay == "istio":
        assert check["grpc_service"]["timeout"] == "0.250s"
        assert "allowed_headers" not in check  # all of them: X-Forwarded-For is among them
    else:
        assert check["http_service"]["path_prefix"] == "/envoy/shop"
        assert check["http_service"]["server_uri"]["timeout"] == "0.250s"
        assert {header["exact"] for header in check["allowed_headers"]["patterns"]} == {
            "x-forwarded-for",
            "x-request-id",
        }


def test_envoy_by_istio_denies_the_right_client_and_fails_closed(
    overlay: str, dumps: dict[str, Any], tmp_path: Path
) -> None:
    port, front = (9191, "grpc") if overlay == "istio" else (9192, "http")
    with Upstream() as upstream, start_behind(overlay, tmp_path) as sidecar:
        ports = {"|8080||shop.shop": upstream.port, f"|{port}||authz.authz": sidecar.ports[front]}
        with Envoy(tmp_path, istio.as_a_file(dumps, ports)) as envoy:

            def status(client: str, path: str = "/cart") -> int:
                forged = [("X-Forwarded-For", FORGED), ("X-Authz-List", "allow")]
                return ask(envoy.ports["edge"], path, forged, peer=client, host=istio.HOST).status

            wait_for(lambda: status(GOOD) == 200, "the first answer")
            assert status(BAD) == 403
            line = sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]
            assert '"application":"shop"' in line
            assert '"request_id":null' not in line
            assert status(BAD, "/healthz") == 200  # as route.yaml says: nobody is asked
            assert status(BAD, "/admin/../healthz/../cart") == 403
            assert status(GOOD) == 200
            assert upstream.last().headers.get("x-authz-list") != "allow"
            sidecar.process.end()
            before = len(upstream.seen)
            assert status(GOOD) == 503
            assert len(upstream.seen) == before
    assert "ext_authz" in json.dumps(dumps["Listeners"])
