"""What each format of access logs says of a request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.proxies.access_logs import PRINTED, Replay, combined, envoy

from authz.errors import BadLine
from authz.replay.formats import LoggedRequest, parser, recognise

AT = 1796083200.0  # 2026-12-01T00:00:00Z


def asked(kind: str, line: str) -> LoggedRequest:
    assert recognise(line.encode()) == kind
    return parser(kind)(line.encode())


# nginx, combined.


@pytest.mark.parametrize(
    ("line", "peer", "forwarded"),
    [
        (combined("203.0.113.9"), "203.0.113.9", None),
        (combined("2001:db8:bad::1"), "2001:db8:bad::1", None),
        (combined("unix:", ' "192.0.2.1"'), None, "192.0.2.1"),
        (combined("10.0.0.1", ' "192.0.2.1, 10.0.0.2"'), "10.0.0.1", "192.0.2.1, 10.0.0.2"),
        (combined("10.0.0.1", ' "-"'), "10.0.0.1", None),
        (combined("10.0.0.1", ' ""'), "10.0.0.1", None),
        (combined("10.0.0.1", ' "192.0.2.1" "0.003" upstream=10.0.0.9:80'), "10.0.0.1", "192.0.2.1"),
        (combined("10.0.0.1", r' "192.0.2.1,\x09203.0.113.9"'), "10.0.0.1", "192.0.2.1,\t203.0.113.9"),
        (combined("10.0.0.1", r' "for=\x22[2001:db8::1]\x22"'), "10.0.0.1", 'for="[2001:db8::1]"'),
        (combined("10.0.0.1", r' "\x5C, \xC3\xA9"'), "10.0.0.1", "\\, \xc3\xa9"),
        (combined("203.0.113.9", user="ops@example.com"), "203.0.113.9", None),
        (combined("203.0.113.9", user="Ann B. [ops]"), "203.0.113.9", None),
        ('203.0.113.9 - - [01/Dec/2026:01:00:00 +0100] "GET / HTTP/1.1" 200 612', "203.0.113.9", None),
        (r'203.0.113.9 - - [01/Dec/2026:01:00:00 +0100] "\x16\x03\x01\x22" 400 157 "-" "-"', "203.0.113.9", None),
        (r'203.0.113.9 - - [01/Dec/2026:01:00:00 +0100] "" 400 0 "-" "a \x22b\x22 \x5C"', "203.0.113.9", None),
        ('10.0.0.1 - - [01/Dec/2026:01:00:00 +0100] "GET /a HTTP/1.1" 200 - "https://x/?\\"q" "y\\"" "192.0.2.9"',
         "10.0.0.1", "192.0.2.9"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_line_of_nginx_is_read(line: str, peer: str | None, forwarded: str | None) -> None:
    headers = () if forwarded is None else (("x-forwarded-for", forwarded),)
    assert asked("nginx", line) == LoggedRequest(peer, headers, None, AT)
    assert asked("nginx", line + "\r") == LoggedRequest(peer, headers, None, AT)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("203.0.113.9", "is not a line of nginx's combined format"),
        ('203.0.113.9 - - "GET / HTTP/1.1" 200 612', "is not a line of nginx's combined format"),
        ('203.0.113.9 - - [01/Dec/2026:01:00:00 +0100] "GET / HTTP/1.1', "is not a line of nginx's combined format"),
        (combined("203.0.113.9", time="2026-12-01T00:00:00Z"),
         "found the time '2026-12-01T00:00:00Z', expected one such as 01/Dec/2026:00:00:00 +0000"),
        (combined("203.0.113.9", time="31/Feb/2026:00:00:00 +0000"),
         "found the time '31/Feb/2026:00:00:00 +0000', expected one such as 01/Dec/2026:00:00:00 +0000"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_malformed_line_of_nginx_is_told(line: str, why: str) -> None:
    with pytest.raises(BadLine) as caught:
        parser("nginx")(line.encode())
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("nginx", b'192.0.2.7 - - [\x1b[2J] "GET / HTTP/1.1" 200 1'),
        ("jsonl", b'{"peer": "192.0.2.7", "\\u001b[2J": 1}'),
        ("nginx-json", b'{"remote_addr\\u001b": "192.0.2.7"}'),
    ],
)
def test_an_error_does_not_repeat_control_characters_of_a_log(name: str, line: bytes) -> None:
    with pytest.raises(BadLine) as caught:
        parser(name)(line)
    assert caught.value.message.isprintable()


def test_the_client_of_a_line_of_nginx_is_found_as_the_sidecar_finds_it(replay: Replay) -> None:
    assert replay.decided([
        combined("203.0.113.9"),
        combined("203.0.113.9", ' "192.0.2.1"'),  # nobody trusts its header
        combined("10.0.0.1", ' "203.0.113.9, 192.0.2.1"'),
        combined("10.0.0.1", r' "203.0.113.9,\x09192.0.2.1"'),
        combined("10.0.0.1", ' "unknown"'),
        combined("10.0.0.1", ' "-"'),
        combined("2001:db8:bad::1"),
        combined("unix:", ' "2001:db8:1::1"'),
        combined("unix:"),
    ]) == [
        ("203.0.113.9", "*", "denylisted"),
        ("203.0.113.9", "*", "denylisted"),
        ("192.0.2.1", "*", "allowlisted"),
        ("192.0.2.1", "*", "allowlisted"),
        (None, "*", "client_unresolved"),
        (None, "*", "forwarded_missing"),
        ("2001:db8:bad::1", "*", "denylisted"),
        ("2001:db8:1::1", "*", "allowlisted"),
        (None, "*", "forwarded_missing"),
    ]  # fmt: skip


# nginx and Envoy, JSON.


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("nginx-json", {"remote_addr": "203.0.113.9"}, LoggedRequest("203.0.113.9")),
        ("nginx-json", {"remote_addr": "unix:", "http_x_forwarded_for": "192.0.2.1"},
         LoggedRequest(None, (("x-forwarded-for", "192.0.2.1"),))),
        ("nginx-json", {"remote_addr": "192.0.2.1", "realip_remote_addr": "10.0.0.1", "xff": "192.0.2.1"},
         LoggedRequest("10.0.0.1", (("x-forwarded-for", "192.0.2.1"),))),
        ("nginx-json", {"remote_addr": "192.0.2.1", "http_x_forwarded_for": "", "http_host": "shop.example.com",
                        "server_name": "_", "time_iso8601": "2026-12-01T01:00:00+01:00"},
         LoggedRequest("192.0.2.1", (("host", "shop.example.com"),), None, AT)),
        ("nginx-json", {"remote_addr": "192.0.2.1", "msec": 1796083200.125, "authz_application": "shop"},
         LoggedRequest("192.0.2.1", (), "shop", 1796083200.125)),
        ("nginx-json", {"remote_addr": "192.0.2.1", "time_local": "01/Dec/2026:01:00:00 +0100", "application": "-"},
         LoggedRequest("192.0.2.1", (), None, AT)),
        ("envoy-json", {"x_forwarded_for": "192.0.2.1,10.0.0.1", "authority": "shop.example.com"},
         LoggedRequest("10.0.0.1", (("x-forwarded-for", "192.0.2.1"), ("host", "shop.example.com")))),
        ("envoy-json", {"x_forwarded_for": "203.0.113.9", "start_time": "2026-12-01T00:00:00.456Z"},
         LoggedRequest("203.0.113.9", (), None, AT)),
        ("envoy-json", {"downstream_direct_remote_address": "10.0.0.1", "x_forwarded_for": "192.0.2.1, 10.0.0.1"},
         LoggedRequest("10.0.0.1", (("x-forwarded-for", "192.0.2.1, 10.0.0.1"),))),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_line_of_json_is_read(kind: str, fields: dict[str, Any], expected: LoggedRequest) -> None:
    assert asked(kind, json.dumps(fields)) == expected


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"host": "shop.example.com"}', "names no peer: expected one of remote_addr, peer, x_forwarded_for"),
        ('{"remote_addr": ["192.0.2.1"]}', "names no peer: expected one of remote_addr, peer, x_forwarded_for"),
        ('{"remote_addr": "192.0.2.1", "time": "yesterday"}',
         "time: found 'yesterday', expected a time such as 2026-12-01T00:00:00Z"),
        ("[]", "is not a JSON object"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_malformed_line_of_json_is_told(line: str, why: str) -> None:
    with pytest.raises(BadLine) as caught:
        parser("nginx-json")(line.encode())
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("key", "name"),
    [("x_forwaded_for", "x_forwarded_for"), ("htpp_x_forwarded_for", "http_x_forwarded_for"), ("pear", "peer"),
     ("X-Forwarded-For", "x_forwarded_for"), ("authorty", "authority"), ("heders", "headers"), ("metdata", "metadata"),
     ("aplication", "application"), ("tiem", "time"), ("remote_adr", "remote_addr"), ("hosts", "host")],
)  # fmt: skip
def test_a_misspelt_key_of_a_json_log_is_told_and_not_passed_over(replay: Replay, key: str, name: str) -> None:
    line = json.dumps({"remote_addr" if name != "remote_addr" else "peer": "203.0.113.9", key: "192.0.2.1"})
    ran = replay([line])
    assert ran.err.splitlines()[0].endswith(f": found the key '{key}', expected '{name}'")
    assert (ran.status, ran.out) == (2, "")


def test_other_keys_of_a_json_log_are_its_own_affair() -> None:
    fields = {"remote_addr": "203.0.113.9", "remote_port": 1, "remote_user": "a", "request_time": 0.1, "path": "/",
              "status": 200, "times": 3, "time": "2026-12-01T00:00:00Z", "xf": "1", "peers": ["1"]}  # fmt: skip
    assert asked("nginx-json", json.dumps(fields | {"peer": ""})) == LoggedRequest("203.0.113.9", (), None, AT)


def test_a_line_of_ours_with_a_misspelt_key_is_no_line_of_envoy(replay: Replay) -> None:
    line = '{"peer": "10.0.0.1", "headers": [["X-Forwarded-For", "203.0.113.9"]], "aplication": "shop"}'
    ran = replay([line])
    assert recognise(line.encode()) == "jsonl"
    assert ran.status == 2
    assert "Object contains unknown field `aplication`" in ran.err


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, ("203.0.113.9", "shop", "denylisted")),
        ({"peer": "192.0.2.1", "client": "192.0.2.1"}, ("192.0.2.1", "shop", "allowlisted")),
        ({"application": "*"}, ("203.0.113.9", "shop", "denylisted")),  # by its host
        ({"application": "*", "host": "nobody.example.com"}, ("203.0.113.9", "*", "denylisted")),
        ({"client": None}, (None, "shop", "forwarded_missing")),
        # A route that is not checked, or a sidecar that did not answer.
        (dict.fromkeys(("decision", "reason", "list", "entry", "client", "application", "serial", "enforced")),
         (None, "shop", "forwarded_missing")),
    ],
    ids=ascii,
)  # fmt: skip
def test_the_log_of_the_printed_envoy_configuration_is_read(
    replay: Replay, changed: dict[str, Any], expected: tuple[str | None, str, str]
) -> None:
    line = json.dumps(PRINTED | changed)
    assert recognise(line.encode()) == "envoy-json"
    assert replay.decided([line]) == [expected]


# Envoy, default text.


def test_the_example_of_envoys_documentation_is_read() -> None:
    line = (
        '[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" '
        '"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"'
    )
    assert asked("envoy", line) == LoggedRequest("10.0.35.28", (("host", "locations"),), None, 1460751420.0)


@pytest.mark.parametrize(
    ("line", "peer", "headers"),
    [
        (envoy("203.0.113.9"), "203.0.113.9", [("host", "shop.example.com")]),
        (envoy("192.0.2.1,10.0.0.1", host="-"), "10.0.0.1", [("x-forwarded-for", "192.0.2.1")]),
        (envoy("1.1.1.1, 192.0.2.1, 10.0.0.1", host="-"), "10.0.0.1", [("x-forwarded-for", "1.1.1.1, 192.0.2.1")]),
        (envoy("2001:db8::1", host="-"), "2001:db8::1", []),
        (envoy("203.0.113.9", host="-", agent='Mozilla "5.0" (quoted)'), "203.0.113.9", []),
        (envoy("203.0.113.9", host="-", agent=""), "203.0.113.9", []),
        (envoy("203.0.113.9", host="-", path="/a?b=[c]&d=\\"), "203.0.113.9", []),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_line_of_envoy_is_read(line: str, peer: str, headers: list[tuple[str, str]]) -> None:
    assert asked("envoy", line) == LoggedRequest(peer, tuple(headers), None, AT)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (envoy("203.0.113.9")[:-1], "is not a line of Envoy's default format"),
        (envoy("203.0.113.9", agent='x" "192.0.2.1" "x" "x'), "is not a line of Envoy's default format"),
        (envoy('192.0.2.1" "x, 203.0.113.9'), "is not a line of Envoy's default format"),
        (envoy("203.0.113.9", path='/" 200 - "192.0.2.1'), "is not a line of Envoy's default format"),
        ('[1] "GET / HTTP/1.1" 200', "is not a line of Envoy's default format"),
        (envoy("-"), "names no peer: expected x-forwarded-for, to which use_remote_address appends it"),
        (envoy("203.0.113.9").replace("2026-12-01T", "2026-13-01T"),
         "time: found '2026-13-01T00:00:00.310Z', expected a time such as 2026-12-01T00:00:00Z"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_line_of_envoy_that_can_be_read_in_two_ways_or_in_none_is_told(line: str, why: str) -> None:
    with pytest.raises(BadLine) as caught:
        parser("envoy")(line.encode())
    assert str(caught.value) == why
