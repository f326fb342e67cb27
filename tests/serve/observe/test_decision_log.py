"""The decision log: what a line says, whose turn it is, and disks that are slow or full."""

from __future__ import annotations

import asyncio
import calendar
import json
import logging
import re
import threading
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest
from support.processes import Sidecar, wait_for
from support.proxies.envoy_api import check_request
from support.publishing.publisher import POLICY, Publisher
from support.sidecar.fronts import Fronts
from support.sidecar.running import (
    ALLOWED,
    DENIED,
    PATIENCE,
    config,
    get,
    lines_of,
    logging_to,
    run,
    running,
    until,
)

from authz.addresses import parse_address
from authz.errors import StartError
from authz.serve.grpc.check import GrpcCheck
from authz.serve.observe.decision_log import DecisionLog
from authz.serve.observe.metrics import Metrics
from authz.serve.observe.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator


FIELDS: Final = {
    "time", "front", "peer", "decision", "reason", "list", "entry", "client", "application", "serial", "status",
    "enforced", "warnings", "request_id", "host", "method", "path", "unknown_application",
    "layer",
}  # fmt: skip


def test_a_line_of_the_decision_log_says_all_of_a_decision(publisher: Publisher) -> None:
    publisher.publish(serial=3)

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=1.0)) as started:
            await started.ask("2001:DB8:1:0::0F")
            await started.ask(f"::ffff:{DENIED}")
            await started.ask("unknown")
            assert started.sidecar._log.dropped == 0

    before = time.time()
    run(live())
    allowed, denied, unresolved = lines_of(publisher.folder)

    assert set(allowed) == set(denied) == set(unresolved) == FIELDS
    moment = allowed.pop("time")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert abs(calendar.timegm(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - before) < 3600
    assert allowed == {
        "front": "http", "peer": "127.0.0.1", "decision": "allow", "reason": "allowlisted", "list": "allow",
        "entry": "office", "client": "2001:db8:1::f", "application": "shop", "serial": 3, "status": 200,
        "enforced": True, "warnings": [], "request_id": None, "host": "127.0.0.1", "method": None, "path": None,
        "unknown_application": None, "layer": "policy",
    }  # fmt: skip
    assert (denied["client"], denied["decision"], denied["entry"]) == (DENIED, "deny", "bad")
    assert (unresolved["client"], unresolved["reason"]) == (None, "client_unresolved")


def test_the_line_of_the_page_has_the_keys_of_a_line() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "configuration.md").read_text()
    (line,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert set(json.loads(line)) == FIELDS


@pytest.mark.parametrize(
    ("settings", "clients"),
    [
        ({}, [DENIED]),
        ({"denied": 0.0, "warned": 0.0}, None),
        ({"denied": 0.0, "allowed": 1.0}, [ALLOWED]),
        ({"denied": 1.0, "allowed": 1.0}, [ALLOWED, DENIED]),
    ],
)
def test_shares_of_none_and_all_are_exact(
    publisher: Publisher, settings: dict[str, object], clients: list[str] | None
) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(**settings)) as started:
            for _ in range(20):
                await started.ask(ALLOWED)
                await started.ask(DENIED)

    run(live())
    if clients is None:
        assert not (publisher.folder / "decisions.jsonl").exists()
    else:
        assert [line["client"] for line in lines_of(publisher.folder)] == clients * 20


def test_a_share_is_drawn_for_each_decision(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter([0.24, 0.25, 0.0, 0.99, 0.1])
    monkeypatch.setattr("random.random", lambda: next(draws))
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(allowed=0.25)) as started:
            for number in range(5):
                await started.ask(f"192.0.2.{number}")

    run(live())
    assert [line["client"] for line in lines_of(publisher.folder)] == ["192.0.2.0", "192.0.2.2", "192.0.2.4"]


def test_what_dry_run_would_have_denied_is_logged_as_denied(publisher: Publisher) -> None:
    publisher.publish(POLICY.replace("hosts: [shop.example.com]", "dry_run: true"))

    async def live() -> None:
        async with running(publisher.folder, logging_to()) as started:
            assert (await started.ask(DENIED)).status == 200

    run(live())
    assert [(line["decision"], line["enforced"]) for line in lines_of(publisher.folder)] == [("allow", False)]


def test_the_decision_log_keeps_no_peer_that_is_longer_than_an_address(publisher: Publisher) -> None:
    """A megabyte each, in the queue and in what is remembered: 1.45 MB of gzip took the process to a gigabyte."""
    fronts = Fronts(publisher, logging_to(queue=1000))
    log = DecisionLog(fronts.config.decision_log)
    recorder = Recorder("grpc", Metrics(), [log])
    outcome, megabyte = fronts.decider.malformed(), "x" * (1 << 20)
    tracemalloc.start()
    try:
        for number in range(50):
            recorder.record((outcome, None, None), f"{number}{megabyte}", 1.0)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
        log.open()
        log.start()
        log.stop()
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    peers = [line["peer"] for line in lines_of(publisher.folder)]
    assert len(peers) == 50
    assert peers[49] == f"49{'x' * 43}..."


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Make the writer of the decision log wait until the event is set."""
    go = threading.Event()
    original = DecisionLog._write_next

    def slow(self: DecisionLog, *arguments: Any) -> None:
        go.wait(PATIENCE)
        original(self, *arguments)

    monkeypatch.setattr(DecisionLog, "_write_next", slow)
    yield go
    go.set()


def test_a_decision_log_that_was_moved_away_is_opened_again_when_told(publisher: Publisher) -> None:
    publisher.publish()
    text = config().replace('decision_log: {path: "off"}', "decision_log: {path: decisions.log}")
    log, moved = publisher.folder / "decisions.log", publisher.folder / "decisions.log.1"

    async def live() -> None:
        async with running(publisher.folder, text) as started:
            await started.ask(DENIED)
            await until(lambda: log.read_bytes().count(b"\n") == 1)
            log.rename(moved)
            await started.ask(DENIED)
            await until(lambda: moved.read_bytes().count(b"\n") == 2)
            started.sidecar.reload()
            await started.ask(DENIED)
            await until(lambda: log.exists() and log.read_bytes().count(b"\n") == 1)
        assert moved.read_bytes().count(b"\n") == 2

    run(live())


def test_a_slow_disk_loses_lines_which_are_counted_and_never_slows_a_decision(
    publisher: Publisher, stuck: threading.Event
) -> None:
    publisher.publish()

    async def live() -> None:
        async with running(publisher.folder, logging_to(queue=10)) as started:
            reader, writer = await asyncio.open_connection("127.0.0.1", started.sidecar.ports["http"])
            for _ in range(1000):
                writer.write(f"GET /v1/auth HTTP/1.1\r\nX-Forwarded-For: {DENIED}\r\n\r\n".encode())
                assert await reader.readuntil(b"\r\n\r\n")
            writer.close()
            dropped = started.sidecar._log.dropped
            assert started.sidecar._log.written == 0
            assert 1000 - 2 * 10 - 1 <= dropped < 1000  # the queue, and what the writer had taken of it
            stuck.set()
            await until(lambda: started.sidecar._log.written == 1000 - dropped)
            assert len(lines_of(publisher.folder)) == 1000 - dropped
            await started.ask(DENIED)  # and now it goes on
            await until(lambda: len(lines_of(publisher.folder)) == 1001 - dropped)

    run(live())


def test_lines_that_come_while_others_are_written_gather_too(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write takes the interpreter away from who decides: under load there were 30 lines in one, now hundreds."""
    fronts = Fronts(publisher, logging_to())
    log = DecisionLog(fronts.config.decision_log)
    recorder = Recorder("grpc", Metrics(), [log])
    decided, pauses, writes = (fronts.decider.malformed(), None, None), 0, 0
    original = DecisionLog._write_next

    def pause(_: float) -> None:
        nonlocal pauses
        pauses += 1

    def write(self: DecisionLog, *arguments: Any) -> None:
        nonlocal writes
        writes += 1
        original(self, *arguments)
        if writes < 10:
            recorder.record(decided, "127.0.0.1", 1.0)

    monkeypatch.setattr("authz.serve.observe.decision_log.time", SimpleNamespace(sleep=pause))
    monkeypatch.setattr(DecisionLog, "_write_next", write)
    log.open()
    log.start()
    recorder.record(decided, "127.0.0.1", 1.0)
    wait_for(lambda: log.written == 10)
    log.stop()
    assert pauses == writes == 10


@pytest.mark.parametrize("queue", [20, 100, 10000])
def test_a_short_queue_loses_no_line_while_lines_gather(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, queue: int
) -> None:
    """With `queue: 100` and 10,000 denials a second half of the lines were lost in the 20 ms in which they gathered."""
    fronts = Fronts(publisher, logging_to(queue=queue))
    log = DecisionLog(fronts.config.decision_log)
    recorder = Recorder("grpc", Metrics(), [log])
    decided, left = (fronts.decider.malformed(), None, None), 20_000

    def pause(seconds: float) -> None:
        nonlocal left
        come = min(left, round(100_000 * seconds))
        left -= come
        for _ in range(come):
            recorder.record(decided, "127.0.0.1", 1.0)

    monkeypatch.setattr("authz.serve.observe.decision_log.time", SimpleNamespace(sleep=pause))
    log.open()
    log.start()
    recorder.record(decided, "127.0.0.1", 1.0)
    wait_for(lambda: not log._waiting)
    log.stop()
    assert (log.dropped, log.written > 1) == (0, True)


def test_a_full_disk_is_told_once_and_counted_and_decisions_go_on(
    publisher: Publisher, caplog: pytest.LogCaptureFixture
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    publisher.publish()

    async def live() -> None:
        text = logging_to().replace("decisions.jsonl", "/dev/full")
        async with running(publisher.folder, text) as started:
            for count in range(1, 6):
                assert (await started.ask(DENIED)).status == 403
                await until(
                    lambda: started.sidecar._log.dropped == count  # noqa: B023
                )

    with caplog.at_level(logging.INFO):
        run(live())
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the decision log cannot be written: No space left on device"
    ]


def test_a_decision_log_that_cannot_be_opened_is_an_error_at_the_start(publisher: Publisher) -> None:
    async def live() -> None:
        text = logging_to().replace("decisions.jsonl", "nowhere/decisions.jsonl")
        with pytest.raises(StartError) as caught:
            async with running(publisher.folder, text):
                pass
        path = publisher.folder / "nowhere/decisions.jsonl"
        assert caught.value.message == f"decision_log.path: {path}: No such file or directory"

    run(live())


def test_the_decision_log_is_appended_to(publisher: Publisher) -> None:
    publisher.publish()

    async def live() -> None:
        for _ in range(2):
            async with running(publisher.folder, logging_to()) as started:
                await started.ask(DENIED)

    run(live())
    assert len(lines_of(publisher.folder)) == 2


def test_the_decision_log_goes_to_standard_output_where_it_is_told(publisher: Publisher) -> None:
    publisher.publish()
    with Sidecar(publisher.folder) as sidecar:
        for client in (ALLOWED, DENIED, "::FFFF:cb00:7109", "2001:DB8:BAD:0::1"):
            get(sidecar.ports["http"], "/v1/auth/shop", client)
        wait_for(lambda: sum(line.startswith("{") for line in sidecar.lines) == 4)
        lines = [json.loads(line) for line in sidecar.lines if line.startswith("{")]

    assert all(set(line) == FIELDS for line in lines)
    assert [line["client"] for line in lines] == [ALLOWED, DENIED, DENIED, "2001:db8:bad::1"]


def test_a_client_is_canonical_text_in_every_log(publisher: Publisher, caplog: pytest.LogCaptureFixture) -> None:
    """And what a client wrote in the place of an address is in none."""
    publisher.publish()
    texts = [
        "2001:DB8:1:0:0:0:0:AB",
        "::ffff:203.0.113.9",
        "[2001:db8::1]:80",
        "203.0.113.9:99",
        "evil<b>",
        "1.2.3.4%",
    ]
    text = logging_to(allowed=1.0).replace('"off"', '"127.0.0.1:0"', 1)

    async def live() -> None:
        async with running(publisher.folder, text) as started:
            for each in texts:
                await started.ask(each)
            recorder = Recorder("grpc", started.sidecar.metrics, [started.sidecar._log])
            check = GrpcCheck(started.sidecar.config, started.sidecar.decider, recorder)
            for peer in ("::FFFF:192.0.2.7", "2001:DB8::7", "evil\n<b>"):
                check(check_request(peer))

    with caplog.at_level(logging.DEBUG):
        run(live())
    written = (publisher.folder / "decisions.jsonl").read_text()

    for line in lines_of(publisher.folder):
        client = line["client"]
        assert client is None or parse_address(client).text == client
    assert [line["client"] for line in lines_of(publisher.folder)] == [
        "2001:db8:1::ab", DENIED, "2001:db8::1", DENIED, None, None, ALLOWED, "2001:db8::7", None,
    ]  # fmt: skip
    assert written.isascii()
    assert "<b>" not in caplog.text
