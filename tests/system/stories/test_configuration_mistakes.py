"""Mistakes in the sidecar's configuration, in logs to be replayed, and with the commands that read either.

As in test_mistakes, every message is quoted.
"""

# ruff: noqa: E501  # a message is quoted as it is printed

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Commands

SNAPSHOT = "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\n"
LISTEN = "expected ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off"

# What authz.yaml says: what `check-config` answers, a line each, without the count at the end.
CONFIGURATIONS: dict[str, list[str]] = {
    "": ["authz.yaml:1: snapshot: missing, expected snapshot or layers: nothing says what to decide by"],
    "snapshot: lists.snapshot\n": ["authz.yaml:1: snapshot: found 'lists.snapshot', expected keys with values"],
    "[]\n": [
        "authz.yaml:1: document: found a list, expected keys with values",
        "authz.yaml:1: snapshot: missing, expected snapshot or layers: nothing says what to decide by",
    ],
    "version: 1\napplications: {shop: {}}\n": [
        "authz.yaml:1: document: found the keys version, applications, expected some of snapshot, layers, state, grpc, http, admin, client_address, application, attack_signal, decision_log, events, traces, workers, overlap, drain (is it the right file?)"
    ],
    "snapshot: {path: lists.snapshot}\n": ["authz.yaml:1: snapshot.trusted_keys: missing"],
    "snapshot: {path: lists.snapshot, trusted_keys: keys/a.pub}\n": [
        "authz.yaml:1: snapshot.trusted_keys: found 'keys/a.pub', expected a list"
    ],
    "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], threshold: 2}\n": [
        "authz.yaml:1: snapshot.threshold: found 2, expected at most 1, as many as trusted_keys"
    ],
    "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub], poll: 1 sec}\n": [
        "authz.yaml:1: snapshot.poll: found '1 sec', expected a duration such as 250ms, 10s, 5m, 24h or 7d"
    ],
    f"{SNAPSHOT}{SNAPSHOT}": ["authz.yaml:2: snapshot: found twice, expected once"],
    f"{SNAPSHOT}grcp: {{}}\n": ["authz.yaml:2: grcp: unknown key (did you mean 'grpc'?)"],
    f"{SNAPSHOT}http: off\n": ["authz.yaml:2: http: found 'off', expected keys with values"],
    f"{SNAPSHOT}grpc: {{listen: 9191}}\n": [f"authz.yaml:2: grpc.listen: found '9191', {LISTEN}"],
    f"{SNAPSHOT}grpc: {{listen: 'localhost:9191'}}\n": [
        f"authz.yaml:2: grpc.listen: found 'localhost:9191', {LISTEN} (an address, not a name: 127.0.0.1:9191)"
    ],
    f"{SNAPSHOT}grpc: {{listen: ':9191'}}\n": [
        f"authz.yaml:2: grpc.listen: found ':9191', {LISTEN} (0.0.0.0:9191 is every IPv4 address of this machine, 127.0.0.1:9191 this machine alone)"
    ],
    f"{SNAPSHOT}grpc: {{listen: '::1:9191'}}\n": [
        f"authz.yaml:2: grpc.listen: found '::1:9191', {LISTEN} (an IPv6 address stands in brackets: [::1]:9191)"
    ],
    f"{SNAPSHOT}grpc: {{listen: 'tcp://127.0.0.1:9191'}}\n": [
        f"authz.yaml:2: grpc.listen: found 'tcp://127.0.0.1:9191', {LISTEN} (without a scheme)"
    ],
    f"{SNAPSHOT}grpc: {{listen: '127.0.0.1:9191'}}\nhttp: {{listen: '127.0.0.1:9191'}}\n": [
        "authz.yaml:3: http.listen: found 127.0.0.1:9191, where grpc listens already"
    ],
    f"{SNAPSHOT}client_address: {{trusted_proxies: [010.0.0.1]}}\n": [
        "authz.yaml:2: client_address.trusted_proxies[0]: found '010.0.0.1', expected no leading zeros, such as 10.0.0.1: some programs read them as octal"
    ],
    f"{SNAPSHOT}application: {{unknown: allow}}\n": [
        "authz.yaml:2: application.unknown: found 'allow', expected one of auto, default, deny"
    ],
    f"{SNAPSHOT}decision_log: {{allowed: 50%}}\n": [
        "authz.yaml:2: decision_log.allowed: found '50%', expected a share from 0 to 1 (did you mean 0.5?)"
    ],
}

NGINX = '192.0.2.7 - - [01/Dec/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl"'
JSONL = '{"peer": "127.0.0.1"}'
A_LINE = '{"peer": "127.0.0.1", "headers": [["X-Forwarded-For", "192.0.2.1"]], "application": "shop"}'

# The line, the options of `replay`: what it answers after `access.log:1: found LINE: `, and the hint.
LOGS: list[tuple[str, str, str, str]] = [
    ("hello", "", "is in none of the known formats: jsonl, nginx, nginx-json, envoy, envoy-json", f"expected {A_LINE}"),
    (
        NGINX,
        "--format envoy",
        "is not a line of Envoy's default format",
        "it is a line of nginx: --format nginx; all lines of FILE need the same format",
    ),
    (
        NGINX,
        "--format jsonl",
        "is not a JSON object",
        "it is a line of nginx: --format nginx; all lines of FILE need the same format",
    ),
    (
        JSONL,
        "--format nginx",
        "is not a line of nginx's combined format",
        "it is a line of jsonl: --format jsonl; all lines of FILE need the same format",
    ),
    (
        NGINX.replace("01/Dec/2026:00:00:00 +0000", "today"),
        "",
        "found the time 'today', expected one such as 01/Dec/2026:00:00:00 +0000",
        'expected nginx\'s combined format, also with "$http_x_forwarded_for" at the end',
    ),
    (
        '{"msg": "started"}',
        "",
        "names no peer: expected one of remote_addr, peer, x_forwarded_for",
        'expected JSON by the names of `authz print-config envoy`, such as {"peer": "192.0.2.1"}',
    ),
    (
        '{"peer": "127.0.0.1", "time": "today"}',
        "",
        "time: found 'today', expected a time such as 2026-12-01T00:00:00Z",
        f"expected {A_LINE}",
    ),
]

# A command: what it answers.
COMMANDS: dict[str, list[str]] = {
    "check-config keys": ["authz: error: keys: cannot be read: Is a directory"],
    "print-config nginx --config authz.yaml --part static": [
        "authz: error: --part: found 'static', expected one of main for nginx"
    ],
    "print-config nginx --config authz.yaml --snapshot authz.yaml": [
        "authz: error: authz.yaml: bad_magic: found 'snapshot', expected 'AZSNAP01': this is not a snapshot"
    ],
    "print-config nginx --config authz.yaml --snapshot lists.snapshot --policy policy.yaml": [
        "authz: error: --policy: found beside --snapshot, expected one of the two"
    ],
    "serve --config authz.yaml --log-level loud": [
        "authz: error: --log-level: found 'loud', expected debug, info, warning or error"
    ],
    "replay missing.log --config authz.yaml": ["authz: error: missing.log: cannot be read: No such file or directory"],
    "replay access.log --config authz.yaml --changed": [
        "authz: error: --changed: found without --against, expected another snapshot to compare with"
    ],
}


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_mistake_in_a_configuration(authz: Commands, tmp_path: Path, text: str) -> None:
    (tmp_path / "authz.yaml").write_text(text)
    ran = authz("check-config", "authz.yaml")
    *told, end = ran.err.splitlines()
    count = len(CONFIGURATIONS[text])
    assert (ran.status, ran.out, told) == (2, "", CONFIGURATIONS[text])
    assert end == f"authz: error: {count} mistake{'s' * (count > 1)} in authz.yaml"


def test_a_snapshot_instead_of_a_configuration(authz: Commands) -> None:
    ran = authz("check-config", "lists.snapshot")
    assert ran.status == 2
    assert ran.err.startswith("authz: error: lists.snapshot: not a text file: byte ")
    assert ran.err.endswith(" is not UTF-8")


@pytest.mark.parametrize(("line", "options", "problem", "hint"), LOGS)
def test_a_mistake_in_a_log(authz: Commands, tmp_path: Path, line: str, options: str, problem: str, hint: str) -> None:
    (tmp_path / "access.log").write_text(f"{line}\n")
    ran = authz("replay", "access.log", "--config", "authz.yaml", *options.split())
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == [f"authz: error: access.log:1: found {line}: {problem}", f"hint: {hint}"]


def test_a_compressed_log(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "access.log.gz").write_bytes(b"\x1f\x8b\x08\x00\n")
    ran = authz("replay", "access.log.gz", "--config", "authz.yaml")
    assert ran.status == 2
    assert ran.err.endswith("hint: FILE is compressed: decompress it, and give - for standard input")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_with_a_command_of_the_sidecar(authz: Commands, command: str) -> None:
    ran = authz(*command.split())
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == COMMANDS[command]


# 192.0.2.77 is documentation's (RFC 5737): no machine has it. What stands in `listen`: what the sidecar answers.
PLACES = {
    "192.0.2.77:9191": [
        "authz: error: grpc.listen: 192.0.2.77:9191: Cannot assign requested address",
        "hint: the address is of no interface of this machine; 0.0.0.0 or [::] is all of them",
    ],
    "unix:///nowhere/x.sock": ["authz: error: /nowhere/x.sock: no such folder: /nowhere"],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_where_nobody_can_listen(authz: Commands, tmp_path: Path, place: str) -> None:
    others = 'http: {listen: off}\nadmin: {listen: "127.0.0.1:0"}\n'
    (tmp_path / "authz.yaml").write_text(f"{SNAPSHOT}grpc: {{listen: '{place}'}}\n{others}")
    ran = authz.real("serve", "--config", "authz.yaml")
    assert ran.status == 2
    assert ran.err.splitlines()[-len(PLACES[place]) :] == PLACES[place]


def test_check_config_says_where_nobody_can_listen(authz: Commands, tmp_path: Path) -> None:
    text = "grpc: {listen: '192.0.2.77:9191'}\nhttp: {listen: off}\nadmin: {listen: 'unix:lists.snapshot'}\n"
    (tmp_path / "authz.yaml").write_text(SNAPSHOT + text)
    ran = authz("check-config", "authz.yaml")
    lines = ran.out.splitlines()
    assert ran.status == 1
    assert lines[2] == "  http off"
    assert (
        "warning: grpc.listen: 192.0.2.77:9191: Cannot assign requested address: the address is of no interface of this "
        "machine; 0.0.0.0 or [::] is all of them"
    ) in lines
    problem = "found a file that is not a socket, expected a socket or nothing"
    assert f"wrong: admin.listen: {tmp_path}/lists.snapshot: {problem}" in lines
