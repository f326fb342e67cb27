"""The real sidecar, asked by grpcio: both engines of the gRPC front, over TCP, unix sockets and TLS."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase as ReflectionDatabase,
)
from support.proxies.envoy_api import check_request, read_answer
from support.sidecar.grpc_engine import SERVING, WAIT, Engine, ask, code_of, raw

from authz.serve.admin.health import AUTHORIZATION, SERVICES

MAX_MESSAGE: Final = 131072  # grpc.max_message


def stream(channel: grpc.Channel, method: str, asked: queue.SimpleQueue[bytes | None]) -> Any:
    """Return the answers to what is put into the queue, until None is, from bytes to bytes."""
    call = channel.stream_stream(method, request_serializer=None, response_deserializer=None)
    return call(iter(asked.get, None), timeout=WAIT)


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
