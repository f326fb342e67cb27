"""The health service of both engines, asked and watched by grpcio; the start and the end."""

from __future__ import annotations

import contextlib
import signal
import socket
import tracemalloc
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.processes import Sidecar, wait_for
from support.publishing.publisher import Publisher
from support.sidecar.grpc_engine import SERVING, VARIANTS, WAIT, Engine, ask, code_of, raw

from authz.serve.admin.health import AUTHORIZATION, SERVICES, Health
from authz.serve.grpc.health import HealthMethods
from authz.serve.http2.grpc_methods import Watcher

if TYPE_CHECKING:
    from pathlib import Path

NOT_SERVING: Final = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN: Final = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def health(channel: grpc.Channel, service: str) -> Any:
    stub = health_pb2_grpc.HealthStub(channel)
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=WAIT, wait_for_ready=True).status


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


def test_watchers_keep_no_name_of_a_service_that_there_is_not() -> None:
    """1,024 of them with names of 128 kB held 134 MB for as long as they liked."""
    methods, watchers = HealthMethods(Health()), [Watcher(lambda *_: None, number) for number in range(100)]
    tracemalloc.start()
    try:
        for watcher in watchers:
            name = health_pb2.HealthCheckRequest(service="x" * 100_000).SerializeToString()
            status = health_pb2.HealthCheckResponse.FromString(methods.watch(watcher, name)).status
            assert status == SERVICE_UNKNOWN
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


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
