"""What Envoy Gateway itself makes of gateways/envoy-gateway, before a real sidecar of that folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import wait_for
from support.proxies.client import ask
from support.proxies.kubernetes.gateways.envoy_gateway import as_a_file, translate
from support.proxies.kubernetes.started import start_behind
from support.proxies.programs.envoy import Envoy
from support.proxies.upstream import Upstream

if TYPE_CHECKING:
    from pathlib import Path

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return translate(tmp_path_factory.mktemp("translated"))


def test_the_security_policy_becomes_the_filter_that_we_mean(dumps: dict[str, Any]) -> None:
    text = json.dumps(dumps["Listeners"])
    start = text.index('"envoy.filters.http.ext_authz')
    check = json.JSONDecoder().raw_decode(text[text.index('"typedConfig": ', start) + len('"typedConfig": ') :])[0]
    assert check["statusOnError"] == {"code": "ServiceUnavailable"}
    assert "failureModeAllow" not in check
    assert check["grpcService"]["timeout"] == "0.250s"
    assert {pattern["exact"] for pattern in check["allowedHeaders"]["patterns"]} == {"x-forwarded-for", "x-request-id"}
    routes = json.dumps(dumps["Routes"])
    assert '"checkSettings": {"contextExtensions": {"application": "shop"}}' in routes


def test_envoy_by_envoy_gateway_denies_the_right_client_and_fails_closed(dumps: dict[str, Any], tmp_path: Path) -> None:
    with Upstream() as upstream, start_behind("envoy-gateway", tmp_path) as sidecar:
        config = as_a_file(dumps, {"httproute": upstream.port, "securitypolicy": sidecar.ports["grpc"]})
        with Envoy(tmp_path, config) as envoy:
            edge = envoy.ports["edge"]

            def status(client: str) -> int:
                forged = [("X-Forwarded-For", FORGED)]
                return ask(edge, "/cart", forged, peer=client, host="shop.example.com").status

            wait_for(lambda: status(GOOD) == 200, "the first answer")
            assert status(BAD) == 403
            line = sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]
            assert '"application":"shop"' in line
            assert '"request_id":null' not in line
            sidecar.process.end()
            assert status(GOOD) == 503
