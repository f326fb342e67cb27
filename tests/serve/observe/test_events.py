"""Events to a control plane: what is sent, and that decisions never wait for it."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from support.processes import CONFIG, Sidecar, wait_for
from support.servers.receiver import Receiver

from authz.errors import StartError
from authz.serve.config.config import EventsConfig
from authz.serve.observe.recorder import Decision
from authz.serve.observe.senders.batches import MAX_BATCH
from authz.serve.observe.senders.events import EventSender

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.publishing.publisher import Publisher

DENIED = "203.0.113.9"


class Taker(Receiver):
    """Takes events, and answers as the test says."""

    path = "/v1/events"
    protocol = "HTTP/1.1"

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.tokens: set[str | None] = set()
        super().__init__(202, b"{}")

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        assert headers["Content-Encoding"] == "gzip"
        lines = gzip.decompress(body).splitlines()
        if self.status == 202:
            self.events += [json.loads(line) for line in lines]
            self.batches.append(len(lines))
            self.tokens.add(headers.get("Authorization"))


@pytest.fixture
def taker() -> Iterator[Taker]:
    taker = Taker()
    yield taker
    taker.end()


@contextlib.contextmanager
def sending(config: EventsConfig) -> Iterator[EventSender]:
    sender = EventSender(config)
    sender.open()
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()


def decision() -> Decision:
    from authz.addresses import parse_address
    from authz.engine.decision.outcome import make_outcome
    from authz.engine.decision.verdict import Verdict
    from authz.engine.model import Application

    outcome = make_outcome(Application("shop"), Verdict("deny", "denylisted"), None)
    details = b"r1", b"shop.example.com", b"GET", b"/x\xff?y"
    return Decision(1_790_000_000.0, "grpc", "10.0.0.1", outcome, parse_address(DENIED), None, *details)


def test_a_sidecar_sends_what_it_denied(publisher: Publisher, taker: Taker, tmp_path: Path) -> None:
    import urllib.error
    import urllib.request

    publisher.publish()
    (tmp_path / "token").write_text("authz_secret\n")
    config = CONFIG + f"events: {{url: '{taker.url}', token_file: token}}\n"
    with Sidecar(tmp_path, config) as sidecar:
        headers = {"X-Forwarded-For": DENIED, "X-Original-URI": "/login", "X-Original-Method": "POST"}
        request = urllib.request.Request(f"http://127.0.0.1:{sidecar.ports['http']}/v1/auth/shop", headers=headers)
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)
        [event] = wait_for(lambda: taker.events)
    assert (event["client"], event["decision"], event["application"]) == (DENIED, "deny", "shop")
    assert (event["path"], event["method"], event["reason"]) == ("/login", "POST", "denylisted")
    assert taker.tokens == {"Bearer authz_secret"}


def test_an_event_has_no_byte_unescaped(taker: Taker) -> None:
    with sending(EventsConfig(url=taker.url)) as sender:
        sender.write(decision())
        [event] = wait_for(lambda: taker.events)
    assert event == {
        "time": 1_790_000_000.0, "client": DENIED, "application": "shop", "decision": "deny", "reason": "denylisted",
        "request_id": "r1", "host": "shop.example.com", "method": "GET", "path": "/x\\xff?y",
    }  # fmt: skip


def test_a_control_plane_that_is_away_loses_nothing_that_finds_room(taker: Taker) -> None:
    taker.status = 503
    with sending(EventsConfig(url=taker.url, queue=10)) as sender:
        for _ in range(15):
            sender.write(decision())
        assert (sender.waiting, sender.dropped) == (10, 5)
        taker.status = 202
        wait_for(lambda: sender.sent == 10)
        assert (len(taker.events), sender.dropped) == (10, 5)


def test_events_that_are_refused_for_good_are_dropped_and_counted(taker: Taker) -> None:
    taker.status = 403
    with sending(EventsConfig(url=taker.url)) as sender:
        sender.write(decision())
        wait_for(lambda: sender.dropped == 1)
        assert sender.waiting == 0


def test_batches_are_bounded(taker: Taker) -> None:
    with sending(EventsConfig(url=taker.url)) as sender:
        for _ in range(MAX_BATCH + 10):
            sender.write(decision())
        wait_for(lambda: len(taker.events) == MAX_BATCH + 10)
    assert max(taker.batches) <= MAX_BATCH


def test_a_batch_that_is_too_large_is_sent_in_pieces(taker: Taker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients fill it with long paths of bytes that are escaped, and the control plane takes 8 MiB."""
    take = taker.take

    def measure(headers: Mapping[str, str], body: bytes) -> None:
        taker.status = 413 if gzip.decompress(body).count(b"\n") > 3 else 202
        take(headers, body)

    monkeypatch.setattr(taker, "take", measure)
    sender = EventSender(EventsConfig(url=taker.url))
    for number in range(20):
        sender.write(decision()._replace(path=b"/%d" % number))
    sender.start()
    wait_for(lambda: len(taker.events) == 20, "all events arrive")
    sender.stop()
    assert [event["path"] for event in taker.events] == [f"/{number}" for number in range(20)]
    assert (sender.sent, sender.dropped) == (20, 0)


def test_the_end_waits_for_no_control_plane_that_hangs() -> None:
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        sender = EventSender(EventsConfig(url=f"http://127.0.0.1:{silent.getsockname()[1]}/v1/events"))
        sender.start()
        sender.write(decision())
        connection, _ = wait_for(silent.accept)
        begin = time.monotonic()
        sender.stop()
        assert time.monotonic() - begin < 8  # the connection's own limit is 10 seconds
        connection.close()


def test_a_decision_without_a_client_is_not_sent(taker: Taker) -> None:
    with sending(EventsConfig(url=taker.url)) as sender:
        sender.write(decision()._replace(client=None))
        assert sender.waiting == 0


def test_without_a_url_nothing_is_sent() -> None:
    assert not EventSender(EventsConfig()).on


def test_a_token_that_cannot_be_read_ends_the_start(tmp_path: Path) -> None:
    sender = EventSender(EventsConfig(url="http://127.0.0.1:1/", token_file=str(tmp_path / "none")))
    with pytest.raises(StartError, match=r"events\.token_file: .*none: "):
        sender.open()
