"""The check of the gRPC front, bytes to bytes; the other side is envoy-data-plane, which shares no code with it."""

from __future__ import annotations

import ipaddress
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.envoy_api import EnvoyAnswer, auth, check_request, core, peer_address, read_answer
from support.fronts import BASE, NOW, TRUSTING, Fronts
from support.publisher import Publisher

from authz.addresses import parse_address
from authz.engine.decision import INTERNAL_ERROR, Outcome, make_outcome
from authz.engine.model import Application, DenyAnswer, Entry
from authz.engine.verdict import Match, Verdict
from authz.serve.grpc import responses as grpc_answers
from authz.wire.envoy.v3.check_pb2 import CheckResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE = 131072  # grpc.max_message
POLICY = """\
version: 1
applications:
  shop:
    hosts: [shop.example.com, xn--bcher-kva.example]
    deny: {status: 429, body: '{"error": "nicht für dich"}', content_type: application/json; charset=utf-8}
  admin: {default: deny}
  trial: {dry_run: true}
  soft: {mode: safe_blocking}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"]}
  - {id: watched, list: deny, networks: [198.51.100.0/25], action: warn}
  - {id: odd, list: gray, networks: [198.51.100.128/25]}
"""


@pytest.fixture(scope="module")
def module_publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("grpc-check"))


@pytest.fixture(scope="module")
def fronts(module_publisher: Publisher) -> Fronts:
    return Fronts(module_publisher, policy=POLICY, serial=41)


def ask(fronts: Fronts, client: str | None = None, **request: Any) -> EnvoyAnswer:
    """Ask for a client behind the trusted proxy 10.0.0.1."""
    if client is not None:
        request.setdefault("headers", {"x-forwarded-for": client})
    return read_answer(fronts.check(check_request(request.pop("peer", "10.0.0.1"), **request)))


def metadata(**differing: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"decision": "allow", "list": "none", "reason": "default_allow", "entry": None,
                             "client": "192.0.2.7", "application": "shop", "serial": 41.0, "enforced": True,
                             "warnings": [], "layer": "policy" if differing.get("entry") else None}  # fmt: skip
    return usual | differing


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
        data = grpc_answers.answer(outcome, client)
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

        assert grpc_answers.answer(outcome, client) == fresh(outcome, client.text)


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
            assert grpc_answers.answer(outcome, parse_address(text)) == fresh(outcome, text)


CONTROLS = "".join(chr(code) for code in range(1, 32))


@pytest.mark.parametrize("body", ["\x01", "\x01\x02\x03", "\x01\x01\x02\x02\x03\x03\x03\x03", CONTROLS, CONTROLS * 50])
def test_no_deny_body_can_be_taken_for_the_placeholder(body: str) -> None:
    outcome = make_outcome(Application("shop", deny=DenyAnswer(403, body)), Verdict("deny", "denylisted", "deny"), 7)
    for text in ("::", "::1", "1::1", "10::1", "192.0.2.7", "2001:db8::7"):
        assert grpc_answers.answer(outcome, parse_address(text)) == fresh(outcome, text)


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


# Peers.


def test_a_peer_on_a_unix_socket_is_denied_with_its_own_reason(fronts: Fronts) -> None:
    answer = ask(fronts, "192.0.2.7", peer=None)

    assert (answer.kind, answer.metadata["reason"]) == ("denied", "peer_untrusted_transport")
    assert answer.metadata["client"] is None


def test_a_trusted_unix_peer_speaks_for_the_client(publisher: Publisher) -> None:
    fronts = Fronts(publisher, "client_address: {trust_unix: true}\n")

    assert ask(fronts, "203.0.113.9, 192.0.2.7", peer=None).metadata["client"] == "192.0.2.7"
    assert ask(fronts, peer=None).metadata["reason"] == "forwarded_missing"


@pytest.mark.parametrize("peer", ["::ffff:192.0.2.7", "::FFFF:c000:207", "192.0.2.7"])
def test_a_mapped_peer_is_the_ipv4_address(fronts: Fronts, peer: str) -> None:
    answer = ask(fronts, peer=peer)

    assert answer.headers["x-authz-client-address"] == "192.0.2.7"
    assert answer.metadata["entry"] == "office"


def test_a_mapped_peer_is_trusted_by_its_ipv4_network(fronts: Fronts) -> None:
    assert ask(fronts, "203.0.113.9", peer="::ffff:10.0.0.1").metadata["client"] == "203.0.113.9"


@pytest.mark.parametrize("peer", ["", "localhost", "192.0.2.7:80", "fe80::1%eth0", "192.0.2.07", "192.0.2.7 "])
def test_a_peer_that_is_no_address_is_denied_as_unresolved(fronts: Fronts, peer: str) -> None:
    answer = ask(fronts, "192.0.2.7", peer=peer)

    assert (answer.kind, answer.metadata["reason"], answer.metadata["client"]) == ("denied", "client_unresolved", None)


def test_an_untrusted_peer_is_the_client_whatever_its_headers_say(fronts: Fronts) -> None:
    answer = ask(fronts, "192.0.2.7", peer="203.0.113.9")

    assert (answer.kind, answer.metadata["client"]) == ("denied", "203.0.113.9")


# The application.


@pytest.mark.parametrize(
    ("context", "host", "application"),
    [
        ({"application": "shop"}, "", "shop"),
        ({"application": "shop", "tier": "gold"}, "admin.example.com", "shop"),
        ({"application": "nobody"}, "shop.example.com", "*"),
        ({"application": "SHOP"}, "", "*"),
        ({"application": "*"}, "", "*"),
        ({}, "shop.example.com", "shop"),
        ({}, "SHOP.example.com:8443", "shop"),
        ({}, "xn--bcher-kva.example", "shop"),
        ({}, "shop.example.com.evil.example", "*"),
        ({}, "", "*"),
        ({"application": ""}, "shop.example.com", "shop"),
        ({"app": "shop"}, "", "*"),
    ],
)
def test_the_application_is_that_of_the_context_else_that_of_the_host(
    fronts: Fronts, context: dict[str, str], host: str, application: str
) -> None:
    answer = ask(fronts, "192.0.2.7", context=context, host=host)

    assert answer.headers["x-authz-application"] == answer.metadata["application"] == application


def test_no_header_of_a_client_names_the_application(fronts: Fronts) -> None:
    headers = {"x-forwarded-for": "192.0.2.7", "x-authz-application": "shop", "application": "shop"}

    assert ask(fronts, headers=headers).metadata["application"] == "*"


def test_the_key_of_the_context_is_the_configured_one(publisher: Publisher) -> None:
    fronts = Fronts(publisher, TRUSTING + "application: {context_key: app}\n")

    assert ask(fronts, "192.0.2.7", context={"app": "shop"}).metadata["application"] == "shop"
    assert ask(fronts, "192.0.2.7", context={"application": "shop"}).metadata["application"] == "*"


@pytest.mark.parametrize("context", [{"application": "nobody"}, {}])
def test_an_unknown_application_is_denied_where_it_is_told_so(publisher: Publisher, context: dict[str, str]) -> None:
    fronts = Fronts(publisher, TRUSTING + "application: {unknown: deny}\n")
    answer = ask(fronts, "192.0.2.7", context=context)

    assert (answer.kind, answer.status) == ("denied", 403)
    assert answer.headers == {"x-authz-reason": "unknown_application"}
    assert answer.metadata["application"] == "*"


def test_an_entry_for_one_application_counts_for_no_other(publisher: Publisher) -> None:
    fronts = Fronts(publisher)

    assert ask(fronts, "198.51.100.20", context={"application": "shop"}).kind == "denied"
    assert ask(fronts, "198.51.100.20", context={"application": "other"}).kind == "ok"


# Broken requests, and broken authz.


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

    monkeypatch.setattr(fronts.decider, "check", fail)
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

    def fail_once(outcome: Outcome, *rest: Any) -> bytes:
        if outcome.reason != INTERNAL_ERROR:
            raise ZeroDivisionError
        return bytes(original(outcome, *rest))

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


# Whatever comes: a whole answer, and allow only where it was decided.


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


@settings(max_examples=500, deadline=None)
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


@settings(max_examples=1000, deadline=None)
@given(payload=broken_requests())
def test_a_request_with_broken_bytes_gets_a_whole_answer_that_is_no_allow(strict: Fronts, payload: bytes) -> None:
    assert whole(strict.check(payload)).kind == "denied"


@settings(max_examples=500, deadline=None)
@given(payload=broken_requests())
def test_a_request_with_broken_bytes_gets_a_whole_answer_where_most_are_allowed(fronts: Fronts, payload: bytes) -> None:
    whole(fronts.check(payload))


def test_the_one_client_that_the_strict_policy_allows_is_allowed(strict: Fronts) -> None:
    """Else the tests above could not fail."""
    assert whole(strict.check(check_request("192.0.2.7", context={"application": "shop"}))).kind == "ok"


TEXTS = st.text(st.characters(max_codepoint=255), max_size=60)


@settings(max_examples=300, deadline=None)
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
