"""A snapshot grows old while it serves."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING

import pytest
from support.proxies.envoy_api import check_request, read_answer
from support.sidecar.running import (
    ALLOWED,
    Running,
    config,
    run,
    running,
    until,
)

from authz.serve import sidecar as sidecar_module
from authz.serve.grpc.check import GrpcCheck
from authz.serve.http1.front import HttpFront

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

    from authz.engine.decision.decider import Decider
    from authz.serve.config.config import Config
    from authz.serve.observe.recorder import Recorder


@pytest.mark.parametrize(
    ("when_stale", "status", "reason"),
    [("keep", 200, "allowlisted"), ("deny", 503, "stale_snapshot"), ("allow", 200, "stale_snapshot")],
)
def test_an_old_snapshot_is_reported_and_kept_or_not(
    publisher: Publisher, when_stale: str, status: int, reason: str
) -> None:
    publisher.publish(created=int(time.time()) - 7200)

    async def live() -> None:
        async with running(publisher.folder, config(f"max_age: 1h, when_stale: {when_stale}")) as started:
            answer = await started.ask()
            assert (answer.status, answer.header("reason")) == (status, reason)
            assert await started.readiness() == (503 if status == 503 else 200, ["stale_snapshot"])
            assert f"authz_ready {float(status == 200)}" in (await started.page("/metrics")).body.decode()
            assert (await started.snapshot())["loaded"]["stale"] is True
            assert 'authz_snapshot_stale{layer="policy"} 1.0' in (await started.page("/metrics")).body.decode()

            publisher.publish()
            await until(lambda: started.serial == 2)
            assert (await started.ask()).header("reason") == "allowlisted"
            assert await started.readiness() == (200, [])
            assert 'authz_snapshot_stale{layer="policy"} 0.0' in (await started.page("/metrics")).body.decode()

    run(live())


def test_a_snapshot_that_expires_while_it_serves_is_stale(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [time.time()]
    monkeypatch.setattr(sidecar_module, "HttpFront", functools.partial(HttpFront, clock=lambda: moment[0]))
    end = int(moment[0]) + 3600
    publisher.publish(expires=end)

    async def live() -> None:
        async with running(publisher.folder, config("when_stale: deny")) as started:
            for moment[0], reason in ((end - 1, "allowlisted"), (end, "stale_snapshot"), (end + 1, "stale_snapshot")):
                assert (await started.ask()).header("reason") == reason

    run(live())


def test_staleness_and_its_end_are_told_once_and_counted_and_health_follows(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It was told to nobody, and gRPC health said SERVING while every request was answered 503."""
    monkeypatch.setattr(sidecar_module, "_LOOK", 0.01)
    real, ahead = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])
    publisher.publish(created=int(time.time()) - 3580)
    told: list[bool] = []

    async def live() -> None:
        async with running(publisher.folder, config("max_age: 1h, when_stale: deny")) as started:
            health = started.sidecar.health
            health.listeners.append(lambda: told.append(health.ready))
            assert health.serving("readiness")
            ahead[0] = 25.0  # fewer seconds than a clock that was set is told of
            await until(lambda: not health.serving("readiness"))
            await until(lambda: told)
            assert health.serving("liveness")
            publisher.publish()
            await until(lambda: health.serving(""))
            text = (await started.page("/metrics")).body.decode()
            assert 'authz_stale_total{layer="policy"} 1.0' in text

    with caplog.at_level(logging.INFO):
        run(live())
    assert told == [False, True, False]  # stale, fresh, draining
    messages = [record.getMessage() for record in caplog.records]
    assert sum(message.startswith("stale: serial 1 was made at ") for message in messages) == 1
    assert sum(message.startswith("fresh again: serial 2 was made at ") for message in messages) == 1


def test_a_snapshot_of_the_future_is_reported(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    publisher.publish(created=int(time.time()) + 86400)

    async def live() -> None:
        async with running(publisher.folder) as started:
            assert await started.readiness() == (200, ["created_in_the_future"])
            publisher.publish()
            await until(lambda: started.serial == 2)
            assert await started.readiness() == (200, [])

    with caplog.at_level(logging.WARNING):
        run(live())
    assert "in the future: this clock is wrong, or the publisher's was" in caplog.text


def test_it_is_not_ready_before_the_fronts_listen(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.publish()
    start = sidecar_module.Sidecar._start_http
    seen: list[tuple[int, list[str]]] = []

    async def look_and_start(sidecar: sidecar_module.Sidecar) -> None:
        seen.append(await Running(sidecar).readiness())
        await start(sidecar)

    monkeypatch.setattr(sidecar_module.Sidecar, "_start_http", look_and_start)

    async def live() -> None:
        async with running(publisher.folder) as started:
            assert await started.readiness() == (200, [])

    run(live())
    assert seen == [(503, ["starting"])]


def test_the_window_of_an_entry_ends_while_it_serves_on_both_fronts(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = [1_800_000_000.0]  # 2027-01-15T08:00:00Z
    checks: list[GrpcCheck] = []

    def make_check(settings: Config, decider: Decider, recorder: Recorder) -> GrpcCheck:
        checks.append(GrpcCheck(settings, decider, recorder, lambda: moment[0]))

        return checks[-1]

    monkeypatch.setattr(sidecar_module, "HttpFront", functools.partial(HttpFront, clock=lambda: moment[0]))
    monkeypatch.setattr(sidecar_module, "GrpcCheck", make_check)
    publisher.publish(
        """\
version: 1
entries:
  - {id: sale, list: deny, networks: [192.0.2.0/24], starts: 2027-01-15T08:10:00Z, expires: 2027-01-15T08:20:00Z}
"""
    )

    async def live() -> None:
        async with running(publisher.folder, config().replace('"off"', '"127.0.0.1:0"', 1)) as started:
            payload = check_request("127.0.0.1", {"x-forwarded-for": ALLOWED})
            for seconds, status in ((0, 200), (599, 200), (600, 403), (1199.5, 403), (1200, 200), (700, 403)):
                moment[0] = 1_800_000_000 + seconds
                assert (await started.ask()).status == status
                assert read_answer(checks[0](payload)).kind == ("ok" if status == 200 else "denied")

    run(live())
