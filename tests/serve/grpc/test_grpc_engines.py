"""The real sidecar, asked by grpcio: both engines of the gRPC front, over TCP, unix sockets and TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import queue
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase as ReflectionDatabase,
)
from support.envoy_api import EnvoyAnswer, check_request, read_answer
from support.processes import Process, Sidecar, wait_for
from support.publisher import Publisher

from authz.errors import StartError
from authz.serve.admin.health import AUTHORIZATION, SERVICES
from authz.serve.config import Tls
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.grpc.grpcio import _credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

MAX_MESSAGE: Final = 131072  # grpc.max_message
WAIT: Final = 20.0  # seconds; far more than any call takes
SERVING: Final = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
VARIANTS: Final = ["native-tcp", "native-unix", "grpcio-tcp", "grpcio-unix", "grpcio-tls"]


class Certificates:
    """A certificate authority, and certificates of it: PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test authority")])
        self._write("ca", self._key, self._sign(self._name, self._key, authority=True))
        for name in ("server", "client"):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            self._write(name, key, self._sign(subject, key, authority=False))

    def _sign(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        pem = serialization.Encoding.PEM
        (self.folder / f"{name}.pem").write_bytes(certificate.public_bytes(pem))
        private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (self.folder / f"{name}.key").write_bytes(private)

    def read(self, name: str) -> bytes:
        """Return a file."""
        return (self.folder / name).read_bytes()

    def credentials(self, client: str | None = None) -> grpc.ChannelCredentials:
        """Return what a client needs to trust the server, and to show a certificate of its own."""
        if client is None:
            return grpc.ssl_channel_credentials(self.read("ca.pem"))
        return grpc.ssl_channel_credentials(self.read("ca.pem"), self.read(f"{client}.key"), self.read(f"{client}.pem"))


class Engine:
    """A running sidecar with one engine and one transport, and a folder of its own."""

    def __init__(self, folder: Path, variant: str, *, drain: str = "0s", published: bool = True, tls: str = "") -> None:
        self.engine, self.transport = variant.split("-")
        self.publisher = Publisher(folder)
        if published:
            self.publisher.publish()
        self.certificates = Certificates(folder / "tls") if self.transport == "tls" else None
        listen = f"unix://{folder}/grpc.sock" if self.transport == "unix" else "127.0.0.1:0"
        tls = f", tls: {{certificate: tls/server.pem, key: tls/server.key{tls}}}" if self.certificates else ""
        self.sidecar = Sidecar(
            folder,
            "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1s}\n"
            f'grpc: {{listen: "{listen}", engine: {self.engine}{tls}}}\n'
            'http: {listen: "off"}\n'
            'admin: {listen: "127.0.0.1:0"}\n'
            'client_address: {trusted_proxies: ["127.0.0.0/8"]}\n'
            'decision_log: {path: "off"}\n'
            "application: {unknown: default}\n"
            f"drain: {drain}\n",
        )
        self.target = f"unix:{folder}/grpc.sock"
        if self.transport != "unix":
            self.target = f"127.0.0.1:{self.sidecar.ports['grpc']}"

    def channel(self) -> grpc.Channel:
        """Return a connection of its own; close it."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self.certificates is None:
            return grpc.insecure_channel(self.target, options)
        return grpc.secure_channel(self.target, self.certificates.credentials(), options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sidecar.end()


@pytest.fixture(scope="module", params=VARIANTS)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine"), request.param) as engine:
        yield engine


@pytest.fixture
def channel(engine: Engine) -> Iterator[grpc.Channel]:
    with engine.channel() as channel:
        yield channel


def raw(channel: grpc.Channel, method: str = CHECK_METHOD) -> Any:
    """Return a method from bytes to bytes."""
    return channel.unary_unary(method, request_serializer=None, response_deserializer=None)


def stream(channel: grpc.Channel, method: str, asked: queue.SimpleQueue[bytes | None]) -> Any:
    """Return the answers to what is put into the queue, until None is, from bytes to bytes."""
    call = channel.stream_stream(method, request_serializer=None, response_deserializer=None)
    return call(iter(asked.get, None), timeout=WAIT)


def ask(channel: grpc.Channel, client: str = "192.0.2.7", **request: Any) -> EnvoyAnswer:
    request.setdefault("context", {"application": "shop"})
    payload = check_request("127.0.0.1", {"x-forwarded-for": client}, **request)
    return read_answer(raw(channel)(payload, timeout=WAIT, wait_for_ready=True))


def health(channel: grpc.Channel, service: str) -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT, wait_for_ready=True).status


def code_of(call: Any) -> grpc.StatusCode:
    """Return the status of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code = caught.value.code()
    assert isinstance(code, grpc.StatusCode)
    return code


# Checks.


def test_a_check_is_answered(channel: grpc.Channel) -> None:
    allowed, denied = ask(channel), ask(channel, "203.0.113.9")

    assert (allowed.code, allowed.kind, allowed.metadata["reason"]) == (0, "ok", "allowlisted")
    assert allowed.headers["x-authz-client-address"] == "192.0.2.7"
    assert (denied.code, denied.kind, denied.status) == (7, "denied", 403)
    assert denied.headers == {"x-authz-reason": "denylisted"}


def test_a_request_that_is_none_is_denied_not_failed(channel: grpc.Channel) -> None:
    """A gRPC error would be let through by `failure_mode_allow`; a denied answer never is."""
    for payload in (b"", b"\xff", b"nonsense"):
        assert read_answer(raw(channel)(payload, timeout=WAIT)).kind == "denied"


@pytest.mark.parametrize("size", [60_000, MAX_MESSAGE - 1000, MAX_MESSAGE + 1000, 3 * MAX_MESSAGE])
def test_a_big_request_is_answered_and_one_over_the_limit_is_denied(channel: grpc.Channel, size: int) -> None:
    payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7", "x": "a" * (size - 300)})
    answer = read_answer(raw(channel)(payload, timeout=WAIT))

    assert answer.metadata["reason"] == ("allowlisted" if size < MAX_MESSAGE else "request_too_large")


def test_a_huge_request_is_denied_by_both_engines_and_harms_nobody(channel: grpc.Channel) -> None:
    answer = read_answer(raw(channel)(b"\0" * (1 << 20), timeout=WAIT))  # an error would be let through by some proxies
    assert answer.metadata["reason"] == "request_too_large"

    assert ask(channel).kind == "ok"


@pytest.mark.parametrize(("size", "reason"), [(60 << 10, "allowlisted"), (70 << 10, "malformed_request")])
def test_large_metadata_is_denied_on_its_own_call(channel: grpc.Channel, size: int, reason: str) -> None:
    """Envoy copies a client's `tracestate` into it, up to 60 KiB; an error would let the client in at some proxies."""
    payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7"})
    try:
        data = raw(channel)(payload, timeout=WAIT, metadata=[("tracestate", "v" * size)])
    except grpc.RpcError as error:  # the client keeps to the limit that the server announces, by itself
        refused = size > 64 << 10 and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused, error  # noqa: PT017  # no error at all is right, too
    else:
        assert read_answer(data).metadata["reason"] == reason
    assert ask(channel).kind == "ok"


def test_health_lists_the_status_of_every_service(channel: grpc.Channel) -> None:
    call = raw(channel, "/grpc.health.v1.Health/List")
    listed = health_pb2.HealthListResponse.FromString(call(b"", timeout=WAIT, wait_for_ready=True)).statuses
    assert {name: listed[name].status for name in listed} == dict.fromkeys(SERVICES, SERVING)


def test_reflection_names_the_services_and_describes_the_check(channel: grpc.Channel) -> None:
    """`grpcurl list` and calls by their description; the asking side is the library grpcio-reflection."""
    services = ReflectionDatabase(channel)
    assert {AUTHORIZATION, "grpc.health.v1.Health"} <= set(services.get_services())
    pool = DescriptorPool(services)
    check = pool.FindServiceByName(AUTHORIZATION).methods_by_name["Check"]
    request: Any = GetMessageClass(check.input_type)()
    request.attributes.source.address.socket_address.address = "127.0.0.1"
    request.attributes.request.http.headers["x-forwarded-for"] = "203.0.113.9"
    request.attributes.context_extensions["application"] = "shop"
    data = raw(channel)(request.SerializeToString(), timeout=WAIT)
    response: Any = GetMessageClass(check.output_type).FromString(data)
    assert response.denied_response.status.code == 403
    assert "service" in pool.FindMessageTypeByName("grpc.health.v1.HealthCheckRequest").fields_by_name
    with pytest.raises(KeyError):
        pool.FindServiceByName("a.B")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_answers_before_the_call_ends(channel: grpc.Channel, version: str) -> None:
    """grpcurl waits for the answer before it ends its side: `grpcurl list` hung for 55 s."""
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = stream(channel, f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo", asked)
    for request in (b"\x3a\0", b"\x22\x06absent", b"\x32\x01x"):  # list_services, a symbol, extension numbers
        asked.put(request)
        assert request in next(answers)
    asked.put(b"\xff")
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    asked.put(None)


@pytest.mark.parametrize("method", ["/a.B/C", "/grpc.reflection.v1.ServerReflection/Nothing"])
def test_an_unknown_method_is_unimplemented_before_the_call_ends(channel: grpc.Channel, method: str) -> None:
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    answers = stream(channel, method, asked)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    asked.put(None)


def test_many_calls_at_once_each_get_their_own_answer(engine: Engine) -> None:
    wrong: list[str] = []

    def ask_many(number: int) -> None:
        with engine.channel() as channel:
            call = raw(channel)
            clients = [f"198.18.{number}.{n}" for n in range(150)]
            futures = [call.future(check_request("127.0.0.1", {"x-forwarded-for": c}), timeout=WAIT) for c in clients]
            for client, future in zip(clients, futures, strict=True):
                answer = read_answer(future.result())
                if answer.headers.get("x-authz-client-address") != client:
                    wrong.append(client)

    threads = [threading.Thread(target=ask_many, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_cancelled_and_late_calls_harm_nobody(engine: Engine) -> None:
    with engine.channel() as channel:
        call = raw(channel)
        payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7"})
        ask(channel)
        for _ in range(20):
            futures = [call.future(payload, timeout=WAIT) for _ in range(20)]
            late = [call.future(payload, timeout=0.0001) for _ in range(5)]
            for future in futures[::2]:
                future.cancel()
            for future in futures[1::2]:
                assert read_answer(future.result()).kind == "ok"
            for future in late:
                assert future.exception() is None or future.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        half_done = [call.future(payload, timeout=WAIT) for _ in range(100)]
    assert all(future.done() for future in half_done)

    with engine.channel() as channel:
        assert ask(channel).kind == "ok"
    # grpcio itself may log that it could not answer; no traceback may lead through our code.
    assert "authz/serve" not in engine.sidecar.output


def test_compressed_requests_are_read_where_what_they_unpack_to_is_bounded(
    engine: Engine, channel: grpc.Channel
) -> None:
    """grpcio unpacks without a limit of the ratio: there compression is refused. Envoy compresses nothing."""
    payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7", "x": "a" * 5000})
    call = raw(channel)
    if engine.engine == "grpcio":
        refused = code_of(lambda: call(payload, timeout=WAIT, compression=grpc.Compression.Gzip))
        assert refused is grpc.StatusCode.UNIMPLEMENTED
    else:
        assert read_answer(call(payload, timeout=WAIT, compression=grpc.Compression.Gzip)).kind == "ok"


def test_metadata_of_the_call_never_says_who_the_client_is(channel: grpc.Channel) -> None:
    """Envoy writes its own address there."""
    metadata = (("x-forwarded-for", "192.0.2.7"), ("x-authz-application", "shop"))
    data = raw(channel)(check_request("203.0.113.9"), timeout=WAIT, metadata=metadata)
    answer = read_answer(data)

    assert (answer.kind, answer.metadata["client"], answer.metadata["application"]) == ("denied", "203.0.113.9", "*")


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 99],
    ids=["HTTP/1.1", "zeros", "broken frames"],
)
def test_what_is_no_grpc_harms_nobody(engine: Engine, channel: grpc.Channel, data: bytes) -> None:
    family = socket.AF_UNIX if engine.transport == "unix" else socket.AF_INET
    address: Any = engine.target.removeprefix("unix:")
    if engine.transport != "unix":
        address = ("127.0.0.1", engine.sidecar.ports["grpc"])
    with socket.socket(family) as client:
        client.connect(address)
        client.settimeout(WAIT)
        with contextlib.suppress(OSError):  # the server may close at any moment
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65536):
                pass

    assert ask(channel).kind == "ok"


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    service = "/envoy.service.auth"
    for method in (f"{service}.v3.Authorization/Nothing", f"{service}.v2.Authorization/Check", "/a.B/C", "/"):
        call = raw(channel, method)
        assert code_of(lambda: call(b"", timeout=WAIT)) is grpc.StatusCode.UNIMPLEMENTED, method  # noqa: B023
    assert ask(channel).kind == "ok"


# Health.


def test_every_service_is_serving(channel: grpc.Channel) -> None:
    assert {service: health(channel, service) for service in SERVICES} == dict.fromkeys(SERVICES, SERVING)


def test_the_services_are_the_ones_of_the_documents() -> None:
    assert SERVICES == ("", "liveness", "readiness", "envoy.service.auth.v3.Authorization")


def test_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    assert code_of(lambda: health(channel, "nobody")) is grpc.StatusCode.NOT_FOUND


def test_a_health_check_that_is_none_fails_and_harms_nobody(engine: Engine, channel: grpc.Channel) -> None:
    call = raw(channel, "/grpc.health.v1.Health/Check")
    expected = grpc.StatusCode.INVALID_ARGUMENT if engine.engine == "native" else grpc.StatusCode.UNKNOWN

    assert code_of(lambda: call(b"\xff", timeout=WAIT)) is expected
    assert health(channel, "") == SERVING


def watch(channel: grpc.Channel, service: str) -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=60)


def test_watching_an_unknown_service_says_so_and_goes_on(channel: grpc.Channel) -> None:
    call = watch(channel, "nobody")
    assert next(call).status == SERVICE_UNKNOWN
    assert call.is_active()
    call.cancel()


def test_watchers_that_go_make_place_for_others(engine: Engine, channel: grpc.Channel) -> None:
    """The native engine keeps 1024 at most."""

    def watched() -> bool:
        call = watch(channel, "")
        try:
            return bool(next(call).status == SERVING)
        except grpc.RpcError:
            return False
        finally:
            call.cancel()

    for _ in range(1200 if engine.engine == "native" else 20):
        assert watched() or wait_for(watched)


def test_too_many_watchers_are_told_so_and_checks_go_on(engine: Engine) -> None:
    if engine.engine != "native":
        pytest.skip("grpcio keeps as many as come")
    with contextlib.ExitStack() as stack:
        channels = [stack.enter_context(engine.channel()) for _ in range(15)]
        calls = [watch(channel, "") for channel in channels for _ in range(70)]
        outcomes = []
        for call in calls:
            try:
                outcomes.append(next(call).status == SERVING)
            except grpc.RpcError as error:
                outcomes.append(error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert outcomes.count(False) == len(calls) - 1024
        assert ask(channels[0]).kind == "ok"
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("variant", VARIANTS)
def test_not_ready_until_the_first_snapshot_and_watchers_see_it(tmp_path: Path, variant: str) -> None:
    with Engine(tmp_path, variant, published=False) as engine, engine.channel() as channel:
        answer = ask(channel)
        assert (answer.code, answer.kind, answer.status) == (14, "error", 503)
        assert answer.headers == {"x-authz-reason": "no_snapshot"}
        assert {service: health(channel, service) for service in SERVICES} == {
            "": NOT_SERVING, "liveness": SERVING, "readiness": NOT_SERVING, AUTHORIZATION: NOT_SERVING,
        }  # fmt: skip
        watched = watch(channel, AUTHORIZATION)
        assert next(watched).status == NOT_SERVING

        engine.publisher.publish()

        assert next(watched).status == SERVING
        assert ask(channel).kind == "ok"
        assert health(channel, "readiness") == SERVING
        watched.cancel()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_end_is_announced_checks_are_still_answered_and_nothing_is_left(tmp_path: Path, variant: str) -> None:
    with Engine(tmp_path, variant, drain="60s") as engine, engine.channel() as channel:
        watched = {service: watch(channel, service) for service in SERVICES}
        for call in watched.values():
            assert next(call).status == SERVING

        engine.sidecar.popen.send_signal(signal.SIGTERM)

        for service in ("", "readiness", AUTHORIZATION):
            assert next(watched[service]).status == NOT_SERVING
            assert health(channel, service) == NOT_SERVING
        assert health(channel, "liveness") == SERVING
        assert ask(channel).kind == "ok"
        assert ask(channel, "203.0.113.9").kind == "denied"
        engine.sidecar.popen.send_signal(signal.SIGTERM)  # a second one ends at once
        assert engine.sidecar.wait() == 0
        assert "Traceback" not in engine.sidecar.output
        for call in watched.values():
            with contextlib.suppress(grpc.RpcError):
                assert list(call) == []
        if engine.transport == "unix":
            assert not (tmp_path / "grpc.sock").exists()
        else:
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("127.0.0.1", engine.sidecar.ports["grpc"]))


@pytest.mark.parametrize("engine_name", ["native", "grpcio"])
def test_a_unix_socket_has_the_rights_that_are_configured(tmp_path: Path, engine_name: str) -> None:
    Publisher(tmp_path).publish()
    config = (
        "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
        f'grpc: {{listen: "unix:g.sock", engine: {engine_name}, unix_mode: 600}}\n'
        'http: {listen: "unix:h.sock", unix_mode: "0666"}\nadmin: {listen: "unix:a.sock"}\ndrain: 0s\n'
    )
    with Sidecar(tmp_path, config):
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("g.sock", "h.sock", "a.sock")}

    assert modes == {"g.sock": 0o600, "h.sock": 0o666, "a.sock": 0o660}


# TLS.


def test_tls_without_an_engine_is_grpcio_and_plain_clients_are_refused(tmp_path: Path) -> None:
    with Engine(tmp_path, "auto-tls") as engine:
        with engine.channel() as channel:
            assert ask(channel).kind == "ok"
        with grpc.insecure_channel(engine.target) as plain:
            call = raw(plain)
            assert code_of(lambda: call(b"", timeout=WAIT)) is grpc.StatusCode.UNAVAILABLE


def test_with_a_client_ca_only_its_clients_are_served(tmp_path: Path) -> None:
    with Engine(tmp_path, "grpcio-tls", tls=", client_ca: tls/ca.pem") as engine:
        assert engine.certificates is not None
        with grpc.secure_channel(engine.target, engine.certificates.credentials("client")) as known:
            assert ask(known).kind == "ok"
        strangers = Certificates(tmp_path / "strangers")
        stranger = grpc.ssl_channel_credentials(
            engine.certificates.read("ca.pem"), strangers.read("client.key"), strangers.read("client.pem")
        )
        for credentials in (engine.certificates.credentials(), stranger):
            with grpc.secure_channel(engine.target, credentials) as unknown:
                call = raw(unknown)
                assert code_of(lambda: call(b"", timeout=WAIT)) is grpc.StatusCode.UNAVAILABLE  # noqa: B023


WRONG_FILES: Final = [
    # certificate, key, client_ca, and what the error says
    ("no.pem", "server.key", None, "no.pem: No such file or directory"),
    ("server.pem", ".", None, "tls: Is a directory"),
    ("ca.key", "server.key", None, "ca.key and server.key: expected a certificate and its key, as PEM"),
    ("empty.pem", "server.key", None, "empty.pem and server.key: expected a certificate and its key, as PEM"),
    ("server.pem", "client.key", None, "server.pem and client.key: expected a certificate and its key, as PEM"),
    ("server.pem", "locked.key", None, "server.pem and locked.key: expected a certificate and its key, as PEM"),
    ("server.pem", "server.key", "empty.pem", "empty.pem: expected certificates, as PEM"),
    ("server.pem", "server.key", "no.pem", "no.pem: No such file or directory"),
]


@pytest.fixture
def tls_folder(tmp_path: Path) -> Path:
    folder = Certificates(tmp_path / "tls").folder
    (folder / "empty.pem").write_bytes(b"")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "locked.key").write_bytes(key.private_bytes(pem, form, serialization.BestAvailableEncryption(b"secret")))
    return folder


@pytest.mark.parametrize(("certificate", "key", "client_ca", "message"), WRONG_FILES)
def test_a_file_of_tls_that_is_none_is_an_error_that_names_it(
    tls_folder: Path, certificate: str, key: str, client_ca: str | None, message: str
) -> None:
    tls = Tls(
        certificate=str(tls_folder / certificate),
        key=str(tls_folder / key),
        client_ca=None if client_ca is None else str(tls_folder / client_ca),
    )
    with pytest.raises(StartError) as caught:
        _credentials(tls)

    said = caught.value.message.replace(f"{tls_folder}/", "").replace(str(tls_folder), "tls")
    assert said.startswith(f"grpc.tls: {message}")
    assert "another authz" not in caught.value.hint


def test_a_wrong_certificate_ends_the_start_and_nobody_asks_for_a_password(tls_folder: Path) -> None:
    folder = tls_folder.parent
    Publisher(folder).publish()
    (folder / "authz.yaml").write_text(
        "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
        'grpc: {listen: "127.0.0.1:0", tls: {certificate: tls/server.pem, key: tls/locked.key}}\n'
        'http: {listen: "off"}\nadmin: {listen: "off"}\n'
    )
    with Process([sys.executable, "-m", "authz", "serve", "--config", "authz.yaml"], cwd=folder) as process:
        assert process.wait() == 2
        assert f"authz: error: grpc.tls: {folder}/tls/server.pem and {folder}/tls/locked.key: " in process.output
        assert "Traceback" not in process.output
