"""`authz replay` over access logs: what each format says of a request, and what many requests come to."""

from __future__ import annotations

import functools
import io
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.commands import Commands, Ran
from support.processes import Sidecar, free_port, wait_for
from support.proxies.client import ask
from support.proxies.envoy import Envoy, adapt_envoy
from support.proxies.nginx import Nginx
from support.proxies.upstream import Upstream

from authz.addresses import parse_address
from authz.cli.proxy_config import render
from authz.engine.decision import make_outcome
from authz.engine.model import Application
from authz.engine.verdict import Verdict
from authz.errors import BadLine, InputError
from authz.replay import run, summary
from authz.replay.formats import LoggedRequest, parser, recognise
from authz.replay.summary import Summary
from authz.serve.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterable

    from support.publisher import Publisher

POLICY = """\
version: 1
applications:
  shop: {hosts: [shop.example.com]}
  admin: {default: deny, hosts: [admin.example.com]}
entries:
  - {id: office, list: allow, networks: [192.0.2.0/24, "2001:db8:1::/48"]}
  - {id: bad, list: deny, networks: [203.0.113.0/24, "2001:db8:bad::/48"]}
  - {id: sale, list: deny, networks: [198.51.100.0/24], starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}
"""
STRICTER = POLICY.replace("192.0.2.0/24,", "192.0.2.0/25,") + "  - {id: new, list: deny, networks: [192.0.2.128/25]}\n"
CONFIG = """\
snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}
application: {unknown: default}
client_address: {trusted_proxies: [127.0.0.0/8, "::1", 10.0.0.0/8], trust_unix: true}
"""
AT = 1796083200.0  # 2026-12-01T00:00:00Z


class Replay:
    """A folder with two snapshots, where logs are replayed."""

    def __init__(self, publisher: Publisher, authz: Commands) -> None:
        self.folder = publisher.folder
        self.authz = authz
        publisher.publish(STRICTER, to="new.snapshot")
        publisher.publish(POLICY)
        (self.folder / "authz.yaml").write_text(CONFIG)

    def __call__(self, log: str | Iterable[str], *options: str) -> Ran:
        """Replay a log, given as text or as lines."""
        text = log if isinstance(log, str) else "".join(f"{line}\n" for line in log)
        (self.folder / "access.log").write_text(text)
        return self.authz("replay", "access.log", "--config", "authz.yaml", *options)

    def decided(self, log: str | Iterable[str], *options: str) -> list[tuple[str | None, str, str]]:
        """Return client, application and reason of each request."""
        ran = self(log, *options)
        assert (ran.status, ran.err) == (0, "")
        return [(one["client"], one["application"], one["reason"]) for one in ran.lines()]


@pytest.fixture
def replay(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Replay:
    return Replay(publisher, Commands(publisher.folder, monkeypatch))


def asked(kind: str, line: str) -> LoggedRequest:
    assert recognise(line.encode()) == kind
    return parser(kind)(line.encode())


# nginx, combined.


def combined(address: str, more: str = "", *, user: str = "-", time: str = "01/Dec/2026:01:00:00 +0100") -> str:
    return f'{address} - {user} [{time}] "GET /cart?item=1 HTTP/1.1" 200 612 "-" "curl/8.14.1"{more}'


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
        ("[]", "is no JSON object"),
    ],
    ids=ascii,
)  # fmt: skip
def test_a_malformed_line_of_json_is_told(line: str, why: str) -> None:
    with pytest.raises(BadLine) as caught:
        parser("nginx-json")(line.encode())
    assert str(caught.value) == why


PRINTED: dict[str, Any] = {
    "time": "2026-12-01T00:00:00.456Z", "method": "GET", "host": "shop.example.com:8080", "path": "/", "status": 403,
    "details": "ext_authz_denied", "flags": "UAEX", "peer": "10.0.0.1", "decision": "deny", "reason": "denylisted",
    "list": "deny", "entry": "bad", "client": "203.0.113.9", "application": "shop", "serial": 2, "enforced": True,
    "warnings": [], "authz_us": 512,
}  # fmt: skip


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


def envoy(forwarded: str, *, agent: str = "curl/8.14.1", host: str = "shop.example.com", path: str = "/") -> str:
    return (
        f'[2026-12-01T00:00:00.310Z] "GET {path} HTTP/1.1" 200 - 0 226 100 99 "{forwarded}" "{agent}" '
        f'"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "{host}" "10.0.2.1:80"'
    )


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


# Recognition, and what an operator may say about a log.


JSONL = '{"peer": "203.0.113.9"}'
LINES = {
    "jsonl": JSONL,
    "nginx": combined("203.0.113.9"),
    "nginx-json": '{"remote_addr": "203.0.113.9", "status": "200"}',
    "envoy": envoy("203.0.113.9", host="-"),
    "envoy-json": json.dumps(PRINTED | {"peer": "203.0.113.9", "host": "-", "application": None}),
}


@pytest.mark.parametrize("name", LINES)
def test_a_format_is_recognised_and_may_be_named(replay: Replay, name: str) -> None:
    expected = [("203.0.113.9", "*", "denylisted")] * 2
    assert recognise(LINES[name].encode()) == name
    assert replay.decided(["", LINES[name], "  ", LINES[name]]) == expected
    assert replay.decided([LINES[name]] * 2, "--format", name) == expected


@pytest.mark.parametrize("name", LINES)
def test_a_named_format_is_not_guessed(replay: Replay, name: str) -> None:
    other = {"jsonl": "envoy", "nginx-json": "nginx", "envoy-json": "envoy"}.get(name, "jsonl")
    ran = replay([LINES[name]], "--format", other)
    assert (ran.status, ran.out) == (2, "")


def test_what_is_no_log_is_told(replay: Replay) -> None:
    ran = replay("GET / HTTP/1.1\n")
    assert ran.status == 2
    assert ran.err.splitlines()[0] == (
        "authz: error: access.log:1: found GET / HTTP/1.1: "
        "is of no format known here: jsonl, nginx, nginx-json, envoy, envoy-json"
    )


def test_application_is_for_requests_that_name_none(replay: Replay) -> None:
    log = ['{"peer": "198.51.100.1", "application": "shop"}', '{"peer": "198.51.100.1"}']
    at = ("--at", "2026-01-01T00:00:00Z")
    assert replay.decided(log, "--application", "admin", *at) == [
        ("198.51.100.1", "shop", "default_allow"),
        ("198.51.100.1", "admin", "default_deny"),
    ]
    assert replay.decided([envoy("198.51.100.1")], "--application", "admin", *at) == [
        ("198.51.100.1", "admin", "default_deny")
    ]
    assert replay.decided([envoy("198.51.100.1")], *at) == [("198.51.100.1", "shop", "default_allow")]


def test_each_request_is_decided_at_its_own_time_or_all_at_one(replay: Replay) -> None:
    log = [combined("198.51.100.1", time=f"{day}/Dec/2026:00:00:00 +0000") for day in ("01", "23", "24")]
    reasons = [reason for _, _, reason in replay.decided(log)]
    assert reasons == ["denylisted", "denylisted", "default_allow"]
    reasons = [reason for _, _, reason in replay.decided(log, "--at", "2026-12-24T00:00:00Z")]
    assert reasons == ["default_allow"] * 3


# Another snapshot.


LOG = [combined(address) for address in (
    "192.0.2.1", "192.0.2.200", "192.0.2.200", "192.0.2.201", "203.0.113.9", "198.18.0.1", "203.0.113.9", "203.0.113.8"
)]  # fmt: skip
AGAINST = ("--against", "new.snapshot")


def test_another_snapshot_says_what_it_would_have_decided(replay: Replay) -> None:
    found = [(one["client"], one["reason"], one["against"]["reason"], one["against"]["changed"])
             for one in replay(LOG, *AGAINST).lines()]  # fmt: skip
    assert found == [
        ("192.0.2.1", "allowlisted", "allowlisted", False),
        ("192.0.2.200", "allowlisted", "denylisted", True),
        ("192.0.2.200", "allowlisted", "denylisted", True),
        ("192.0.2.201", "allowlisted", "denylisted", True),
        ("203.0.113.9", "denylisted", "denylisted", False),
        ("198.18.0.1", "default_allow", "default_allow", False),
        ("203.0.113.9", "denylisted", "denylisted", False),
        ("203.0.113.8", "denylisted", "denylisted", False),
    ]


def test_only_what_changes_is_printed(replay: Replay) -> None:
    ran = replay(LOG, *AGAINST, "--changed")
    assert [one["client"] for one in ran.lines()] == ["192.0.2.200", "192.0.2.200", "192.0.2.201"]
    back = ("--snapshot", "new.snapshot", "--against", "lists.snapshot", "--changed")
    assert [(one["decision"], one["against"]["decision"]) for one in replay(LOG, *back).lines()] == [
        ("deny", "allow")
    ] * 3


def test_changed_needs_another_snapshot(replay: Replay) -> None:
    ran = replay(LOG, "--changed")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "authz: error: --changed: found without --against, expected another snapshot to compare with"


def test_a_summary_counts_decisions_and_changes(replay: Replay) -> None:
    counts = replay(LOG, *AGAINST, "--summary", "--json", "--application", "shop", "--top", "1").json()
    assert counts == {
        "requests": 8,
        "skipped": 0,
        "decisions": [
            {"application": "shop", "decision": "allow", "requests": 5},
            {"application": "shop", "decision": "deny", "requests": 3},
        ],
        "reasons": {"allowlisted": 4, "denylisted": 3, "default_allow": 1},
        "lists": {"allow": 4, "deny": 3, "none": 1},
        "entries": {"office": 4},
        "warnings": {},
        "denied_clients": {"203.0.113.9": 2},
        "denied_networks": {"203.0.113.0/24": 3},
        "changes": [{"application": "shop", "change": "newly_denied", "requests": 3}],
        "changed_clients": {"192.0.2.200 newly_denied": 2},
    }
    back = replay(LOG, "--snapshot", "new.snapshot", "--against", "lists.snapshot", "--summary", "--json").json()
    assert back["changes"] == [{"application": "*", "change": "newly_allowed", "requests": 3}]


def test_a_summary_is_shown_to_a_person(replay: Replay) -> None:
    (replay.folder / "access.log").write_text("\n".join(LOG))
    ran = replay.authz.real("replay", "access.log", "--config", "authz.yaml", *AGAINST, "--summary")
    assert (ran.status, ran.err) == (0, "")
    shown = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert shown[0] == "8 requests"
    for line in ("decisions by application", "*: allow 5", "*: deny 3", "reasons", "allowlisted 4", "bad 3",
                 "denied clients", "203.0.113.9 2", "denied networks", "203.0.113.0/24 3", "changes",
                 "*: newly_denied 3", "changed clients", "192.0.2.200 newly_denied 2"):  # fmt: skip
        assert line in shown


# Blocks and processes.


@given(
    st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=40),
    st.booleans(),
    st.integers(32, 200),
)
def test_blocks_are_whole_lines_that_add_up_to_the_file(lines: list[bytes], end: bool, size: int) -> None:
    content = b"\n".join(lines) + (b"\n" if end else b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "BLOCK", size)
        found = list(run.blocks(io.BytesIO(content), "x"))
    assert b"".join(block for _, block in found) == content
    assert all(block.endswith(b"\n") for _, block in found[:-1])
    assert [number for number, _ in found] == [
        1 + b"".join(block for _, block in found[:place]).count(b"\n") for place in range(len(found))
    ]


@pytest.mark.parametrize("size", [48, 49, 50, 51, 97, 98, 99, 1000])
def test_decisions_do_not_depend_on_where_a_block_ends(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    log = [f'{{"peer": "203.0.{112 + number % 2}.{number}", "application": "shop"}}' for number in range(40)]
    expected = replay(log)
    counts = replay(log, "--summary", "--json").json()
    assert len(expected.lines()) == 40
    monkeypatch.setattr(run, "BLOCK", size)
    assert replay(log) == expected
    assert replay("\r\n".join(log)) == expected
    assert replay(log, "--summary", "--json").json() == counts


MANY = "import authz.cli.replay as r, authz.replay.run as n, authz.cli.main as m; r.SMALL = 0; n.BLOCK = 3000; m.run()"


def in_processes(replay: Replay, log: Iterable[str], *options: str) -> Ran:
    """Replay in two processes, as is done with a large file."""
    (replay.folder / "access.log").write_text("".join(f"{line}\n" for line in log))
    command = [sys.executable, "-c", MANY, "replay", "access.log", "--config", "authz.yaml", "--workers", "2", *options]
    done = subprocess.run(command, cwd=replay.folder, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return Ran(done.returncode, done.stdout.decode().rstrip("\n"), done.stderr.decode().rstrip("\n"))


def a_log(count: int) -> list[str]:
    return [combined(f"{('203.0.113', '192.0.2', '198.18.0')[n % 3]}.{n % 250}") for n in range(count)]


def test_several_processes_decide_the_same_in_the_same_order(replay: Replay) -> None:
    alone = replay(a_log(400), *AGAINST)
    assert len(alone.lines()) == 400
    assert in_processes(replay, a_log(400), *AGAINST) == alone
    counts = replay(a_log(400), *AGAINST, "--summary", "--json").json()
    assert in_processes(replay, a_log(400), *AGAINST, "--summary", "--json").json() == counts


@pytest.mark.parametrize("processes", [1, 2])
def test_a_bad_line_is_named_and_what_stands_before_it_is_printed(replay: Replay, processes: int) -> None:
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[321] = "nonsense"
    ran = replay(log) if processes == 1 else in_processes(replay, log)
    assert ran.status == 2
    assert ran.out.splitlines() == expected[:321]
    assert ran.err.startswith("authz: error: access.log:322: found nonsense: is ")


@pytest.mark.parametrize("processes", [1, 2])
def test_bad_lines_are_passed_over_and_counted_where_that_is_asked_for(replay: Replay, processes: int) -> None:
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[321] = "nonsense"
    log[7] = "cut sho"
    run = functools.partial(replay, log) if processes == 1 else functools.partial(in_processes, replay, log)
    ran = run("--skip")
    assert ran.status == 0
    assert ran.out.splitlines() == [line for number, line in enumerate(expected) if number not in {7, 321}]
    assert "authz: warning: passed over 2 lines that cannot be read; the first: access.log:8: is " in ran.err


@pytest.mark.parametrize("processes", [1, 2])
def test_a_line_that_is_too_long_is_named_and_what_stands_before_it_is_printed(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    monkeypatch.setattr(run, "BLOCK", 3000)
    log = a_log(400)
    expected = replay(log).out.splitlines()
    log[200] += "x" * 9000
    ran = replay(log) if processes == 1 else in_processes(replay, log)
    assert (ran.status, ran.err) == (
        2, "authz: error: access.log:201: found more than 3000 bytes, expected a shorter line"
    )  # fmt: skip
    assert ran.out.splitlines() == expected[:200]


def test_a_snapshot_that_is_refused_ends_a_replay_in_several_processes(replay: Replay) -> None:
    snapshot = replay.folder / "lists.snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    ran = in_processes(replay, a_log(9))
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith(f"authz: error: {snapshot}: truncated: ")


def test_standard_input_is_read_as_a_file_is(replay: Replay) -> None:
    log = "".join(f"{line}\n" for line in a_log(20))
    expected = replay(log)
    ran = replay.authz("replay", "-", "--config", "authz.yaml", stdin=log.encode())
    assert ran == expected
    bad = replay.authz("replay", "-", "--config", "authz.yaml", stdin=b"nonsense\n")
    assert bad.err.startswith("authz: error: -:1: found nonsense: ")


# The memory of a summary.


def test_a_summary_forgets_the_rare_ones_and_keeps_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_MAX_KEPT", 100)
    denied = make_outcome(Application("shop"), Verdict("deny", "denylisted"), 1)
    allowed = make_outcome(Application("shop"), Verdict("allow", "allowlisted"), 1)
    often = parse_address("203.0.113.9")
    total = Summary()
    for block in range(20):
        part = Summary()
        for number in range(90):
            for client in (parse_address(f"10.{block}.0.{number}"), often):
                part.count(denied, client, [])
                part.count_change(denied, allowed, client)
        total.add(part)
        for counter in (total.clients, total.networks, total.changed_clients):
            assert len(counter) <= 100
    assert total.requests == total.decisions["shop", "deny"] == 20 * 180
    assert total.clients.most_common(1) == [("203.0.113.9", 20 * 90)]
    assert total.changed_clients.most_common(1) == [("203.0.113.9 newly_allowed", 20 * 90)]


def test_one_summary_forgets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_MAX_KEPT", 100)
    one = Summary()
    denied = make_outcome(Application("shop"), Verdict("deny", "denylisted"), 1)
    for number in range(1000):
        one.count(denied, parse_address(f"10.0.{number // 250}.{number % 250}"), [])
        assert len(one.clients) <= 100
    assert one.requests == 1000


def test_a_job_is_made_once_where_one_process_decides(replay: Replay) -> None:
    made = []

    def make_job() -> run.Job:
        from authz.cli.replay import _make_job

        made.append(1)
        root = replay.folder
        (root / "abs.yaml").write_text(CONFIG.replace("lists.", f"{root}/lists.").replace("keys/", f"{root}/keys/"))
        return _make_job(root / "abs.yaml", None, None, "auto", None, None, lines=True, only_changed=False, skip=False)

    done = list(run.replay(io.BytesIO(f"{JSONL}\n".encode()), "x", make_job, 1))
    assert (len(made), len(done), done[0].error) == (1, 1, None)
    with pytest.raises(InputError):
        list(run.replay(io.BytesIO(b""), "x", functools.partial(_fail), 2))


def _fail() -> run.Job:
    raise InputError("no job")


# Logs that real proxies have written.


CLIENTS = {  # by path: the peer that the proxy is told, and what it sends
    "/shop/1": ("203.0.113.9", None),
    "/shop/2": ("192.0.2.1", "203.0.113.9"),
    "/shop/3": ("10.0.0.1", "192.0.2.1,\t203.0.113.9"),
    "/shop/4": ("10.0.0.1", "203.0.113.9, 192.0.2.1, 10.0.0.2"),
    "/shop/5": ("10.0.0.1", "unknown"),
    "/shop/6": ("2001:db8:bad::1", None),
    "/api/7": ("203.0.113.9", None),
    "/8": ("198.18.0.1", None),
}


def jsons_of(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith("{")]


def texts_of(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if re.match(r'\[[^]]*\] "', line)]  # Envoy's own log begins like its access log


def ask_all(port: int) -> None:
    for path, (peer, forwarded) in CLIENTS.items():
        ask(port, path, [("X-Forwarded-For", forwarded)] if forwarded else [], peer=peer)


def by_path(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {entry["path"]: entry for entry in map(json.loads, lines)}


def test_what_envoy_logged_is_decided_again_as_it_was(replay: Replay) -> None:
    config = CONFIG + (
        f'grpc: {{listen: "127.0.0.1:{free_port()}"}}\nhttp: {{listen: "off"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
        'decision_log: {path: "off"}\ndrain: 0s\n'
    )
    (replay.folder / "authz.yaml").write_text(config)
    printed = render("envoy", load_config(replay.folder / "authz.yaml", {}))
    with Upstream() as upstream:
        envoy_config = adapt_envoy(printed, upstream)
        for listener in envoy_config["static_resources"]["listeners"]:
            manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
            (logger,) = manager["access_log"]
            text = {"@type": logger["typed_config"]["@type"]}  # without a format: Envoy's default
            manager["access_log"].append({**logger, "typed_config": text})
        with Sidecar(replay.folder, config), Envoy(replay.folder, envoy_config) as proxy:
            wait_for(lambda: ask(proxy.ports["proxied"], "/", peer="192.0.2.1").status == 200, "the first answer")
            ask_all(proxy.ports["proxied"])
            wait_for(lambda: by_path(jsons_of(proxy.lines)).keys() >= CLIENTS.keys())
            wait_for(lambda: sum("/8 HTTP" in line for line in texts_of(proxy.lines)))
            lines = list(proxy.lines)
    logged = by_path(jsons_of(lines))
    assert len({entry["decision"] for entry in logged.values()}) == 2
    again = replay([json.dumps(entry) for entry in logged.values()]).lines()
    for then, now in zip(logged.values(), again, strict=True):
        names = ["decision", "list", "entry", "client", "application"]
        # Whom the sidecar could not make out the log does not say: it is denied again, for another reason.
        names += ["reason"] if then["client"] else []
        assert {name: then[name] for name in names} == {name: now[name] for name in names}
    texts = texts_of(lines)
    assert len(texts) == len(jsons_of(lines))
    clients = {
        line.split('"')[1].split()[1]: one["client"] for line, one in zip(texts, replay(texts).lines(), strict=True)
    }
    assert clients == {path: entry["client"] for path, entry in logged.items()}


def test_what_nginx_logged_is_decided_again_as_it_was(replay: Replay) -> None:
    config = CONFIG + (
        f'grpc: {{listen: "off"}}\nhttp: {{listen: "127.0.0.1:{free_port()}"}}\nadmin: {{listen: "127.0.0.1:0"}}\n'
        'decision_log: {path: "off"}\ndrain: 0s\n'
    )
    (replay.folder / "authz.yaml").write_text(config)
    printed = render("nginx", load_config(replay.folder / "authz.yaml", {}))
    line = "    access_log /var/log/nginx/access.log authz;\n"
    assert printed.count(line) == 1
    forwarded = '\'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" '
    forwarded += '"$http_user_agent" "$http_x_forwarded_for"\''
    printed = printed.replace(
        line, f"{line}    log_format forwarded {forwarded};\n    access_log combined.log forwarded;\n"
    )
    with Upstream() as upstream, Sidecar(replay.folder, config), Nginx(replay.folder, printed, upstream) as proxy:
        ask_all(proxy.ports.proxied)
        logs = [replay.folder / "access.log", replay.folder / "combined.log"]
        wait_for(lambda: all(len(log.read_text().splitlines()) >= len(CLIENTS) for log in logs))
        json_log, text_log = (log.read_text().splitlines() for log in logs)
    for then, now in zip(map(json.loads, json_log), replay(json_log).lines(), strict=True):
        assert (then["decision"], then["list"], then["client"]) == (now["decision"], now["list"], now["client"] or "")
    logged = [json.loads(one) for one in json_log]
    again = replay(text_log).lines()
    assert [(one["decision"], one["reason"], one["client"] or "") for one in again] == [
        (one["decision"], one["reason"], one["client"]) for one in logged
    ]
