"""The benchmarks of the gRPC and HTTP fronts and of nginx: a smoke run of each, whose figures nobody looks at."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from benchmarks.report.document import Part

ROOT = Path(__file__).parents[2]
_SECONDS = 1.0  # of a round of load, of which some take half: on a busy machine a tenth may pass without a request


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def finished(part: Part) -> Part:
    """Return a part that was measured; skips the test where the part was skipped."""
    if part.skipped:
        pytest.skip(part.skipped)
    assert part.wrong == []
    assert all(min(measure.rounds) > 0 for measure in part.measures)
    return part


def contenders(part: Part, name: str) -> set[str]:
    return {measure.contender for measure in part.measures if measure.name == name and measure.unit != "x"}


def test_nginx_asks_authz_itself_and_nobody_and_only_those_who_know_the_list_deny() -> None:
    from benchmarks.parts import nginx as nginx_proxy
    from benchmarks.scale import QUICK

    part = finished(nginx_proxy.run(QUICK._replace(list_sizes=(10, 2_000)), lambda _: None))
    ours = {"authz", "authz, unix socket", "authz, cache 1 s", "authz, cache, 50"}
    everyone = ours | {"geo", "static 204", "another nginx's 204", "no auth"}
    assert contenders(part, "requests per CPU second of nginx and server") == everyone
    assert contenders(part, "requests per second") == everyone
    assert contenders(part, "CPU time of one request, server") == ours | {"another nginx's 204"}
    assert contenders(part, "memory") == ours | {"geo"}
    assert {check.what: check.count for check in part.checks} == {
        **{f"{name}, 1,000 networks": 80 for name in everyone},
        **{f"{name}, 2,000 networks": 80 for name in ("authz", "geo")},
    }


def test_a_wrong_answer_through_nginx_is_found(tmp_path: Path) -> None:
    from benchmarks.data.networks import load_table
    from benchmarks.parts import nginx as nginx_proxy
    from benchmarks.proxies.nginx import Nginx, asking_nobody, missing_nginx

    if missing_nginx():
        pytest.skip(str(missing_nginx()))
    clients = nginx_proxy._clients(load_table(100), 5)
    with Nginx(tmp_path, "open", asking_nobody()) as nginx:
        check = nginx_proxy._right("open", nginx_proxy.Contender(nginx, None, clients, decides=True))
    assert (check.count, len(check.differences)) == (20, 10)
    assert check.differences[0] == f"client {clients.denied[0]}: found 200, expected 403"


def test_without_nginx_the_part_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.parts import nginx as nginx_proxy
    from benchmarks.proxies import nginx as nginxes
    from benchmarks.scale import QUICK

    monkeypatch.setattr(nginxes, "nginx_path", lambda: None)
    assert nginx_proxy.run(QUICK, lambda _: None).skipped == "it needs nginx (Debian package nginx-light)"


def test_what_stands_for_nginx_is_the_printed_configuration() -> None:
    from authz.serve.config.values import Listen
    from benchmarks.proxies.nginx import asking, asking_itself, asking_nobody

    asks = asking(Listen(host="127.0.0.1", port=9192))
    location = r'location ~ "\^/shop\(\[/;\]\|%3\[bB\]\|\$\)" \{\s+auth_request /_authz/shop;\s+empty_gif;\s+\}'
    assert re.search(location, asks)
    assert "server 127.0.0.1:9192;" in asks
    assert "proxy_cache" not in asks
    kept = asking(Listen(host="127.0.0.1", port=9192), 1.0, Path("/here"))
    assert "proxy_cache_path /here levels" in kept
    assert re.search(r"location \^~ /_authz \{\s+internal;\s+return 204;", asking_itself())
    assert "auth_request " not in asking_nobody().replace("auth_request off;", "").partition("location = /healthz")[2]


def test_the_grpc_part_measures_both_engines_and_both_kinds_of_sockets() -> None:
    pytest.importorskip("support.proxies.envoy_api")  # which imports Envoy's messages without their warnings
    from benchmarks.load.paced import missing_paced
    from benchmarks.parts import grpc as grpc_front
    from benchmarks.scale import QUICK

    part = finished(grpc_front.run(QUICK._replace(load_seconds=_SECONDS), lambda _: None))
    engines = {"authz native", "authz grpcio", "authz native, logged"}
    paced = set() if missing_paced() else {"authz native, unix socket"}
    assert contenders(part, "checks per CPU second of the server") == engines | paced
    assert sum(check.count for check in part.checks) >= 7


def test_the_http_part_measures_both_kinds_of_sockets_and_uvicorn() -> None:
    from benchmarks.load.paced import missing_paced
    from benchmarks.parts import http as http_front
    from benchmarks.scale import QUICK

    part = finished(http_front.run(QUICK._replace(load_seconds=_SECONDS), lambda _: None))
    wrk = {"authz", "authz, denied", "authz, denied, logged", "uvicorn"}
    paced = set() if missing_paced() else {"authz, unix socket"}
    assert contenders(part, "checks per CPU second of the server") == wrk | paced
    assert sum(check.count for check in part.checks) == 5 * QUICK.clients
