"""Whatever comes: a whole answer, and allow only where it was decided."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.proxies.envoy_api import EnvoyAnswer, check_request, read_answer
from support.publishing.publisher import Publisher
from support.sidecar.fronts import BASE, TRUSTING, Fronts
from support.sidecar.grpc_questions import ask, metadata
from support.suite.effort import tries


def whole(data: bytes) -> EnvoyAnswer:
    """Read an answer and check that it is a whole one of its kind."""
    answer = read_answer(data)
    assert set(answer.metadata) == set(metadata())
    if answer.code == 0:
        assert answer.kind == "ok"
        assert answer.metadata["decision"] == "allow"
        assert {"x-authz-list", "x-authz-application"} <= set(answer.headers)
        assert ("x-authz-client-address" in answer.headers) == (answer.metadata["client"] is not None)
    else:
        assert (answer.code, answer.kind) in {(7, "denied"), (14, "error")}
        assert answer.metadata["decision"] == "deny"
        assert answer.status is not None
        assert 400 <= answer.status < 600
        assert answer.headers["x-authz-reason"] == answer.metadata["reason"]
    return answer


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Fronts:
    """No request is allowed here, but those of one client of one application."""
    policy = """\
version: 1
applications:
  "*": {default: deny}
  shop: {precedence: allow_first}
entries:
  - {list: allow, networks: [192.0.2.7], applications: [shop]}
"""
    config = TRUSTING + "application: {unknown: deny}\n"
    return Fronts(Publisher(tmp_path_factory.mktemp("strict")), config, policy)


SEED = check_request(
    "10.0.0.1",
    {"x-forwarded-for": "203.0.113.9", "x-authz-list": "a", "cookie": "a=b"},
    host="shop.example.com",
    context={"application": "other"},
    metadata={"waf": {"attack": True, "deep": {"a": [1, {"b": None}]}}},
)


RAW_SEED = check_request("::1", raw=[("x-forwarded-for", b"203.0.113.9"), ("x-forwarded-for", b"\xff")])


@settings(max_examples=tries(500), deadline=None)
@given(payload=st.binary(max_size=300))
@example(payload=b"")
@example(payload=b"\x0a\x00")
def test_any_bytes_get_a_whole_answer_that_is_no_allow(strict: Fronts, payload: bytes) -> None:
    assert whole(strict.check(payload)).kind == "denied"


@st.composite
def broken_requests(draw: st.DrawFn) -> bytes:
    """A real request with bytes changed, taken out, put in, or with its end cut off."""
    data = bytearray(draw(st.sampled_from([SEED, RAW_SEED])))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(["change", "insert", "delete", "cut", "double"]))
        if kind == "change":
            data[place] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "delete":
            del data[place : place + draw(st.integers(1, 8))]
        elif kind == "cut":
            del data[max(place, 1) :]
        else:
            data += data[place:]
        if not data:
            return b""
    return bytes(data)


@settings(max_examples=tries(1000), deadline=None)
@given(payload=broken_requests())
def test_a_request_with_broken_bytes_gets_a_whole_answer_that_is_no_allow(strict: Fronts, payload: bytes) -> None:
    assert whole(strict.check(payload)).kind == "denied"


@settings(max_examples=tries(500), deadline=None)
@given(payload=broken_requests())
def test_a_request_with_broken_bytes_gets_a_whole_answer_where_most_are_allowed(fronts: Fronts, payload: bytes) -> None:
    whole(fronts.check(payload))


def test_the_one_client_that_the_strict_policy_allows_is_allowed(strict: Fronts) -> None:
    """Else the tests above could not fail."""
    assert whole(strict.check(check_request("192.0.2.7", context={"application": "shop"}))).kind == "ok"


TEXTS = st.text(st.characters(max_codepoint=255), max_size=60)


@settings(max_examples=tries(300), deadline=None)
@given(
    peer=st.none() | TEXTS | st.ip_addresses().map(str),
    names=st.lists(TEXTS.map(lambda text: "x-authz-" + text), max_size=4),
    chain=TEXTS | st.lists(st.ip_addresses().map(str), max_size=5).map(", ".join),
    host=TEXTS,
    application=TEXTS,
)
def test_every_header_of_an_answer_is_one_line_of_visible_ascii(
    fronts: Fronts, peer: str | None, names: list[str], chain: str, host: str, application: str
) -> None:
    lines = [("x-forwarded-for", chain.encode("latin-1")), *((name, b"1") for name in names)]
    answer = whole(fronts.check(check_request(peer, raw=lines, host=host, context={"application": application})))

    for text in (*answer.headers, *answer.headers.values(), *answer.removed):
        assert text.isascii()
        assert text.isprintable()
    assert all(" " not in name for name in (*answer.headers, *answer.removed))


def test_the_base_configuration_believes_nobody(publisher: Publisher) -> None:
    fronts = Fronts(publisher, BASE)

    assert ask(fronts, "192.0.2.7", peer="127.0.0.1").metadata["client"] == "127.0.0.1"
