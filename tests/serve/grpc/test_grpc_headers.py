"""Which headers the gRPC front reads, sets and removes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.proxies.envoy_api import auth, check_request, core, peer_address, read_answer
from support.sidecar.fronts import TRUSTING, Fronts
from support.sidecar.grpc_questions import POLICY, ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.publishing.publisher import Publisher


# What a client sends under our names.


def test_headers_with_our_prefix_that_a_client_sent_are_removed_whatever_they_are_called(fronts: Fronts) -> None:
    names = ["x-authz-secret", "x-authz-a.b", "x-authz-a!#$%&'*+^_`|~b", "x-authz-list_", "x-authz-" + "a" * 500,
             "x-authz-0", "x-authz--", "x-authz-client_address"]  # fmt: skip
    answer = ask(fronts, headers={"x-forwarded-for": "192.0.2.7", **dict.fromkeys(names, "6.6.6.6")})

    assert set(names) <= set(answer.removed)
    assert answer.headers["x-authz-client-address"] == "192.0.2.7"


def test_twins_of_our_headers_with_underscores_are_removed(fronts: Fronts) -> None:
    """To a CGI-like application `x_authz_list` and `x-authz-list` are the same variable."""
    names = ["x_authz_client_address", "x_authz-client-address", "x-authz_list", "x_authz_anything"]
    answer = ask(fronts, headers={"x-forwarded-for": "192.0.2.7", **dict.fromkeys(names, "6.6.6.6")})

    assert set(names) <= set(answer.removed)


def test_headers_with_our_prefix_are_removed_from_the_raw_form_too_but_for_those_that_are_set(fronts: Fronts) -> None:
    raw = [("x-forwarded-for", b"192.0.2.7"), ("x-authz-secret", b"1"), ("x-authz-list", b"deny")]
    answer = ask(fronts, raw=raw)

    assert "x-authz-secret" in answer.removed
    assert "x-authz-list" not in answer.removed
    assert answer.headers["x-authz-list"] == "allow"


@pytest.mark.parametrize("name", ["x-authz-a\r\nx-evil", "x-authz-a b", "x-authz-ä", "x-authz-\x00", "x-authz-a:b"])
def test_a_name_that_is_no_header_name_is_never_written_into_an_answer(fronts: Fronts, name: str) -> None:
    answer = ask(fronts, raw=[("x-forwarded-for", b"192.0.2.7"), (name, b"1")])

    assert answer.kind == "ok"
    assert len(answer.removed) == 8


def test_our_headers_in_a_request_that_is_denied_change_nothing(fronts: Fronts) -> None:
    plain = ask(fronts, "203.0.113.9")

    assert ask(fronts, headers={"x-forwarded-for": "203.0.113.9", "x-authz-list": "allow"}) == plain


def test_no_byte_of_a_request_is_repeated_but_the_canonical_address(fronts: Fronts) -> None:
    answer = fronts.check(
        check_request(
            "10.0.0.1",
            {"x-forwarded-for": "2001:DB8:0:0::77", "x-evil": "marker"},
            host="marker.example.com",
            path="/marker",
            context={"application": "marker", "marker": "marker"},
            metadata={"marker": {"marker": "marker"}},
        )
    )

    assert b"marker" not in answer
    assert read_answer(answer).headers["x-authz-client-address"] == "2001:db8::77"


# Which headers are read, in both forms.


def xff(*lines: str) -> list[tuple[str, bytes]]:
    return [("x-forwarded-for", line.encode("latin-1")) for line in lines]


def test_the_raw_form_is_read_like_the_usual_one(fronts: Fronts) -> None:
    for chain in ("192.0.2.7", "198.51.100.1, 203.0.113.9", "unknown", "", "192.0.2.7, 10.1.1.1"):
        assert ask(fronts, raw=xff(chain)) == ask(fronts, chain)


def test_the_raw_form_may_have_its_text_in_value(fronts: Fronts) -> None:
    lines = core.HeaderMap(headers=[core.HeaderValue(key="X-Forwarded-For", value="203.0.113.9")])
    http = auth.AttributeContextHttpRequest(header_map=lines)
    source = auth.AttributeContextPeer(address=peer_address("10.0.0.1"))
    context = auth.AttributeContext(source=source, request=auth.AttributeContextRequest(http=http))
    answer = read_answer(fronts.check(bytes(auth.CheckRequest(attributes=context))))

    assert answer.metadata["client"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["203.0.113.9", "192.0.2.7"], "192.0.2.7"),
        (["203.0.113.9", "192.0.2.7, 10.0.0.2", "10.0.0.3"], "192.0.2.7"),
        (["192.0.2.7", ""], "192.0.2.7"),
        (["192.0.2.7", "unknown"], None),
        (["unknown", "192.0.2.7"], "192.0.2.7"),
    ],
)
def test_repeated_lines_are_one_chain_in_their_order(fronts: Fronts, lines: list[str], client: str | None) -> None:
    answer = ask(fronts, raw=xff(*lines))

    assert answer.metadata["client"] == client
    assert answer.metadata["reason"] == ("client_unresolved" if client is None else "allowlisted")


def test_a_repeated_single_valued_header_is_believed_by_nobody(publisher: Publisher) -> None:
    fronts = Fronts(publisher, "client_address: {trusted_proxies: [10.0.0.1], header: X-Real-IP}\n")

    assert ask(fronts, raw=[("x-real-ip", b"192.0.2.7")]).metadata["client"] == "192.0.2.7"
    twice = ask(fronts, raw=[("x-real-ip", b"192.0.2.7"), ("X-Real-IP", b"192.0.2.7")])
    assert (twice.kind, twice.metadata["reason"]) == ("denied", "client_unresolved")


def test_gray_and_attack_by_a_header_in_both_forms(publisher: Publisher) -> None:
    fronts = Fronts(publisher, TRUSTING + "attack_signal: {header: X-WAF-Attack}\n", POLICY)
    soft = {"application": "soft"}
    for value, signal in {"1": True, "sqli": True, "0": False, "": False, " False ": False, "00": True}.items():
        lines = {"x-forwarded-for": "198.51.100.200", "x-waf-attack": value}
        usual = ask(fronts, headers=lines, context=soft)
        raw = ask(fronts, raw=[(name, text.encode()) for name, text in lines.items()], context=soft)

        assert usual == raw
        assert usual.metadata["reason"] == ("graylisted_attack" if signal else "graylisted"), value


def test_one_of_several_lines_of_the_signal_is_enough(publisher: Publisher) -> None:
    fronts = Fronts(publisher, TRUSTING + "attack_signal: {header: x-waf-attack}\n", POLICY)
    lines = [*xff("198.51.100.200"), ("x-waf-attack", b"1"), ("x-waf-attack", b"0")]

    assert ask(fronts, raw=lines, context={"application": "soft"}).metadata["reason"] == "graylisted_attack"


@pytest.mark.parametrize(
    ("fields", "signal"),
    [({"attack": True}, True), ({"attack": False}, False), ({"attack": 1.0}, True), ({"attack": 0}, False),
     ({"attack": "sqli"}, True), ({"attack": ""}, False), ({"attack": "false"}, False), ({"attack": None}, False),
     ({"other": True}, False), ({}, False)],
)  # fmt: skip
def test_an_attack_by_envoys_dynamic_metadata(
    module_publisher: Publisher, fields: Mapping[str, Any], signal: bool
) -> None:
    fronts = Fronts(module_publisher, TRUSTING + "attack_signal: {metadata: {namespace: waf, key: attack}}\n", POLICY)
    answer = ask(fronts, "198.51.100.99", metadata={"waf": fields, "x": {"attack": True}})

    assert answer.metadata["reason"] == ("attack" if signal else "default_allow")
    assert answer.kind == ("denied" if signal else "ok")


def test_without_a_configured_signal_none_is_read(fronts: Fronts) -> None:
    headers = {"x-forwarded-for": "198.51.100.99", "x-waf-attack": "1"}

    assert ask(fronts, headers=headers, metadata={"waf": {"attack": True}}).kind == "ok"


# Holes that were found and closed.


def test_thousands_of_empty_raw_headers_are_denied_unread(fronts: Fronts) -> None:
    """Two bytes on the wire each, and a message in Python each: half a million took 0.2 s."""
    few = ask(fronts, raw=[("x-forwarded-for", b"192.0.2.7"), *[("x", b"")] * 900])
    many = ask(fronts, raw=[("x-forwarded-for", b"192.0.2.7"), *[("x", b"")] * 1100])
    assert (few.kind, many.kind, many.metadata["reason"]) == ("ok", "denied", "malformed_request")


@pytest.mark.parametrize("raw", [False, True])
def test_dozens_of_forged_headers_are_denied(fronts: Fronts, raw: bool) -> None:
    """Each made the check dearer, and ninety removed headers are more than Envoy takes of an answer."""
    for count, kind in ((32, "ok"), (33, "denied")):
        names = {f"x-authz-{number}": "1" for number in range(count)}
        headers = {"x-forwarded-for": "192.0.2.7", **names}
        if raw:
            answer = ask(fronts, raw=[(name, value.encode()) for name, value in headers.items()])
        else:
            answer = ask(fronts, headers=headers)
        assert answer.kind == kind
    assert answer.metadata["reason"] == "malformed_request"


def test_a_request_over_a_limit_that_the_front_noticed_is_denied_and_counted(publisher: Publisher) -> None:
    fronts = Fronts(publisher, policy=POLICY)
    large, headers = read_answer(fronts.check.message_too_large()), read_answer(fronts.check.headers_too_large())
    assert (large.kind, large.status, large.metadata["reason"]) == ("denied", 403, "request_too_large")
    assert (headers.kind, headers.status, headers.metadata["reason"]) == ("denied", 403, "malformed_request")
    assert sum(fronts.counts().values()) == 2
