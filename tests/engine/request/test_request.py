"""The one reader of requests: the same request, from whatever form, has the same attack signal and client."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.addresses import parse_address
from authz.engine.request.attack_signal import metadata_signals
from authz.engine.request.client_address import Rules
from authz.engine.request.request import (
    Request,
    RequestReader,
    WrittenReader,
    WrittenRequest,
    parse_metadata,
    parse_peer,
)
from authz.engine.settings import AttackSignal, Settings
from authz.errors import InputError

SETTINGS = Settings(Rules(header="x-forwarded-for"), attack_signal=AttackSignal("x-waf", ("waf", "attack")))
NOTHING = Settings()


def read(settings: Settings = SETTINGS, **written: object) -> Request:
    return WrittenReader(settings).read(WrittenRequest(**{"peer": "10.0.0.1", **written}))  # type: ignore[arg-type]


def test_the_names_of_headers_are_read_in_any_case() -> None:
    headers = [("X-Forwarded-For", "192.0.2.1"), ("HOST", "a.example"), ("x-FORWARDED-for", "192.0.2.2")]
    assert read(headers=headers) == Request("10.0.0.1", ["192.0.2.1", "192.0.2.2"], None, "a.example", attack=False)


def test_the_last_host_counts() -> None:
    assert read(headers=[("host", "a.example"), (":authority", "b.example")]).host == "b.example"
    assert read(headers=[(":authority", "b.example"), ("host", "a.example")]).host == "a.example"


@pytest.mark.parametrize(
    ("headers", "metadata", "attack"),
    [
        ([], {}, False),
        ([("X-Waf", "1")], {}, True),
        ([("X-Waf", "0")], {}, False),
        ([("X-Waf", "0"), ("x-waf", "sqli")], {}, True),
        ([], {"waf": {"attack": True}}, True),
        ([], {"waf": {"attack": False}}, False),
        ([], {"waf": {"other": True}}, False),
        ([], {"other": {"attack": True}}, False),
        ([("X-Waf", "0")], {"waf": {"attack": 1}}, True),
        ([("X-Waf", "1")], {"waf": {"attack": False}}, True),
    ],
)
def test_an_attack_is_said_by_the_header_or_by_the_metadata(
    headers: list[tuple[str, str]], metadata: dict[str, dict[str, object]], attack: bool
) -> None:
    assert read(headers=headers, metadata=metadata).attack is attack


def test_without_a_signal_in_the_settings_nothing_is_an_attack() -> None:
    assert not read(NOTHING, headers=[("x-waf", "1")], metadata={"waf": {"attack": True}}).attack
    assert not read(NOTHING, headers=[("", "1")], metadata={"": {"": True}}).attack


def test_a_source_without_metadata_is_asked_for_headers_only() -> None:
    def lines(source: dict[bytes, list[str]], name: bytes) -> list[str]:
        return source.get(name, [])

    reader = RequestReader(SETTINGS, lines, header_name=str.encode)
    assert reader.headers == [b"x-forwarded-for", b"x-waf"]
    assert reader.read({b"x-waf": ["0"]}, "10.0.0.1", "shop", "") == Request("10.0.0.1", [], "shop", "")
    assert reader.read({b"x-waf": ["1"]}, "10.0.0.1", "shop", "") == Request("10.0.0.1", [], "shop", "", attack=True)


@pytest.mark.parametrize(
    ("value", "attack"),
    [
        (True, True), (False, False), (1.5, True), (-1, True), (0, False), (0.0, False), (math.nan, True),
        ("sqli", True), ("", False), ("0", False), ("false", False), ("False", False),
        (None, False), ([], False), ([1], False), ({}, False), ({"a": 1}, False),
    ],
)  # fmt: skip
def test_metadata_signals_an_attack_by_a_plain_value(value: object, attack: bool) -> None:
    assert metadata_signals(value) is attack


# As an operator asks.


def from_client(settings: Settings = SETTINGS, client: str = "192.0.2.7", *args: object) -> Request:
    return WrittenReader(settings).read_from_client(parse_address(client), *args)  # type: ignore[arg-type]


def test_without_a_peer_the_client_connects_itself() -> None:
    assert from_client() == Request("192.0.2.7", [], None, "", attack=False)
    assert from_client(SETTINGS, "192.0.2.7", None, [("x-forwarded-for", "192.0.2.8")], "shop").forwarded == [
        "192.0.2.8"
    ]


@pytest.mark.parametrize(
    ("header", "client", "expected"),
    [
        ("x-forwarded-for", "192.0.2.7", "192.0.2.7"),
        ("x-forwarded-for", "2001:db8::7", "2001:db8::7"),
        ("x-real-ip", "2001:db8::7", "2001:db8::7"),
        ("forwarded", "192.0.2.7", "for=192.0.2.7"),
        ("forwarded", "2001:db8::7", 'for="[2001:db8::7]"'),
    ],
)
def test_a_peer_says_in_the_configured_header_who_the_client_is(header: str, client: str, expected: str) -> None:
    request = from_client(Settings(Rules(header=header)), client, "10.0.0.1")
    assert (request.peer, request.forwarded) == ("10.0.0.1", [expected])


def test_headers_that_are_given_are_left_alone() -> None:
    request = from_client(SETTINGS, "192.0.2.7", "unix:", [("X-Waf", "1")])
    assert request == Request(None, [], None, "", attack=True)


def test_metadata_is_believed_from_an_operator_too() -> None:
    assert from_client(SETTINGS, "192.0.2.7", None, (), None, parse_metadata(["waf:attack=true"])).attack


@pytest.mark.parametrize(
    ("text", "peer"), [("unix:", None), ("unix:/run/a.sock", None), ("10.0.0.1", "10.0.0.1"), ("", ""), ("x", "x")]
)
def test_a_peer_is_an_address_or_a_unix_socket(text: str, peer: str | None) -> None:
    assert parse_peer(text) == peer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b:key=true", {"a.b": {"key": True}}),
        ("a:key=0", {"a": {"key": 0}}),
        ("a:key=sqli", {"a": {"key": "sqli"}}),
        ('a:key="1"', {"a": {"key": "1"}}),
        ("a:key=", {"a": {"key": ""}}),
        ("a:b:key=x=y", {"a:b": {"key": "x=y"}}),
    ],
)
def test_metadata_is_written_as_namespace_key_and_value(text: str, expected: object) -> None:
    assert parse_metadata([text]) == expected


def test_keys_of_one_namespace_add_up() -> None:
    assert parse_metadata(["a:x=1", "a:y=2", "a:x=3"]) == {"a": {"x": 3, "y": 2}}


@given(st.text(max_size=20))
def test_any_other_metadata_is_refused_by_name(text: str) -> None:
    try:
        parse_metadata([text])
    except InputError as error:
        assert "expected NAMESPACE:KEY=VALUE" in error.message  # noqa: PT017  # either is fine
    else:
        assert ":" in text
        assert "=" in text
