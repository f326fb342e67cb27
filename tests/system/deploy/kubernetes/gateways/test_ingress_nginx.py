"""The real controller of ingress-nginx reads gateways/ingress-nginx from a real API server, before a real sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.processes import wait_for
from support.proxies.client import ask
from support.proxies.kubernetes.gateways import ingress_nginx
from support.proxies.kubernetes.started import start_behind
from support.proxies.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.proxies.kubernetes.cluster import Cluster
    from support.proxies.kubernetes.started import Deployed

GOOD, BAD, FORGED = "198.51.100.7", "203.0.113.9", "192.0.2.1"  # on no list, on the deny list, on the allow list
HOST = "shop.example.com"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with start_behind("ingress-nginx", tmp_path_factory.mktemp("sidecar")) as started:
        yield started


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as started:
        yield started


@pytest.fixture(scope="module")
def port(
    sidecar: Deployed, upstream: Upstream, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """Where an nginx with the controller's configuration listens; who connects is whom the PROXY protocol names."""
    folder: Path = tmp_path_factory.mktemp("nginx")
    cluster.make_namespace(ingress_nginx.NAMESPACE)
    said = cluster.apply("--force-conflicts", manifests=ingress_nginx.objects(sidecar.ports["http"]))
    assert said.status == 0, said.err
    text, port = ingress_nginx.configuration(cluster, folder)
    with ingress_nginx.start_nginx(text, port, folder, upstream.port):
        wait_for(lambda: ask(port, "/cart", peer=GOOD, host=HOST).status == 200, "the first answer")
        yield port


def test_ingress_nginx_denies_the_right_client_whatever_it_forges(port: int, sidecar: Deployed) -> None:
    for forged in ((), ("X-Forwarded-For", FORGED), ("X-Real-IP", FORGED), ("X-Original-Forwarded-For", FORGED)):
        assert ask(port, "/cart", [forged] if forged else [], peer=BAD, host=HOST).status == 403, forged
    for host in ("SHOP.example.com", "shop.example.com:80"):
        assert ask(port, "/cart", peer=BAD, host=host).status == 403, host
    assert ask(port, "/cart", [("X-Forwarded-For", BAD)], peer=GOOD, host=HOST).status == 200
    assert '"application":"shop"' in sidecar.process.wait_for_line(rf'.*"client":"{BAD}".*')[0]


def test_the_application_behind_ingress_nginx_hears_of_nothing_made_up(port: int, upstream: Upstream) -> None:
    forged = [("X-Authz-List", "allow"), ("X-Authz-Client-Address", FORGED), ("X-Authz-Entry", "office")]
    assert ask(port, "/cart?item=1", forged, peer=GOOD, host=HOST).status == 200
    seen = upstream.last()
    assert seen.path == "/cart?item=1"
    told = {name: seen.headers.get(f"x-authz-{name}") for name in ("client-address", "list", "application", "entry")}
    assert told == {"client-address": GOOD, "list": "none", "application": "shop", "entry": None}


def test_while_authz_is_away_ingress_nginx_lets_nobody_in(port: int, sidecar: Deployed, upstream: Upstream) -> None:
    sidecar.process.end()
    before = len(upstream.seen)
    assert ask(port, "/cart", peer=GOOD, host=HOST).status == 500
    assert len(upstream.seen) == before
