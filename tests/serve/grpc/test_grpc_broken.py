"""Broken requests, and faults of our own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from support.proxies.envoy_api import check_request, read_answer
from support.sidecar.fronts import NOW, Fronts
from support.sidecar.grpc_questions import ask

from authz.engine.decision.outcome import INTERNAL_ERROR
from authz.serve.grpc.check import GrpcCheck
from authz.serve.observe.details import MAX_RAW_HEADERS, CheckDetails
from authz.serve.observe.log.lines import LogLines
from authz.serve.observe.recorder import make_recorder
from authz.wire.envoy.v3.check_as_read_pb2 import CheckRequestAsRead

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

    from authz.engine.decision.outcome import Decided, Outcome
    from authz.serve.observe.recorder import Taken

MAX_MESSAGE = 131072  # grpc.max_message


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"\x0a\x05abc", b"\x0a\x7f", b"\x00", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0c",
     b"\x0a\x04\x52\x02\x0a\x05", check_request()[:-1], b"not protobuf at all"],
)  # fmt: skip
def test_bytes_that_are_no_request_are_denied_as_malformed(fronts: Fronts, payload: bytes) -> None:
    answer = read_answer(fronts.check(payload))

    assert (answer.code, answer.kind, answer.status) == (7, "denied", 403)
    assert answer.headers == {"x-authz-reason": "malformed_request"}
    assert answer.metadata["reason"] == "malformed_request"


def test_a_request_over_the_limit_is_denied_unread(fronts: Fronts) -> None:
    padding = {"x-forwarded-for": "192.0.2.7", "x": "a" * (MAX_MESSAGE - 1000)}
    assert ask(fronts, headers=padding).kind == "ok"

    answer = ask(fronts, headers=padding | {"y": "a" * 1000})

    assert (answer.kind, answer.metadata["reason"]) == ("denied", "request_too_large")


def test_an_empty_request_is_denied(fronts: Fronts) -> None:
    """No source at all is a peer without an address."""
    answer = read_answer(fronts.check(b""))

    assert (answer.kind, answer.metadata["reason"]) == ("denied", "peer_untrusted_transport")


def test_bytes_that_are_no_utf_8_break_nothing_where_a_client_can_write(fronts: Fronts) -> None:
    marker = "MARKER"
    request = check_request(
        "10.0.0.1",
        {"x-forwarded-for": "192.0.2.7", "user-agent": marker, "cookie": marker},
        host=marker,
        path="/" + marker,
        context={"application": "shop", "other": marker},
    )
    answer = read_answer(fronts.check(request.replace(marker.encode(), b"\xff\xfe\x80\xc3\x28\xe9")))

    assert (answer.kind, answer.metadata["client"], answer.metadata["application"]) == ("ok", "192.0.2.7", "shop")


@pytest.mark.parametrize("chain", [b"203.0.113.9, 192.0.2.7\xff", b"\xff", b"192.0.2.7, \xd9\xa1.1.1.1"])
def test_bytes_that_are_no_utf_8_in_the_chain_make_the_client_unresolved(fronts: Fronts, chain: bytes) -> None:
    marker = "M" * len(chain)
    usual = check_request("10.0.0.1", {"x-forwarded-for": marker}).replace(marker.encode(), chain)

    for answer in (read_answer(fronts.check(usual)), ask(fronts, raw=[("x-forwarded-for", chain)])):
        assert (answer.kind, answer.metadata["reason"]) == ("denied", "client_unresolved")


def test_bytes_that_are_no_utf_8_left_of_the_client_are_never_read(fronts: Fronts) -> None:
    assert ask(fronts, raw=[("x-forwarded-for", b"\xff, 192.0.2.7")]).metadata["client"] == "192.0.2.7"


def test_a_fault_of_our_own_is_an_error_of_503_and_is_logged(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fronts = Fronts(publisher)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(fronts.decider, "decide", fail)
    with caplog.at_level(logging.ERROR):
        data = fronts.check(check_request("10.0.0.1", {"x-forwarded-for": "192.0.2.7"}))
    answer = read_answer(data)

    assert (answer.code, answer.kind, answer.status) == (14, "error", 503)
    assert answer.headers == {"x-authz-reason": INTERNAL_ERROR}
    assert b"secret" not in data
    assert "ZeroDivisionError" in caplog.text
    assert fronts.counts() == {("grpc", "*", "deny", "internal_error", "none", "true"): 1}


@pytest.mark.parametrize("function", ["answer", "answer_without"])
def test_a_fault_while_the_answer_is_made_is_an_error_of_503_too(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    from authz.serve.grpc import check as grpc_check

    fronts = Fronts(publisher)
    original = getattr(grpc_check, function)

    def fail_once(what: Outcome | Decided, *rest: Any) -> bytes:
        outcome = what[0] if isinstance(what, tuple) else what
        if outcome.reason != INTERNAL_ERROR:
            raise ZeroDivisionError
        return bytes(original(what, *rest))

    monkeypatch.setattr(grpc_check, function, fail_once)
    monkeypatch.setattr(grpc_check._LOG, "exception", lambda *_: None)
    headers = {"x-forwarded-for": "192.0.2.7"} | ({"x-authz-a": "1"} if function == "answer_without" else {})

    assert ask(fronts, headers=headers).status == 503


def test_every_answer_is_counted_by_what_it_was(publisher: Publisher) -> None:
    fronts = Fronts(publisher)
    for _ in range(3):
        ask(fronts, "192.0.2.7", context={"application": "shop"})
    ask(fronts, "203.0.113.9")
    fronts.check(b"\xff")

    assert fronts.counts() == {
        ("grpc", "shop", "allow", "allowlisted", "allow", "true"): 3,
        ("grpc", "*", "deny", "denylisted", "deny", "true"): 1,
        ("grpc", "*", "deny", "malformed_request", "none", "true"): 1,
    }


# What the decision log says of them.


class Taking:
    """Takes all decisions."""

    on = True

    def __init__(self) -> None:
        self.taken: list[Taken] = []

    def share(self, _: Outcome) -> float:
        """Take all."""
        return 1.0

    def write(self, taken: Taken) -> None:
        """Take one."""
        self.taken.append(taken)


class Logged(Fronts):
    """Fronts whose gRPC front is logged."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher)
        self._taking = Taking()
        recorder = make_recorder("grpc", self.config.application, self.metrics, [self._taking])
        self.check = GrpcCheck(self.config, self.decider, recorder, self.clock)

    def lines(self) -> list[dict[str, Any]]:
        """Return what is in the log."""
        return [json.loads(line) for line in LogLines().lines(self._taking.taken).splitlines()]


@pytest.mark.parametrize("raw", [False, True])
def test_a_request_with_forged_headers_is_logged_once_with_what_was_read_of_it(publisher: Publisher, raw: bool) -> None:
    """It was logged twice: as allowed, and as denied by nobody that could be found."""
    headers = {"x-forwarded-for": "192.0.2.7", "x-request-id": "7f-1"} | {f"x-authz-k{n}": "1" for n in range(40)}
    request = {"raw": [(name, text.encode()) for name, text in headers.items()]} if raw else {"headers": headers}
    fronts = Logged(publisher)
    ask(fronts, host="shop.example.com", path="/cart", **request)
    (line,) = fronts.lines()

    assert (line["decision"], line["reason"], line["peer"]) == ("deny", "malformed_request", "10.0.0.1")
    assert (line["request_id"], line["host"], line["path"]) == ("7f-1", "shop.example.com", "/cart")
    assert fronts.counts() == {("grpc", "*", "deny", "malformed_request", "none", "true"): 1}


def test_the_peer_of_a_request_that_could_not_be_read_is_not_said_to_be_a_unix_socket(publisher: Publisher) -> None:
    fronts = Logged(publisher)
    fronts.check(b"\xff")
    fronts.check(bytes(MAX_MESSAGE + 1))
    fronts.check.headers_too_large()
    fronts.check(b"")

    assert [line["peer"] for line in fronts.lines()] == [None, None, None, "unix:"]


def test_a_fault_of_our_own_is_logged_with_the_peer(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    fronts = Logged(publisher)
    monkeypatch.setattr(fronts.decider, "decide", lambda *_: None)
    ask(fronts, "192.0.2.7")

    assert [(line["reason"], line["peer"]) for line in fronts.lines()] == [(INTERNAL_ERROR, "10.0.0.1")]


def test_thousands_of_raw_headers_are_not_searched_for_what_a_line_says() -> None:
    """Each may be two bytes on the wire, and all of them were looked at where the request was denied."""
    empty: list[tuple[str, bytes]] = [("", b"")] * (MAX_RAW_HEADERS - 1)
    for before, request_id in ((empty, b"7f-1"), ([*empty, ("", b"")], b"")):
        payload = check_request("10.0.0.1", raw=[*before, ("x-request-id", b"7f-1")])
        attributes = CheckRequestAsRead.FromString(payload).attributes
        http = attributes.request.http
        details = CheckDetails("application").details((attributes, http, http.headers, len(payload)))
        assert details[0] == request_id


def test_an_entry_begins_and_ends_to_the_second_without_a_new_snapshot(publisher: Publisher) -> None:
    policy = """\
version: 1
entries:
  - {id: sale, list: deny, networks: [192.0.2.0/24], starts: 2027-01-15T08:10:00Z, expires: 2027-01-15T08:20:00Z}
"""
    fronts = Fronts(publisher, policy=policy)

    def at(seconds: float) -> str:
        fronts.now = NOW + seconds
        return str(ask(fronts, "192.0.2.7").metadata["reason"])

    times = [0, 599.999, 600, 1199.999, 1200, 600, 599]
    assert [at(seconds) for seconds in times] == [
        "default_allow", "default_allow", "denylisted", "denylisted", "default_allow", "denylisted", "default_allow",
    ]  # fmt: skip
