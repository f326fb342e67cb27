"""Attackers before a real Envoy and a real nginx: the access logs list them, and the proxies deny them.

Envoy tells the control plane by its gRPC access log service, one nginx by syslog, another by a JSON log file. All
of them ask one sidecar. Each story is told through each of the three, with clients of its own.
"""

from __future__ import annotations

import http.server
import sys
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.control import ControlProcess, init
from support.processes import Process, free_port, wait_for
from support.proxies.programs.envoy import Envoy, adapt_envoy, envoy_path
from support.proxies.programs.nginx import Nginx, nginx_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 60.0  # seconds for what takes less than one on an idle machine
TRIGGERS = """\
triggers:
  - {name: guesser, kind: brute_force, where: {path: /shop/login, method: POST, status: 401},
     count: {over: 5, within: 10m}, then: {period: 1h}}
  - {name: crawler, kind: forced_browsing, count: {over: 5, within: 10m}}
  - {name: walker, kind: bola, where: {path: "/api/orders/{id}"}, count: {over: 5, within: 10m}}
  - {name: payloads, kind: payloads, count: {over: 3, within: 1h}, then: {applications: all}}
  - {name: flood, kind: rate, where: {path: /shop/page}, count: {over: 30, within: 10m}}
"""
CONTROL = """\
triggers: triggers.yaml
sources:
  envoy: {{listen: "127.0.0.1:{envoy}", waf: acme.waf}}
  syslog: {{listen: "127.0.0.1:{syslog}"}}
  files: [{{path: ../nginx-file/access.log}}]
"""
SIDECAR = """\
grpc: {{listen: "127.0.0.1:{grpc}"}}
http: {{listen: "127.0.0.1:{http}"}}
attack_signal: {{header: x-waf-attack}}
drain: 0s
"""
LOG_SERVICE = {
    "name": "envoy.access_loggers.http_grpc",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        "common_config": {
            "log_name": "edge", "transport_api_version": "V3", "buffer_flush_interval": "0.05s",
            "grpc_service": {"envoy_grpc": {"cluster_name": "logs"}},
        },
    },
}  # fmt: skip
WAF = {  # a filter that writes what a WAF in front of Envoy found into dynamic metadata
    "name": "envoy.filters.http.header_to_metadata",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config",
        "request_rules": [
            {
                "header": f"x-waf-{key}", "remove": True,
                "on_header_present": {"metadata_namespace": "acme.waf", "key": key, "type": "STRING"},
            }
            for key in ("attacks", "payload")
        ],
    },
}  # fmt: skip
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


class App(http.server.BaseHTTPRequestHandler):
    """The application: logins fail, what is missing is missing, all else is there."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = self.path.partition("?")[0]
        self.send_response(401 if path.endswith("/login") else 404 if "/missing" in path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = answer  # noqa: N815  # as http.server wants them

    def log_message(self, *_: object) -> None:
        pass


class Upstream:
    """The port of the application, as the proxies' configurations want it."""

    def __init__(self, port: int) -> None:
        self.port = port


@contextmanager
def running_app() -> Iterator[Upstream]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield Upstream(server.server_port)
        server.shutdown()
        thread.join()


class Plane:
    """A control plane and a sidecar of two applications, `shop` and `api`, and what proxies are started with."""

    def __init__(self, folder: Path, api: httpx.Client, upstream: Upstream, ports: dict[str, int]) -> None:
        self.folder = folder
        self.api = api
        self.upstream = upstream
        self.ports = ports

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self.api.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def printed(self, proxy: str) -> str:
        """Return what `authz print-config` prints for the applications of the policy that the sidecar has."""
        command = [sys.executable, "-m", "authz", "print-config", proxy, "--config", "authz.yaml"]
        with Process(command, cwd=self.folder / "control") as printing:
            wait_for(lambda: printing.popen.poll() is not None, "it has printed", patience=PATIENCE)
            assert printing.popen.returncode == 0, printing.output
            return "\n".join(line for line in printing.lines if not line.startswith("authz: warning"))


class Edge:
    """A proxy before the application, and the addresses of its clients."""

    def __init__(self, kind: str, plane: Plane, port: int, network: str) -> None:
        self.kind = kind
        self._plane = plane
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)
        self._network = network
        self.ask = plane.ask

    def address(self, number: int) -> str:
        return f"{self._network}.{number}"

    def status(self, client: str, path: str, method: str = "GET", **headers: str) -> int:
        """Return what the proxy answers to a client: a balancer before it says who that is."""
        sent = {"X-Forwarded-For": client} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.request(method, path, headers=sent).status_code

    def wait(self, what: Callable[[], Any], why: str) -> None:
        wait_for(what, why, patience=PATIENCE)

    def wait_denied(self, client: str, path: str) -> None:
        self.wait(lambda: self.status(client, path) == 403, f"{client} is denied at {path}")

    def wait_counted(self, client: str, count: int) -> None:
        """Wait until requests of a client were counted: only then are they kept."""
        self.wait(lambda: len(self.kept(client)) == count, f"{count} requests of {client} were counted")

    def kept(self, client: str) -> list[Any]:
        items: list[Any] = self.ask("GET", f"/v1/events?address={client}&limit=1000")["items"]
        return items

    def entries(self, client: str) -> list[Any]:
        items: list[Any] = self.ask("GET", f"/v1/entries?address={client}")["items"]
        return items

    def suppressed(self, why: str) -> int:
        """Return how often the trigger `guesser` would have listed somebody, but for this reason."""
        return int(self.ask("GET", "/v1/triggers/guesser")["suppressed"].get(why, 0))

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    envoy_path(), nginx_path()
    folder = tmp_path_factory.mktemp("attackers")
    control, log_file = folder / "control", folder / "nginx-file" / "access.log"
    log_file.parent.mkdir()
    log_file.touch()
    url, token = init(control)
    ports = {name: free_port() for name in ("envoy", "syslog", "grpc", "http")}
    (control / "triggers.yaml").write_text(TRIGGERS)
    with (control / "control.yaml").open("a") as file:
        file.write(CONTROL.format_map(ports))
    with (control / "authz.yaml").open("a") as file:
        file.write(SIDECAR.format_map(ports))
    serve = [sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"]
    with ExitStack() as stack:
        upstream = stack.enter_context(running_app())
        stack.enter_context(ControlProcess(control))
        headers = {"Authorization": f"Bearer {token}"}
        api = stack.enter_context(httpx.Client(base_url=url, headers=headers, timeout=PATIENCE))
        plane = Plane(folder, api, upstream, ports)
        # Before the sidecar: its first policy names them, so the configurations that are printed then do.
        for name in ("shop", "api"):
            plane.ask("PUT", f"/v1/applications/{name}?wait=published&timeout=60", {})
        stack.enter_context(Process(serve, cwd=control)).wait_for_line(r"authz: serving")
        yield plane


@pytest.fixture(scope="module", params=["envoy", "nginx by syslog", "nginx by a file"])
def edge(plane: Plane, request: pytest.FixtureRequest) -> Iterator[Edge]:
    start: dict[str, Callable[[Plane], Envoy | Nginx]] = {
        "envoy": start_envoy, "nginx by syslog": start_nginx_syslog, "nginx by a file": start_nginx_file,
    }  # fmt: skip
    network = {"envoy": "203.0.113", "nginx by syslog": "198.51.100", "nginx by a file": "192.0.2"}[request.param]
    with start[request.param](plane) as proxy:
        port = proxy.ports["edge"] if isinstance(proxy, Envoy) else proxy.ports.edge
        edge = Edge(request.param, plane, port, network)
        probe = edge.address(1)
        edge.wait(lambda: edge.status(probe, "/api/") == 200, "the proxy has the sidecar and the application")
        edge.wait(lambda: {"api"} & {event["application"] for event in edge.kept(probe)}, "what it logs arrives")
        yield edge
        edge.close()


def start_envoy(plane: Plane) -> Envoy:
    folder = plane.folder / "envoy"
    folder.mkdir()
    config = adapt_envoy(plane.printed("envoy"), plane.upstream)  # type: ignore[arg-type]  # only the port is needed
    for listener in config["static_resources"]["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["access_log"].append(LOG_SERVICE)
        manager["http_filters"].insert(0, WAF)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": plane.ports["envoy"]}}
    config["static_resources"]["clusters"].append({
        "name": "logs", "type": "STATIC", "connect_timeout": "5s", "typed_extension_protocol_options": HTTP2,
        "load_assignment": {
            "cluster_name": "logs", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
        },
    })  # fmt: skip
    return Envoy(folder, config)


def start_nginx_syslog(plane: Plane) -> Nginx:
    folder = plane.folder / "nginx-syslog"
    folder.mkdir()
    line = "access_log /var/log/nginx/access.log authz;"
    more = f"access_log syslog:server=127.0.0.1:{plane.ports['syslog']} authz;"
    printed = plane.printed("nginx").replace(line, f"{line}\n    {more}")
    assert more in printed
    return Nginx(folder, printed, plane.upstream)  # type: ignore[arg-type]  # only the port is needed


def start_nginx_file(plane: Plane) -> Nginx:
    return Nginx(plane.folder / "nginx-file", plane.printed("nginx"), plane.upstream)  # type: ignore[arg-type]


def test_a_password_guesser_is_denied_in_that_application_and_a_deletion_keeps_it_off(edge: Edge) -> None:
    client, held = edge.address(9), edge.suppressed("held")
    for number in range(5):
        assert edge.status(client, f"/shop/login?try={number}", "POST") == 401
    edge.wait_counted(client, 5)
    assert edge.entries(client) == []
    assert edge.status(client, "/shop/login?try=5", "POST") == 401
    edge.wait_denied(client, "/shop/")
    assert edge.status(client, "/api/") == 200
    assert edge.status(edge.address(10), "/shop/") == 200
    [covering] = edge.ask("GET", f"/v1/explain?address={client}&application=shop")["covering"]
    assert (covering["entry"]["author"], covering["automatic"]["counted"]) == ("guesser", 6)
    edge.ask("DELETE", f"/v1/bans/{covering['id']}")
    edge.wait(lambda: edge.status(client, "/shop/") == 200, "the guesser is let in again")
    for number in range(6):
        assert edge.status(client, f"/shop/login?again={number}", "POST") == 401
    edge.wait(lambda: edge.suppressed("held") > held, "the hold keeps the trigger off")
    assert edge.entries(client) == []
    assert edge.status(client, "/shop/") == 200


def test_a_crawler_that_gets_404s_is_denied(edge: Edge) -> None:
    client = edge.address(20)
    for number in range(6):
        assert edge.status(client, f"/shop/missing/{number}") == 404
    edge.wait_denied(client, "/shop/")
    assert edge.status(client, "/api/") == 200


def test_who_walks_object_ids_is_denied_and_who_reads_one_often_is_not(edge: Edge) -> None:
    walker, reader = edge.address(30), edge.address(31)
    for number in range(6):
        assert edge.status(reader, "/api/orders/17") == 200
        assert edge.status(walker, f"/api/orders/{number}") == 200
    edge.wait_denied(walker, "/api/")
    edge.wait_counted(reader, 6)
    assert edge.entries(reader) == []


def test_four_different_payloads_are_one_too_many(edge: Edge) -> None:
    client = edge.address(40)
    for payload in ("1", "1", "1", "2", "3"):
        assert edge.status(client, f"/shop/?q={payload}", X_Waf_Attack="1") == 403
    edge.wait_counted(client, 5)
    assert edge.status(client, "/shop/") == 200
    assert edge.status(client, "/shop/?q=4", X_Waf_Attack="1") == 403
    edge.wait_denied(client, "/api/")


def test_what_a_waf_found_stands_in_the_metadata_of_envoy(edge: Edge) -> None:
    if edge.kind != "envoy":
        pytest.skip("nginx has no dynamic metadata")
    client = edge.address(45)
    for number in (1, 1, 1, 2, 3):
        assert edge.status(client, "/shop/", X_Waf_Attacks="sqli", X_Waf_Payload=f"' or {number}=") == 200
    edge.wait_counted(client, 5)
    assert {tuple(event["attacks"]) for event in edge.kept(client)} == {("sqli",)}
    assert edge.entries(client) == []
    assert edge.status(client, "/shop/", X_Waf_Attacks="xss", X_Waf_Payload="<script>") == 200
    edge.wait_denied(client, "/api/")


def test_many_users_behind_one_address_stay_under_a_rate_until_they_do_not(edge: Edge) -> None:
    client = edge.address(50)
    for number in range(30):
        assert edge.status(client, f"/shop/page?user={number}") == 200
    edge.wait_counted(client, 30)
    assert edge.entries(client) == []
    assert edge.status(client, "/shop/page?user=30") == 200
    edge.wait_denied(client, "/shop/")


def test_an_allowlisted_scanner_is_never_listed(edge: Edge) -> None:
    scanner, allowlisted = edge.address(77), edge.suppressed("allowlisted")
    entry = {"list": "allow", "networks": [scanner], "reason": "our scanner", "period": "forever"}
    edge.ask("POST", "/v1/entries", entry)
    for number in range(6):
        assert edge.status(scanner, f"/shop/login?scan={number}", "POST") == 401
    edge.wait(lambda: edge.suppressed("allowlisted") > allowlisted, "it would have been listed")
    assert [entry["list"] for entry in edge.entries(scanner)] == ["allow"]
    assert edge.status(scanner, "/shop/") == 200


def test_who_writes_another_address_into_headers_lists_nobody_else(edge: Edge) -> None:
    liar, victim = edge.address(60), edge.address(61)
    for number in range(6):
        status = edge.status(f"{victim}, {liar}", f"/shop/login?{number}", "POST", X_Authz_Client_Address=victim)
        assert status == 401
    edge.wait_denied(liar, "/shop/")
    assert edge.entries(victim) == []
    assert edge.status(victim, "/shop/") == 200
