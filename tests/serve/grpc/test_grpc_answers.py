"""The three kinds of answers of the gRPC front, bytes to bytes."""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

import pytest
from google.protobuf.json_format import MessageToDict
from support.proxies.envoy_api import EnvoyAnswer, read_answer
from support.sidecar.fronts import NOW, TRUSTING, Fronts
from support.sidecar.grpc_questions import ask, metadata

from authz.addresses import parse_address
from authz.engine.decision.outcome import Outcome, make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import Application, DenyAnswer, Entry, Match
from authz.serve.grpc import responses as grpc_answers
from authz.wire.envoy.v3.check_pb2 import CheckResponse

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


# The three kinds of answers.


def test_an_allowed_request_gets_three_headers_that_overwrite_and_all_others_of_ours_are_removed(
    fronts: Fronts,
) -> None:
    assert ask(fronts, "192.0.2.7", context={"application": "shop"}) == EnvoyAnswer(
        code=0,
        kind="ok",
        status=None,
        body="",
        headers={"x-authz-client-address": "192.0.2.7", "x-authz-list": "allow", "x-authz-application": "shop"},
        overwrites=True,
        removed=[
            "x-authz-warnings",
            "x-authz-dry-run",
            "x-authz-decision",
            "x-authz-entry",
            "x-authz-layer",
            "x-authz-reason",
            "x-authz-serial",
            "x-authz-status",
        ],
        metadata=metadata(list="allow", reason="allowlisted", entry="office"),
    )


def test_a_denied_request_gets_the_status_the_body_its_type_and_the_reason(fronts: Fronts) -> None:
    assert ask(fronts, "203.0.113.9", context={"application": "shop"}) == EnvoyAnswer(
        code=7,
        kind="denied",
        status=429,
        body='{"error": "nicht für dich"}',
        headers={"x-authz-reason": "denylisted", "content-type": "application/json; charset=utf-8"},
        overwrites=True,
        removed=[],
        metadata=metadata(decision="deny", list="deny", reason="denylisted", entry="bad", client="203.0.113.9"),
    )


def test_a_denied_request_without_a_body_gets_403_and_no_content_type(fronts: Fronts) -> None:
    answer = ask(fronts, "203.0.113.9", context={"application": "admin"})

    assert (answer.code, answer.kind, answer.status, answer.body) == (7, "denied", 403, "")
    assert answer.headers == {"x-authz-reason": "denylisted"}


def test_without_a_snapshot_the_answer_is_an_error_of_503_that_never_means_allow(publisher: Publisher) -> None:
    fronts = Fronts(publisher, policy=None)

    assert ask(fronts, "192.0.2.7", context={"application": "shop"}) == EnvoyAnswer(
        code=14,
        kind="error",
        status=503,
        body="",
        headers={"x-authz-reason": "no_snapshot"},
        overwrites=True,
        removed=[],
        metadata=metadata(decision="deny", reason="no_snapshot", client=None, application="*", serial=None),
    )


def test_without_a_snapshot_when_missing_allow_lets_through_and_removes_the_client_header(publisher: Publisher) -> None:
    config = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], when_missing: allow}\n" + TRUSTING
    answer = ask(Fronts(publisher, config, policy=None), "192.0.2.7", headers={"x-authz-client-address": "6.6.6.6"})

    assert (answer.code, answer.kind) == (0, "ok")
    assert answer.headers == {"x-authz-list": "none", "x-authz-application": "*"}
    assert "x-authz-client-address" in answer.removed
    assert answer.metadata["reason"] == "no_snapshot"


@pytest.mark.parametrize(
    ("when_stale", "kind", "code", "reason"),
    [("keep", "ok", 0, "allowlisted"), ("deny", "error", 14, "stale_snapshot"), ("allow", "ok", 0, "stale_snapshot")],
)
def test_a_stale_snapshot_decides_or_denies_or_allows_as_told(
    publisher: Publisher, when_stale: str, kind: str, code: int, reason: str
) -> None:
    snapshot = f"{{path: lists.snapshot, trusted_keys: [keys/a.pub], max_age: 1h, when_stale: {when_stale}}}"
    fronts = Fronts(publisher, f"snapshot: {snapshot}\n{TRUSTING}", created=NOW - 3599)
    assert ask(fronts, "192.0.2.7").metadata["reason"] == "allowlisted"

    fronts.now += 1
    answer = ask(fronts, "192.0.2.7")

    assert (answer.kind, answer.code, answer.metadata["reason"]) == (kind, code, reason)
    assert fronts.decider.stale(fronts.now)


def test_dry_run_allows_what_it_reports_as_denied(fronts: Fronts) -> None:
    answer = ask(fronts, "203.0.113.9", context={"application": "trial"})

    assert (answer.code, answer.kind) == (0, "ok")
    assert answer.headers["x-authz-list"] == "deny"
    assert answer.metadata == metadata(
        list="deny", reason="denylisted", entry="bad", client="203.0.113.9", application="trial", enforced=False
    )


def test_warnings_are_in_the_metadata(fronts: Fronts) -> None:
    answer = ask(fronts, "198.51.100.4", context={"application": "shop"})

    assert answer.metadata == metadata(client="198.51.100.4", warnings=["watched"])


def every_kind() -> dict[str, Outcome]:
    shop = Application("shop", deny=DenyAnswer(429, "nicht für dich", "text/html"))
    return {
        "allow": make_outcome(
            shop, Verdict("allow", "default_allow", warned=tuple(Match(Entry(name, "deny"), 128) for name in "ab")), 7
        ),
        "deny": make_outcome(shop, Verdict("deny", "denylisted", "deny"), 7),
        "deny without body": make_outcome(Application("x"), Verdict("deny", "denylisted", "deny"), 7),
        "dry run": make_outcome(Application("x", dry_run=True), Verdict("deny", "denylisted", "deny"), 7),
        "cannot decide": make_outcome(shop, Verdict("deny", "no_snapshot"), None, cannot=True),
    }


@pytest.mark.parametrize("kind", every_kind())
def test_both_decoders_read_the_same_in_every_kind_of_answer(kind: str) -> None:
    outcome = every_kind()[kind]
    for client in (None, parse_address("192.0.2.7"), parse_address("2001:db8::7")):
        data = grpc_answers.answer((outcome, client, None))
        theirs, ours = read_answer(data), CheckResponse.FromString(data)

        part = getattr(ours, f"{theirs.kind}_response")
        assert ours.WhichOneof("http_response") == f"{theirs.kind}_response"
        assert ours.status.code == theirs.code
        assert {h.header.key: h.header.value.decode() for h in part.headers} == theirs.headers
        assert MessageToDict(ours.dynamic_metadata) == theirs.metadata
        if theirs.kind == "ok":
            assert list(part.headers_to_remove) == theirs.removed
        else:
            assert (part.status.code, part.body) == (theirs.status, theirs.body)


# Answers are cut from a template; nobody may be able to tell.


def many_addresses() -> list[str]:
    generator = random.Random(20261121)
    versions: list[type[ipaddress.IPv4Address | ipaddress.IPv6Address]] = [ipaddress.IPv4Address, ipaddress.IPv6Address]
    texts = {str(kind(generator.getrandbits(kind(0).max_prefixlen))) for kind in versions for _ in range(100)}
    for number in range(1500):  # few groups, small groups: every length that a text can have
        zeros = generator.randrange(7) if number % 2 else 0
        groups = [0] * zeros + [
            generator.randrange(1, 16 ** generator.choice((1, 2, 3, 4, 4))) for _ in range(8 - zeros)
        ]
        generator.shuffle(groups)
        texts.add(str(ipaddress.IPv6Address(":".join(f"{group:x}" for group in groups))))
        texts.add(str(ipaddress.IPv4Address(bytes(generator.choice((0, 7, 42, 255)) for _ in range(4)))))
    texts |= {"::", "::1", "1::1", "10::1", "0.0.0.0", "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
    return sorted(texts)


def test_the_addresses_that_answers_are_compared_for_have_every_length() -> None:
    lengths = {4: set[int](), 6: set[int]()}
    for text in many_addresses():
        lengths[6 if ":" in text else 4].add(len(text))

    assert lengths[4] == set(range(7, 16))
    assert lengths[6] == set(range(2, 40))


@pytest.mark.parametrize("kind", every_kind())
def test_an_answer_from_the_template_is_the_message_serialized_anew(kind: str) -> None:
    outcome = every_kind()[kind]
    for text in many_addresses():
        client = parse_address(text)

        assert grpc_answers.answer((outcome, client, None)) == fresh(outcome, client.text)


def fresh(outcome: Outcome, client: str | None) -> bytes:
    return grpc_answers.build(outcome, client, outcome.entry).SerializeToString(deterministic=True)


# 268501249 as a double has 01 01 01 in it, and 16974079 as well at other places.
@pytest.mark.parametrize(
    "serial", [268501249, 0x10101, 0x1010101010101, 2**53 - 1, *(0x10010101 << n for n in range(8))]
)
def test_no_serial_can_be_taken_for_the_placeholder(serial: int) -> None:
    for kind in ("allow", "deny"):
        outcome = make_outcome(Application("shop"), Verdict("allow" if kind == "allow" else "deny", "x"), serial)
        for text in ("::", "::1", "1::1", "192.0.2.7"):
            assert grpc_answers.answer((outcome, parse_address(text), None)) == fresh(outcome, text)


CONTROLS = "".join(chr(code) for code in range(1, 32))


@pytest.mark.parametrize("body", ["\x01", "\x01\x02\x03", "\x01\x01\x02\x02\x03\x03\x03\x03", CONTROLS, CONTROLS * 50])
def test_no_deny_body_can_be_taken_for_the_placeholder(body: str) -> None:
    outcome = make_outcome(Application("shop", deny=DenyAnswer(403, body)), Verdict("deny", "denylisted", "deny"), 7)
    for text in ("::", "::1", "1::1", "10::1", "192.0.2.7", "2001:db8::7"):
        assert grpc_answers.answer((outcome, parse_address(text), None)) == fresh(outcome, text)


@pytest.mark.parametrize("body", ["{client}{client}", "{client}{client}{client} 1", "1{client}1{client}{client}2"])
def test_addresses_side_by_side_in_a_deny_body_are_all_put_in(body: str) -> None:
    outcome = make_outcome(Application("shop", deny=DenyAnswer(403, body)), Verdict("deny", "denylisted", "deny"), 7)
    for text in ("::", "192.0.2.7", "2001:db8::7", "11.11.11.11"):
        assert grpc_answers.answer((outcome, parse_address(text), None)) == fresh(outcome, text)
