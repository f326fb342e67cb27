"""What Cilium makes of gateways/gateway-api, by the filter `ExternalAuth`, before a real sidecar of that folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.processes import wait_for
from support.proxies.client import ask
from support.proxies.kubernetes.gateways.cilium import as_a_file, connection_of, manifests, translate
from support.proxies.kubernetes.started import start_behind
from support.proxies.programs.envoy import Envoy
from support.proxies.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    return translate(manifests())


def test_the_filter_of_the_route_becomes_the_check_that_we_mean(resources: list[dict[str, Any]]) -> None:
    """It has no setting for the time or the status of an error: 200 ms and 403, as the page says."""
    connection = connection_of(resources)
    (check,) = (each["typedConfig"] for each in connection["httpFilters"] if "ext_authz" in each["name"])
    assert check["grpcService"]["envoyGrpc"]["authority"] == "authz:9191"
    assert {pattern["exact"] for pattern in check["allowedHeaders"]["patterns"]} == {"x-forwarded-for", "x-request-id"}
    assert "failureModeAllow" not in check
    assert "statusOnError" not in check
    assert connection["useRemoteAddress"] is True


def test_envoy_by_cilium_denies_the_right_client_and_fails_closed(
    resources: list[dict[str, Any]], tmp_path: Path
) -> None:
    with Upstream() as upstream, start_behind("gateway-api", tmp_path) as sidecar:
        config = as_a_file(resources, {"shop": upstream.port, "authz": sidecar.ports["grpc"]})
        with Envoy(tmp_path, config) as envoy:
            edge = envoy.ports["edge"]

            def status(client: str, host: str = "shop.example.com") -> int:
                return ask(edge, "/cart", [("X-Forwarded-For", FORGED)], peer=client, host=host).status

            wait_for(lambda: status(GOOD) == 200, "the first answer")
            assert status(BAD) == 403
            assert status(BAD, "shop.example.com:80") == 403
            line = sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]
            assert '"application":"shop"' in line
            assert '"request_id":null' not in line
            sidecar.process.end()
            assert status(GOOD) == 403


@pytest.mark.parametrize("forgotten", ["ReferenceGrant", "the service"])
def test_nobody_gets_in_where_the_check_cannot_be_made(forgotten: str) -> None:
    """Without the grant, or the service of authz, the route answers 500."""
    kind, name = ("ReferenceGrant", "authz") if forgotten == "ReferenceGrant" else ("Service", "authz")
    there = [m for m in manifests() if (m["kind"], m["metadata"]["name"]) != (kind, name)]
    (routes,) = (each for each in translate(there) if each["@type"].endswith(".RouteConfiguration"))
    (route,) = (route for host in routes["virtualHosts"] for route in host["routes"])
    assert route["directResponse"]["status"] == 500
