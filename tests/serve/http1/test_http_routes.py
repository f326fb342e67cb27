"""The application and the client of a question to the HTTP front: paths, headers, forwarded addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from support.publishing.publisher import Publisher
from support.sidecar.fronts import Fronts, HttpServer
from support.sidecar.http_questions import ADMIN, ALLOWED, ANY, CONFIG, DENIED, POLICY, SHOP, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


# Routes.


@pytest.mark.parametrize(
    ("target", "status", "application"),
    [
        ("/v1/auth", 403, ANY),
        ("/v1/auth?application=shop", 403, ANY),
        ("/v1/auth/shop", 403, SHOP),
        ("/v1/auth/shop?next=/admin", 403, SHOP),
        ("/v1/auth/admin", 403, ADMIN),
        ("/v1/auth/nobody", 403, ANY),
        ("/v1/auth/SHOP", 403, ANY),
        ("/v1/auth/sh%6fp", 403, ANY),  # nothing is decoded
        ("/v1/auth/%73%68%6f%70", 403, ANY),
        ("/v1/auth/shop%2F", 403, ANY),
        ("/v1/auth/shop;a", 403, ANY),
        ("/v1/auth/shop#admin", 403, ANY),
        ("/v1/auth/*", 403, ANY),
        ("/v1/forward/shop", 429, SHOP),
        ("/v1/forward/admin?x", 401, ADMIN),
        ("/v1/forward", 499, ANY),
        ("/envoy/shop/", 429, SHOP),
        ("/envoy/shop/v1/auth/admin", 429, SHOP),
        ("/envoy/shop//envoy/admin/../../admin/", 429, SHOP),
        ("/envoy/admin/x?/shop/", 401, ADMIN),
        ("/envoy/sh%6fp/", 499, ANY),
    ],
)
def test_the_application_is_the_part_of_the_path_that_the_proxy_writes(
    server: HttpServer, target: str, status: int, application: str
) -> None:
    with server.client() as client:
        answer = client.ask(target, DENIED)

    assert (answer.status, answer.header("status") or str(answer.status)) == (status, application)


UNREAD: Final = {"content-length", "x-authz-status", "x-authz-serial", "x-authz-layer"}  # by nginx, as it is printed


@pytest.mark.parametrize(
    "rest",
    ["", "?application=shop", "/shop", "/shop?next=/admin", "/trial", "/admin", "/nobody", "/SHOP", "/sh%6fp",
     "/shop%2F", "/shop;a", "/shop#admin", "/*", "/", "/shop/", "/shop/admin", "z", "%2Fshop", "?details"],
)  # fmt: skip
def test_the_path_of_nginx_is_decided_as_v1_auth_is(server: HttpServer, rest: str) -> None:
    with server.client() as client:
        for line in (ALLOWED, DENIED, "X-Forwarded-For: nobody", "X-Forwarded-For: 203.0.113.9, 192.0.2.7"):
            auth, nginx = (client.ask(f"/v1/{root}{rest}", line) for root in ("auth", "nginx"))
            assert nginx.status == {200: 204}.get(auth.status, auth.status)
            told = [{name: answer.headers[name] for name in answer.headers.keys() - UNREAD} for answer in (auth, nginx)]
            assert told[0] == told[1]


@pytest.mark.parametrize(
    "target",
    ["/", "/v1", "/v1/", "/v1/auth/", "/v1/auth/shop/", "/v1/auth/shop/admin", "/v1/authz", "/v1/auth%2Fshop",
     "/V1/auth", "//v1/auth", "/v1//auth", "/x/../v1/auth", "/v1/forward/", "/v1/forward/shop/", "/v1/forwarded/x",
     "/envoy", "/envoy/", "/envoy/shop", "/envoy/shop?/", "/envoy//", "/envoy//admin/", "/envoys/shop/", "/livez",
     "/metrics", "http://authz/v1/auth/shop", "http://authz/envoy/shop/", "https://shop.example.com/v1/auth", "*",
     "/?/v1/auth", "/v1/nginx/", "/v1/nginx/shop/", "/v1/nginxes"],
)  # fmt: skip
def test_any_other_target_is_not_found_and_never_allowed(server: HttpServer, target: str) -> None:
    before = server.fronts.metrics.http_faults.get("404", 0)
    with server.client() as client:
        answer = client.ask(target, ALLOWED, method="OPTIONS")

    assert (answer.status, answer.headers) == (404, {"content-length": "0"})
    assert server.fronts.metrics.http_faults["404"] == before + 1


METHODS: Final = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "MKCOL", "QUERY", "PURGE"]


@pytest.mark.parametrize("method", METHODS)
def test_any_method_is_answered_alike(server: HttpServer, method: str) -> None:
    with server.client() as client:
        for header, status in ((ALLOWED, 200), (DENIED, 403)):
            answer = client.ask("/v1/auth/shop", header, method=method)
            assert (answer.status, answer.body, answer.headers["content-length"]) == (status, b"", "0")


def test_head_is_answered_without_the_body_that_is_announced(server: HttpServer) -> None:
    with server.client() as client:
        head = client.ask("/v1/forward/shop", DENIED, method="HEAD")
        after = client.ask("/v1/forward/shop", DENIED)

    assert (head.status, head.headers) == (after.status, after.headers)
    assert after.body == b"slow down\n"


@pytest.mark.parametrize("method", ["FOO", "get", "G\x00T", "GET\t", ""])
def test_a_method_that_the_parser_does_not_know_is_denied(server: HttpServer, method: str) -> None:
    with server.client() as client:
        answer = client.ask("/v1/auth/shop", ALLOWED, method=method)
        assert client.rest() == b""

    assert (answer.status, answer.headers["connection"]) == (403, "close")


def test_the_host_names_the_application_where_the_path_does_not(server: HttpServer) -> None:
    with server.client() as client:
        client.send(f"GET /v1/auth HTTP/1.1\r\nHOST: Shop.Example.com:8080\r\n{DENIED}\r\n\r\n".encode())
        assert client.read().header("status") == SHOP
        client.send(f"GET /v1/auth/admin HTTP/1.1\r\nHost: shop.example.com\r\n{DENIED}\r\n\r\n".encode())
        assert client.read().header("status") == ADMIN


def test_the_forwarded_host_counts_for_forward_callers_only(server: HttpServer) -> None:
    host = "X-Forwarded-Host: shop.example.com"
    with server.client() as client:
        assert client.ask("/v1/forward", DENIED, host).status == 429
        assert client.ask("/v1/forward", DENIED).status == 499
        assert client.ask("/v1/forward/admin", DENIED, host).status == 401
        assert client.ask("/v1/auth", DENIED, host).header("status") == ANY
        assert client.ask("/v1/forward", DENIED, "X-Forwarded-Host: shop.example.com, admin.example.com").status == 499


# The application in a header.


BY_HEADER: Final = CONFIG + "application: {http: header, header: X-App}\n"


@pytest.mark.parametrize(
    ("headers", "application"),
    [
        (["X-App: shop"], SHOP),
        (["x-app:admin"], ADMIN),
        (["X-App: shop "], SHOP),
        (["X-App: nobody"], ANY),
        ([], ANY),
        (["X-App:"], ANY),
        (["X-App: shop", "X-App: admin"], ANY),
        (["X-App: admin", "X-App: shop"], ANY),
        (["X-App: shop", "X-App: shop"], ANY),
        (["X-App: shop, admin"], ANY),
        (["X_App: shop"], ANY),
        (["X-App: sh\xf6p"], ANY),
    ],
)
@pytest.mark.parametrize("target", ["/v1/auth", "/v1/forward", "/envoy/whatever/admin"])
def test_the_application_is_that_of_the_header_and_a_second_line_is_not_believed(
    server_by_header: HttpServer, target: str, headers: list[str], application: str
) -> None:
    with server_by_header.client() as client:
        answer = client.ask(target, DENIED, *headers)
        assert (answer.header("status") or str(answer.status)) == application


@pytest.fixture(scope="module")
def server_by_header(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with serving(Publisher(tmp_path_factory.mktemp("by-header")), BY_HEADER) as server:
        yield server


@pytest.mark.parametrize("target", ["/v1/auth/shop", "/v1/forward/shop"])
def test_a_path_that_names_an_application_too_is_a_conflict(server_by_header: HttpServer, target: str) -> None:
    with server_by_header.client() as client:
        assert client.ask(target, ALLOWED, "X-App: shop").status == 404


def test_where_the_path_names_it_no_header_does(server: HttpServer) -> None:
    with server.client() as client:
        assert client.ask("/v1/auth", DENIED, "X-Authz-Application: shop", "X-App: shop").header("status") == ANY


# The client.


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9, 192.0.2.7", "127.0.0.1", ""], "192.0.2.7"),
        (["203.0.113.9 ,\t192.0.2.7\t , "], "192.0.2.7"),
        (["192.0.2.7", "unknown"], None),
        (["unknown", "192.0.2.7"], "192.0.2.7"),
        (["[2001:db8:1::7]:4711"], "2001:db8:1::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7%eth0"], None),
    ],
)
def test_the_lines_of_the_header_are_one_chain_in_their_order(
    server: HttpServer, lines: list[str], client: str | None
) -> None:
    with server.client() as connection:
        names = ["X-Forwarded-For", "x-forwarded-for", "X-FORWARDED-FOR"]
        answer = connection.ask("/v1/auth", *(f"{name}: {line}" for name, line in zip(names, lines, strict=False)))

    assert answer.header("client-address") == client
    assert answer.header("reason") == ("client_unresolved" if client is None else "allowlisted")


def test_an_untrusted_caller_is_the_client(publisher: Publisher) -> None:
    with serving(publisher, "client_address: {trusted_proxies: [10.0.0.0/8]}\n") as server, server.client() as client:
        assert client.ask("/v1/auth", ALLOWED).header("client-address") == "127.0.0.1"


def test_a_caller_on_a_unix_socket_is_believed_only_where_it_is_told(publisher: Publisher) -> None:
    fronts = Fronts(publisher, "client_address: {trusted_proxies: [127.0.0.0/8]}\n", POLICY)
    with HttpServer(fronts, unix=publisher.folder / "s") as server, server.client() as client:
        answer = client.ask("/v1/auth", ALLOWED)

    assert (answer.status, answer.header("reason")) == (403, "peer_untrusted_transport")


def test_an_attack_signal_in_a_header(publisher: Publisher) -> None:
    with serving(publisher, CONFIG + "attack_signal: {header: x-waf}\n") as server, server.client() as client:
        clean = "X-Forwarded-For: 198.51.100.1"
        assert client.ask("/v1/auth", clean).status == 200
        assert client.ask("/v1/auth", clean, "X-WAF: 0").status == 200
        assert client.ask("/v1/auth", clean, "X-WAF: 1").header("reason") == "attack"
        assert client.ask("/v1/auth", clean, "X-WAF: 0", "X-WAF: 1").header("reason") == "attack"
