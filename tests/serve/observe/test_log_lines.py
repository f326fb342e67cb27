"""What a line of the decision log says beside the decision, and what is logged beside denials."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest
from support.proxies.envoy_api import check_request
from support.sidecar.fronts import HttpClient
from support.sidecar.running import ALLOWED, DENIED, PATIENCE, get, lines_of, logging_to, run, running, until, write

from authz.serve.config.config import load_config
from authz.serve.grpc.check import GrpcCheck
from authz.serve.observe.recorder import make_recorder

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


# What is logged and counted beside denials.

WARNING: Final = """\
version: 1
applications:
  shop: {}
  watched: {mode: monitoring, denylist_in_monitoring: false}
  trial: {dry_run: true}
entries:
  - {id: suspect, list: deny, action: warn, networks: [192.0.2.0/24], applications: [shop]}
  - {id: bad, list: deny, networks: [203.0.113.0/24]}
"""


@pytest.mark.parametrize(
    ("application", "client", "entry"),
    [("shop", ALLOWED, "suspect"), ("watched", DENIED, "bad"), ("trial", DENIED, None)],
)
def test_what_is_let_through_with_a_warning_is_logged_and_counted_by_default(
    publisher: Publisher, application: str, client: str, entry: str | None
) -> None:
    """`action: warn`, `denylist_in_monitoring: false` and dry runs left no trace."""
    publisher.publish(WARNING)

    async def live() -> None:
        async with running(publisher.folder, logging_to()) as started:
            for asking in (client, "198.51.100.1"):
                answer = await asyncio.to_thread(get, started.sidecar.ports["http"], f"/v1/auth/{application}", asking)
                assert answer.status == 200
            text = (await started.page("/metrics")).body.decode()
            assert f'authz_warned_total{{application="{application}"}} 1.0' in text
            hits = (await started.snapshot())["hits"]
            if entry is not None:
                assert f'authz_entry_hits_total{{layer="policy",entry="{entry}",effect="warned"}} 1.0' in text
                assert hits == {"decided": [], "warned": [{"layer": "policy", "entry": entry, "hits": 1}]}
            else:
                assert hits == {"decided": [{"layer": "policy", "entry": "bad", "hits": 1}], "warned": []}

    run(live())
    (line,) = lines_of(publisher.folder)
    assert (line["client"], line["application"], line["decision"]) == (client, application, "allow")
    assert line["warnings"] == ([entry] if entry else [])
    assert line["enforced"] is (entry is not None)


def test_a_dry_run_that_denies_nobody_is_not_logged(publisher: Publisher) -> None:
    publisher.publish(WARNING)

    async def live() -> None:
        async with running(publisher.folder, logging_to()) as started:
            await asyncio.to_thread(get, started.sidecar.ports["http"], "/v1/auth/trial", "198.51.100.1")

    run(live())
    assert lines_of(publisher.folder) == []


def test_an_application_that_the_policy_does_not_know_is_named_in_log_and_metric(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=1.0)) as started:
            for path in ("/v1/auth/shoop", "/v1/auth/shop", "/v1/nginx", "/envoy/shoop/a", "/v1/nginx/%22%0a"):
                await asyncio.to_thread(get, started.sidecar.ports["http"], path, ALLOWED)
            for number in range(200):
                started.sidecar.metrics.count_unknown(f"a{number}")
            text = (await started.page("/metrics")).body.decode()
        assert 'authz_unknown_applications_total{application="shoop"} 2.0' in text
        assert 'authz_unknown_applications_total{application="(invalid)"} 1.0' in text
        assert 'authz_unknown_applications_total{application="(other)"} 102.0' in text
        assert text.count("authz_unknown_applications_total{") == 101

    run(live())
    names = [line["unknown_application"] for line in lines_of(publisher.folder)]
    assert names == ["shoop", None, None, "shoop", "%22%0a"]


# What joins a line with the proxy's own log.


def test_a_line_says_which_request_it_was_on_both_fronts(publisher: Publisher) -> None:
    publisher.publish()
    path = "/cart?a=\u00e9&b=" + "x" * 1000
    headers = {"x-request-id": "7f-1", "x-forwarded-for": ALLOWED}

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=1.0)) as started:
            port = started.sidecar.ports["http"]
            recorder = make_recorder(
                "grpc", started.sidecar.config.application, started.sidecar.metrics, [started.sidecar._log]
            )
            check = GrpcCheck(started.sidecar.config, started.sidecar.decider, recorder)
            check(
                check_request("127.0.0.1", headers, host="shop.example.com", path=path, context={"application": "shop"})
            )
            nginx = [f"X-Forwarded-For: {ALLOWED}", "X-Request-Id: 7f-2", 'X-Original-URI: /a"\\b',
                     "X-Original-Method: PUT", "X-Forwarded-Host: shop.example.com"]  # fmt: skip
            await asyncio.to_thread(asked, port, "/v1/auth/shop", nginx, "GET")
            await asyncio.to_thread(asked, port, "/envoy/shop/c?d", [f"X-Forwarded-For: {ALLOWED}"], "DELETE")

    run(live())
    grpc, nginx, envoy = lines_of(publisher.folder)
    assert (publisher.folder / "decisions.jsonl").read_bytes().isascii()
    told = ("request_id", "host", "method", "path", "application", "entry")
    assert [grpc[name] for name in told] == [
        "7f-1", "shop.example.com", "GET", ("/cart?a=\\xc3\\xa9&b=" + "x" * 1000)[: 512 + 6], "shop", "office",
    ]  # fmt: skip
    assert [nginx[name] for name in told] == ["7f-2", "shop.example.com", "PUT", '/a"\\b', "shop", "office"]
    assert [envoy[name] for name in told] == [None, "127.0.0.1", "DELETE", "/c?d", "shop", "office"]


def asked(port: int, target: str, headers: list[str], method: str) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        HttpClient(connection).ask(target, *headers, method=method)


def test_what_is_remembered_of_a_request_follows_another_configuration_at_once(publisher: Publisher) -> None:
    """Who the client is, and whether its decision is logged, are both remembered for a request that comes again."""
    publisher.publish()
    trusting = logging_to()
    blind = logging_to(allowed=1.0).replace('["127.0.0.0/8"]', "[]")
    clients: list[str | None] = []

    async def live() -> None:
        async with running(publisher.folder, trusting) as started:
            for text in (trusting, blind, trusting):
                path, before = write(publisher.folder, text), started.sidecar.decider.settings
                started.sidecar._read = partial(load_config, path, {})
                started.sidecar.reload()
                await until(lambda before=before: started.sidecar.decider.settings is not before)  # type: ignore[misc]  # of a default it infers no type
                for _ in range(3):
                    answer = await started.ask(ALLOWED)
                    clients.append(answer.headers["x-authz-client-address"])

    run(live())
    assert clients == [ALLOWED] * 3 + ["127.0.0.1"] * 3 + [ALLOWED] * 3
    assert [line["client"] for line in lines_of(publisher.folder)] == ["127.0.0.1"] * 3
