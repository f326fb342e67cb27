"""The peer and the application of a gRPC check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest
from support.proxies.envoy_api import check_request, read_answer
from support.sidecar.fronts import TRUSTING, Fronts
from support.sidecar.grpc_questions import ask

from authz.wire.envoy.v3.check_as_read_pb2 import AttributesAsRead
from authz.wire.envoy.v3.check_pb2 import AttributeContext

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

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


def test_a_remembered_peer_is_taken_for_no_other(fronts: Fronts) -> None:
    clients = {"192.0.2.7": "192.0.2.7", "203.0.113.9": "203.0.113.9", None: None, "": None, "10.0.0.1": "198.51.100.1"}
    for _ in range(3):
        for peer, client in clients.items():
            assert ask(fronts, "198.51.100.1", peer=peer).metadata["client"] == client


def test_few_peers_are_remembered_and_none_that_comes_with_a_certificate(fronts: Fronts) -> None:
    for number in range(3000):
        fronts.check(check_request(f"198.51.{number >> 8}.{number & 255}"))
    assert 0 < len(fronts.check._peers) <= 1024
    fronts.check._peers.clear()
    request = CheckRequest.parse(check_request("203.0.113.9"))
    assert request.attributes is not None
    assert request.attributes.source is not None
    request.attributes.source.certificate = "c" * 4000
    assert read_answer(fronts.check(bytes(request))).metadata["client"] == "203.0.113.9"
    assert not fronts.check._peers


def test_a_check_reads_the_fields_of_check_proto() -> None:
    read, whole = (
        {
            (field.number, field.name): field.message_type and field.message_type.name
            for field in message.DESCRIPTOR.fields
        }
        for message in (AttributesAsRead, AttributeContext)
    )
    assert whole.pop((1, "source")) == "Peer"
    assert read.pop((1, "source")) is None
    assert read == whole


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
