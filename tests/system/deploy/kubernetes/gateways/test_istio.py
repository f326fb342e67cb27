"""The real istiod reads gateways/istio and gateways/istio-http from a real API server; an Envoy with what it tells asks
a real sidecar."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.processes import free_port, wait_for
from support.proxies.client import ask
from support.proxies.kubernetes.gateways import istio
from support.proxies.kubernetes.started import start_behind
from support.proxies.programs.envoy import Envoy
from support.proxies.upstream import Upstream
from support.suite.shared import shared

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list


SECOND = "admin"  # an application that the usual policy has, with `default: deny`
MANY = "PILOT_ENABLE_MULTIPLE_CUSTOM_AUTHZ_PROVIDERS"


@pytest.fixture(scope="module", params=["istio", "istio-http"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextlib.contextmanager
def read_by_istio(
    overlay: str, cluster: Cluster, folder: Path, second: str = "", **environment: str
) -> Iterator[dict[str, Any]]:
    """What istiod tells the Envoy of the gateway."""
    for file in sorted(shared("kubernetes/crds/istio").iterdir()):
        definitions = [definition for definition in yaml.safe_load_all(file.read_text()) if definition]
        assert cluster.apply(manifests=definitions).status == 0
    assert cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s").status == 0
    for namespace in ("istio-system", "istio-ingress", "shop", "authz"):
        cluster.make_namespace(namespace)
    # Those of other overlays, which other tests may have applied, name other providers.
    removed = cluster.kubectl("-n", "istio-ingress", "delete", "authorizationpolicies.security.istio.io", "--all")
    assert removed.status == 0, removed.err
    said = cluster.apply("--force-conflicts", manifests=istio.objects(overlay, free_port(), second))
    assert said.status == 0, said.err
    with istio.start_istiod(cluster, folder, **environment) as port:
        yield istio.told(port, folder, *([f"{second}.example.com"] if second else []))


@pytest.fixture(scope="module")
def dumps(overlay: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with read_by_istio(overlay, cluster, tmp_path_factory.mktemp("istio")) as told:
        yield told


def test_istio_makes_the_filter_that_we_mean(overlay: str, dumps: dict[str, Any]) -> None:
    (check,) = istio.checks_of(dumps)
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


def test_a_port_behind_the_host_leads_past_no_check(overlay: str, dumps: dict[str, Any], tmp_path: Path) -> None:
    """The route takes it, so a policy whose `hosts` do not lets everybody in unasked."""
    port, front = (9191, "grpc") if overlay == "istio" else (9192, "http")
    with Upstream() as upstream, start_behind(overlay, tmp_path) as sidecar:
        ports = {"|8080||shop.shop": upstream.port, f"|{port}||authz.authz": sidecar.ports[front]}
        with Envoy(tmp_path, istio.as_a_file(dumps, ports)) as envoy:

            def status(client: str, host: str) -> int:
                return ask(envoy.ports["edge"], "/cart", peer=client, host=host).status

            wait_for(lambda: status(GOOD, istio.HOST) == 200, "the first answer")
            for host in ("shop.example.com:80", "shop.example.com:8443", "SHOP.example.com", "Shop.Example.Com:80"):
                assert (status(GOOD, host), status(BAD, host)) == (200, 403), host


@pytest.mark.parametrize("setting", ["true", "false"])
def test_with_two_http_providers_istio_wants_the_setting_of_the_page(
    setting: str, cluster: Cluster, tmp_path: Path
) -> None:
    """Each application is asked about by its own provider; without the setting Istio denies everybody."""
    with (
        read_by_istio("istio-http", cluster, tmp_path, SECOND, **{MANY: setting}) as dumps,
        Upstream() as upstream,
        start_behind("istio-http", tmp_path) as sidecar,
    ):
        prefixes = [check["http_service"]["path_prefix"] for check in istio.checks_of(dumps)]
        assert sorted(prefixes) == (["/envoy/admin", "/envoy/shop"] if setting == "true" else [])
        ports = {"|8080||shop.shop": upstream.port, "|9192||authz.authz": sidecar.ports["http"]}
        with Envoy(tmp_path, istio.as_a_file(dumps, ports)) as envoy:

            def status(client: str, application: str) -> int:
                return ask(envoy.ports["edge"], "/cart", peer=client, host=f"{application}.example.com").status

            clients = (GOOD, BAD, FORGED)
            wait_for(lambda: status(FORGED, "shop") == (200 if setting == "true" else 403), "the first answer")
            shop, admin = ([status(client, application) for client in clients] for application in ("shop", SECOND))
            assert (shop, admin) == (
                ([200, 403, 200], [403, 403, 200]) if setting == "true" else ([403] * 3, [403] * 3)
            )
            sidecar.process.end()
            away = 503 if setting == "true" else 403
            assert [status(FORGED, "shop"), status(FORGED, SECOND)] == [away, away]
