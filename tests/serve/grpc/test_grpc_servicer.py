"""The servicer for grpcio servers of other people: without a network by grpcio-testing, and on a real server."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import grpc_testing
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from support.proxies.envoy_api import check_request, read_answer
from support.sidecar.fronts import Fronts

from authz.serve.grpc import reflection
from authz.serve.grpc.check import CHECK_METHOD
from authz.serve.grpc.servicer import AuthorizationServicer, add_AuthorizationServicer_to_server
from authz.wire.envoy.v3.check_pb2 import CheckRequest

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

    from authz.addresses import Address
    from authz.engine.decision.outcome import Outcome


@pytest.fixture
def fronts(publisher: Publisher) -> Fronts:
    return Fronts(publisher)


def service() -> Any:
    """Return the description of the service, as reflection shows it."""
    pool = DescriptorPool()
    for file in reversed(reflection._files()):
        pool.Add(file)
    return pool.FindServiceByName("envoy.service.auth.v3.Authorization")


@pytest.mark.parametrize(("client", "kind"), [("192.0.2.7", "ok"), ("203.0.113.9", "denied")])
def test_without_a_network_a_check_is_answered_as_by_the_sidecar(fronts: Fronts, client: str, kind: str) -> None:
    told: list[tuple[Outcome, Address | None]] = []
    servicer = AuthorizationServicer(fronts.decider, on_decision=lambda *decision: told.append(decision))
    description = service()
    server = grpc_testing.server_from_dictionary({description: servicer}, grpc_testing.strict_real_time())
    payload = check_request("127.0.0.1", {"x-forwarded-for": client}, context={"application": "shop"})

    call = server.invoke_unary_unary(
        description.methods_by_name["Check"], (), CheckRequest.FromString(payload), timeout=None
    )
    response, _, code, _ = call.termination()

    assert code is grpc.StatusCode.OK
    assert response.SerializeToString(deterministic=True) == fronts.check(payload)
    assert read_answer(response.SerializeToString()).kind == kind
    [(outcome, address)] = told
    assert (outcome.application, address and address.text) == ("shop", client)


def test_a_server_of_somebody_else_answers_checks(fronts: Fronts) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    add_AuthorizationServicer_to_server(AuthorizationServicer(fronts.decider, max_message=1000), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
            payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, context={"application": "shop"})
            answers = [call.future(payload, timeout=20) for _ in range(50)]
            assert {answer.result() for answer in answers} == {fronts.check(payload)}
            large = check_request("127.0.0.1", {"x": "y" * 1000})
            assert read_answer(call(large, timeout=20)).metadata["reason"] == "request_too_large"
    finally:
        server.stop(None).wait()


def test_an_asyncio_server_of_somebody_else_answers_checks(fronts: Fronts) -> None:
    payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, context={"application": "shop"})

    async def run() -> bytes:
        server = grpc.aio.server()
        add_AuthorizationServicer_to_server(AuthorizationServicer(fronts.decider), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(CHECK_METHOD, request_serializer=None, response_deserializer=None)
            answer = await call(payload, timeout=20)
        await server.stop(None)
        return bytes(answer)

    assert asyncio.run(run()) == fronts.check(payload)


def test_the_application_is_named_by_the_key_that_is_configured(fronts: Fronts) -> None:
    servicer = AuthorizationServicer(fronts.decider, context_key="app")
    payload = check_request("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, context={"app": "shop"})
    assert read_answer(servicer.check(payload)).metadata["application"] == "shop"
