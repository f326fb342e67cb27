"""`authz replay` over requests as JSON, as an operator types it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from support.ground.refusals import WRONG_TIME, refused, write_requests
from support.suite.commands import Commands, Ran

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher

KNOWN = 'expected {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop"}'
REPLAY = ("replay", "requests.jsonl", "--config", "authz.yaml")


def through(client: str, **more: Any) -> dict[str, Any]:
    return {"peer": "127.0.0.1", "headers": [["X-Forwarded-For", client]], **more}


@pytest.mark.usefixtures("shop")
def test_requests_are_decided_in_order(authz: Commands, tmp_path: Path) -> None:
    write_requests(
        tmp_path,
        through("192.0.2.1", application="shop", time="2026-12-01T00:00:00Z"),
        "",
        through("198.51.100.25", application="shop"),
        through("198.51.100.25", application="admin"),
        through("2001:DB8:BAD::7"),
        {"peer": "203.0.113.10"},
        {"peer": "unix:", "headers": [["X-Forwarded-For", "192.0.2.1"]]},
        {"peer": "unix:///run/envoy.sock"},
        through("unknown"),
        {"peer": "127.0.0.1"},
        {"peer": "nobody"},
        through("192.0.2.1", application="unheard-of"),
    )
    ran = authz.real(*REPLAY)
    assert (ran.status, ran.err) == (0, "")
    decisions = ran.lines()
    assert decisions[0] == {
        "decision": "allow",
        "reason": "allowlisted",
        "list": "allow",
        "entry": "office",
        "layer": "policy",
        "client": "192.0.2.1",
        "application": "shop",
        "serial": 7,
        "status": 200,
        "enforced": True,
        "warnings": [],
        "matches": [{"entry": "office", "list": "allow", "network": "192.0.2.0/24"}],
    }
    assert [
        (decision["client"], decision["application"], decision["decision"], decision["reason"])
        for decision in decisions[1:]
    ] == [
        ("198.51.100.25", "shop", "deny", "denylisted"),
        ("198.51.100.25", "admin", "deny", "default_deny"),
        ("2001:db8:bad::7", "*", "deny", "denylisted"),
        ("203.0.113.10", "*", "allow", "default_allow"),
        (None, "*", "deny", "peer_untrusted_transport"),
        (None, "*", "deny", "peer_untrusted_transport"),
        (None, "*", "deny", "client_unresolved"),
        (None, "*", "deny", "forwarded_missing"),
        (None, "*", "deny", "client_unresolved"),
        ("192.0.2.1", "*", "allow", "allowlisted"),
    ]
    assert decisions[1]["matches"] == [{"entry": "shop-only", "list": "deny", "network": "198.51.100.24/30"}]
    assert decisions[5]["matches"] == []


def test_time_may_go_backwards(shop: Publisher, authz: Commands, tmp_path: Path) -> None:
    shop.publish(
        "version: 1\nentries: [{id: sale, list: deny, networks: [203.0.113.0/24], "
        "starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}]\n",
        serial=8,
    )
    times = ["2026-12-10T00:00:00Z", "2026-11-30T23:59:59Z", "2026-12-24T00:00:00Z", "2026-12-23T23:59:59Z",
             "2026-12-24T00:00:01Z", "2026-12-01T00:00:00Z", "1999-12-31T00:00:00Z"]  # fmt: skip
    write_requests(tmp_path, *({"peer": "203.0.113.7", "time": at} for at in times))
    decisions = [line["decision"] for line in authz(*REPLAY).lines()]
    assert decisions == ["deny", "allow", "allow", "deny", "allow", "deny", "allow"]


@pytest.mark.usefixtures("shop")
def test_requests_may_come_from_standard_input(authz: Commands) -> None:
    ran = authz.real("replay", "-", "--config", "authz.yaml", stdin=b'{"peer": "203.0.113.7"}')
    assert [line["decision"] for line in ran.lines()] == ["deny"]


@pytest.mark.usefixtures("shop")
def test_no_requests_are_no_decisions(authz: Commands, tmp_path: Path) -> None:
    write_requests(tmp_path)
    assert authz(*REPLAY) == Ran(0, "", "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "found {: "),
        ("[]", "found []: "),
        ("peer", "found peer: "),
        ('{"peer": 7}', 'found {"peer": 7}: '),
        ("{}", "found {}: "),
        ('{"peer": "127.0.0.1", "peers": []}', 'found {"peer": "127.0.0.1", "peers": []}: '),
        ('{"peer": "127.0.0.1", "headers": [["a"]]}', 'found {"peer": "127.0.0.1", "headers": [["a"]]}: '),
        ('{"peer": "127.0.0.1", "headers": {"a": "b"}}', 'found {"peer": "127.0.0.1", "headers": {"a": "b"}}: '),
        ('{"peer": "127.0.0.1"} {"peer": "127.0.0.1"}', 'found {"peer": "127.0.0.1"} {"peer": "127.0.0.1"}: '),
        (
            '{"peer": "127.0.0.1", "time": "noon"}',
            f'found {{"peer": "127.0.0.1", "time": "noon"}}: time: found \'noon\', {WRONG_TIME}',
        ),
        ("\x1b[2J", "found \\x1b[2J: "),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_malformed_line_is_named_with_its_file_and_number(
    authz: Commands, tmp_path: Path, line: str, problem: str
) -> None:
    write_requests(tmp_path, {"peer": "203.0.113.7"}, "", line, {"peer": "203.0.113.7"})
    ran = authz(*REPLAY, "--format", "jsonl")
    assert ran.status == 2
    message, hint = ran.err.splitlines()
    assert message.startswith(f"authz: error: requests.jsonl:3: {problem}")
    assert hint == f"hint: {KNOWN}"
    assert [line["decision"] for line in ran.lines()] == ["deny"]


@pytest.mark.usefixtures("shop")
def test_a_malformed_line_ends_a_real_replay_with_status_2(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_bytes(b'{"peer": "203.0.113.7"}\n{"peer": "\xff"}\n')
    ran = authz.real(*REPLAY)
    assert ran.status == 2
    assert ran.err.startswith("authz: error: requests.jsonl:2: found ")
    assert len(ran.lines()) == 1


@pytest.mark.usefixtures("shop")
def test_a_log_that_cannot_be_read_is_a_mistake(authz: Commands) -> None:
    refused(authz(*REPLAY), "authz: error: requests.jsonl: cannot be read: No such file or directory")
    refused(authz("replay", "keys", "--config", "authz.yaml"), "authz: error: keys: cannot be read: Is a directory")


@pytest.mark.usefixtures("shop")
def test_a_reader_that_has_seen_enough_ends_a_replay_quietly(tmp_path: Path) -> None:
    write_requests(tmp_path, *({"peer": "203.0.113.7"} for _ in range(20_000)))
    command = [sys.executable, "-m", "authz", *REPLAY]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
