"""Mistakes of the second day: control.yaml, triggers.yaml, bans, and what is nearly right in a policy or authz.yaml.

As in test_mistakes, every message is quoted.
"""

# ruff: noqa: E501  # a message is quoted as it is printed

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

BUILD = "snapshot build policy.yaml -o new.snapshot --key keys/a.key"
ENTRY = "version: 1\nentries:\n- {list: deny, %s}\n"
NETWORK = "an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"
DURATION = "a duration such as 250ms, 10s, 5m, 24h or 7d"

# What policy.yaml says: what the build answers.
POLICIES: dict[str, str] = {
    "version: 1\nentries:\n- {list: Deny, networks: [192.0.2.1]}\n": "3: entries[0].list: found 'Deny', expected one of allow, deny, gray (did you mean 'deny'?)",
    "version: 1\nentries:\n- list: deny\n  networks: [192.0.2.1]\n- list: deny\n  networks: [192.0.2.1]\n": "5: entries[1]: found the same entry twice, expected each entry once (the first is in line 3)",
    "version: 1\nentries:\n- {id: a, list: deny, networks: [192.0.2.1]}\n- {id: a, list: allow, networks: [192.0.2.2]}\n": "4: entries[1].id: found 'a' twice, expected each id once (the first is in line 3)",
    ENTRY
    % "networks: [192.0.2.*]": f"3: entries[0].networks[0]: found '192.0.2.*', expected {NETWORK} (did you mean '192.0.2.0/24'?)",
    ENTRY
    % "networks: [192.0.2.0/255.255.255.0]": "3: entries[0].networks[0]: found '192.0.2.0/255.255.255.0', expected a prefix length from 0 to 32 (did you mean '192.0.2.0/24'?)",
    ENTRY
    % "networks: ['192.0.2.1:8080']": f"3: entries[0].networks[0]: found '192.0.2.1:8080', expected {NETWORK} (did you mean '192.0.2.1'?)",
    ENTRY
    % "networks: [shop.example.com]": f"3: entries[0].networks[0]: found 'shop.example.com', expected {NETWORK} (a host name stands under `hosts`)",
    ENTRY
    % "networks: ['fe80::1%eth0']": "3: entries[0].networks[0]: found 'fe80::1%eth0', expected no zone, such as fe80::1",
    ENTRY
    % "networks: [192.0.2.1], expires: 2037-01-01": "3: entries[0].expires: found '2037-01-01', expected a time such as 2026-12-01T00:00:00Z (did you mean '2037-01-01T00:00:00Z'?)",
    ENTRY
    % "networks: [192.0.2.1], expires: 2037-01-01T08:00:00": "3: entries[0].expires: found '2037-01-01T08:00:00', expected a time such as 2026-12-01T00:00:00Z (did you mean '2037-01-01T08:00:00Z'?)",
    ENTRY
    % "countries: [Germany]": "3: entries[0].countries[0]: found 'Germany', expected two capital letters such as KP (ISO 3166-1)",
    "version: 1\napplications: {shop: {hosts: ['*.example.com']}}\n": "2: applications.shop.hosts[0]: found '*.example.com', expected a host name such as shop.example.com (write each host by its full name; * is not supported)",
    "version: 1\napplications: {my shop: {}}\n": "2: applications.my shop: found the name 'my shop', expected letters, digits, '.', '_', '-'",
    "version: 1\nlimits: {widest_ipv4: /8}\n": "2: limits.widest_ipv4: found '/8', expected a whole number (did you mean 8?)",
}

# What authz.yaml says behind its snapshot: what `check-config` answers.
CONFIGURATIONS: dict[str, str] = {
    "drain: 5\n": f"2: drain: found '5', expected {DURATION} (a number needs a unit: 5s, 5m, 5h or 5d)",
    "decision_log: {allowed: 5%}\n": "2: decision_log.allowed: found '5%', expected a share from 0 to 1 (did you mean 0.05?)",
    "http: {listen: '127.0.0.1:91920'}\n": "2: http.listen: found '127.0.0.1:91920', expected ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off (a port is at most 65535)",
    "grpc: {engine: Native}\n": "2: grpc.engine: found 'Native', expected one of auto, native, grpcio (did you mean 'native'?)",
    "client_address: {trusted_hops: 2, trusted_proxies: [10.0.0.0/8]}\n": "2: client_address.trusted_hops: found beside trusted_proxies, expected one of the two",
    "client_address: {header: 'X Forwarded For'}\n": "2: client_address.header: found 'X Forwarded For', expected the name of a header",
    "grpc: {tls: {certificate: a.pem}}\n": "2: grpc.tls.key: missing",
    "http: {tls: true}\n": "2: http.tls: found 'true', expected keys with values",
    "http: {tls: {certificate: a.pem, key: b.pem, clients: [a]}}\n": "2: http.tls.clients: found without client_ca, expected the authority that signed them",
    "workers: all\n": "2: workers: found 'all', expected auto, or a number from 1 to 64",
    "workers: 2\ngrpc: {engine: grpcio}\n": "2: workers: found more than one with grpc.engine grpcio, expected the engine native or auto",
    "events: {url: 'https://c.example/v1/events', allowed: 50}\n": "2: events.allowed: found '50', expected a share from 0 to 1",
    "http: {unix_mode: rw}\n": "2: http.unix_mode: found 'rw', expected rights in octal such as 660",
}

# What control.yaml says behind the one of `control init`, which has eight lines: what is answered.
CONTROL: dict[str, str] = {
    "stor: x\n": "9: stor: unknown key (did you mean 'store'?)",
    "four_eyes: 256\n": "9: four_eyes: found '256', expected keys with values",
    "events: 7\n": f"9: events: found '7', expected {DURATION} (a number needs a unit: 7s, 7m, 7h or 7d)",
    "public_url: control.example\n": "9: public_url: found 'control.example', expected http://HOST/PATH or https://HOST/PATH",
    "notify: {channels: [{name: ops}]}\n": "9: notify.channels[0]: found no receiver, expected one of the keys webhook, apprise_file, syslog, splunk, elastic",
    "notify: {channels: [{name: ops, webhook: 'http://x'}]}\n": "9: notify.channels[0].secret_file: missing, and webhook needs one",
    "notify: {channels: [{name: ops, syslog: 'udp://x:514', topics: [listing]}]}\n": "9: notify.channels[0].topics[0]: found 'listing', expected one of listed, entry, told, warned, breaker, refused, stale, feed (did you mean 'listed'?)",
    "notify: {channels: [{name: ops, syslog: 'udp://x:514', quiet: {from: 22, to: '07:00'}}]}\n": "9: notify.channels[0].quiet.from: found '22', expected a time such as 22:00",
    "crowdsec: [{name: o, url: 'http://127.0.0.1:8080'}]\n": "9: crowdsec[0].key_file: missing",
    "notify: {channels: [{name: ops, syslog: 'udp://x:514', quiet: 22-6}]}\n": "9: notify.channels[0].quiet: found '22-6', expected keys with values",
    "sources: [{kind: file}]\n": "9: sources: found a list, expected keys with values",
    "history: forever\n": f"9: history: found 'forever', expected {DURATION}",
    "sources: {syslog: {listen: 514}}\n": "9: sources.syslog.listen: found '514', expected ADDRESS:PORT such as 127.0.0.1:9191 or [::1]:9191, unix:///PATH, or off",
    "layers: []\n": "9: layers: found twice, expected once",
}

COUNT = "count: {over: 30, within: 30s}"

# What triggers.yaml says of one trigger: what `triggers check` answers.
TRIGGERS: dict[str, str] = {
    f"kind: bruteforce, {COUNT}": "2: triggers[0].kind: found 'bruteforce', expected one of brute_force, forced_browsing, bola, payloads, rate, api_abuse (did you mean 'brute_force'?)",
    f"kind: brute_force, {COUNT}": "2: triggers[0].where.path: missing, and brute_force counts requests to given paths",
    f"kind: bola, {COUNT}, where: {{path: /api/orders}}": "2: triggers[0].where.path: found no parameter, expected a path such as /api/orders/{id}: bola counts the different values of {id}",
    f"kind: rate, {COUNT}, then: deny": "2: triggers[0].then: found 'deny', expected keys with values",
    "kind: rate, count: {over: 10, within: 60s, by: ip}": "2: triggers[0].count.by: found 'ip', expected one of address, network, asn",
    "kind: rate": "2: triggers[0].count: missing",
    "kind: rate, count: {over: 10, within: 60}": f"2: triggers[0].count.within: found '60', expected {DURATION} (a number needs a unit: 60s, 60m, 60h or 60d)",
    "kind: rate, count: {over: 10, within: 2d}": "2: triggers[0].count.within: found 2d, expected 1s to 24h",
    f"kind: rate, {COUNT}, then: {{list: allow}}": "2: triggers[0].then.list: found 'allow', expected one of deny, gray, notify",
    f"kind: rate, {COUNT}, then: {{period: 2d, max: 1d}}": "2: triggers[0].then.max: found 1d, expected at least the period, 2d",
    f"kind: rate, {COUNT}, where: {{status: 4x}}": "2: triggers[0].where.status: found '4x', expected a status such as 404, or 4xx",
    f"kind: rate, {COUNT}, where: {{path: login}}": "2: triggers[0].where.path: found 'login', expected a path such as /login, /api/orders/{id} or /static/**, without a query",
    f"kind: rate, {COUNT}, where: {{country: uk}}": "2: triggers[0].where.country: found 'uk', expected two capital letters such as KP (ISO 3166-1) (did you mean 'GB'?)",
}

# A command: what it answers.
COMMANDS: dict[str, list[str]] = {
    "snapshot build policy.yaml -o policy.yaml --key keys/a.key": [
        "authz: error: --output: found policy.yaml, which is the policy, expected another file"
    ],
    "snapshot search lists.snapshot 203.0.113.9/8": [
        "authz: error: found '203.0.113.9/8', expected a network without host bits",
        "hint: did you mean '203.0.0.0/8'?",
    ],
    "snapshot map lists.snapshot -o map.gif": [
        "authz: error: --output: found 'map.gif', expected a name that ends in .png or .svg"
    ],
    "snapshot map lists.snapshot -o map.png --application shoop": [
        "authz: error: --application: found 'shoop', expected one of *, shop, admin"
    ],
    "explain 192.0.2.1 --config authz.yaml --header X-Forwarded-For": [
        "authz: error: --header: found 'X-Forwarded-For', expected 'Name: value'"
    ],
    "explain 192.0.2.1": [
        "authz: error: --config: missing, expected the configuration of the sidecar",
        "hint: or set AUTHZ_CONTROL_URL, and a control plane is asked",
    ],
    "doctor --config authz.yaml --proxy 127.0.0.1:8080": [
        "authz: error: --proxy: found '127.0.0.1:8080', expected a URL such as http://127.0.0.1:8080"
    ],
    "import nginx missing.conf": ["authz: error: missing.conf: cannot be read: No such file or directory"],
    "import csv policy.yaml": [
        "authz: error: policy.yaml: found the columns version: 1, expected network and any of list, applications, expires, reason, author"
    ],
    "ban 203.0.113.9 --layer policy.yaml": [
        "policy.yaml:1: document: found the keys version, applications, entries, expected some of version, layer, snapshot, key, policy, serial, may, bans (is it the right file?)",
        "authz: error: 1 mistake in policy.yaml",
    ],
    "ban 203.0.113.9 --wait enforced": [
        "authz: error: --wait: found without a control plane (AUTHZ_CONTROL_URL)",
        "hint: with a file, see when sidecars have loaded it: /snapshot of their admin listeners",
    ],
    "bans": [
        "authz: error: bans.yaml: no bans file here, and no control plane is named",
        "hint: for a control plane, export AUTHZ_CONTROL_URL and AUTHZ_TOKEN, as `authz control init` printed them; for a file without one, `authz bans init bans.yaml --key KEY`",
    ],
    "feeds networks policy.yaml --where country": ["authz: error: --where: found 'country', expected COLUMN=VALUE"],
    "triggers test triggers.yaml access.log --protect 192.0.2.7/24": [
        "authz: error: --protect: found '192.0.2.7/24', expected a network without host bits",
        "hint: did you mean '192.0.2.0/24'?",
    ],
    "entries": [
        "authz: error: AUTHZ_CONTROL_URL: missing, expected the address of a control plane",
        "hint: export AUTHZ_CONTROL_URL=http://127.0.0.1:9194 AUTHZ_TOKEN=...",
    ],
}


def mistakes(authz: Commands, command: str, file: str) -> str:
    """Return the one mistake in a file that a command tells."""
    ran = authz(*command.split())
    assert (ran.status, ran.out) == (2, "")
    line, end = ran.err.splitlines()
    assert end == f"authz: error: 1 mistake in {file}"
    return line.removeprefix(f"{file}:")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_mistake_in_a_policy(authz: Commands, tmp_path: Path, policy: str) -> None:
    (tmp_path / "policy.yaml").write_text(policy)
    assert mistakes(authz, BUILD, "policy.yaml") == POLICIES[policy]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_mistake_in_a_configuration(authz: Commands, tmp_path: Path, text: str) -> None:
    (tmp_path / "authz.yaml").write_text(f"snapshot: {{path: lists.snapshot, trusted_keys: [keys/a.pub]}}\n{text}")
    assert mistakes(authz, "check-config authz.yaml", "authz.yaml") == CONFIGURATIONS[text]


@pytest.mark.parametrize("feed", ["", "# nothing today\n"])
def test_a_feed_that_is_empty_from_the_start_is_a_warning(authz: Commands, tmp_path: Path, feed: str) -> None:
    (tmp_path / "bad.txt").write_text(feed)
    (tmp_path / "policy.yaml").write_text(
        "version: 1\nentries: [{list: deny, sources: [bad]}]\nfeeds: [{source: bad, path: bad.txt}]\n"
    )
    ran = authz(*BUILD.split())
    assert (ran.status, ran.err) == (
        0, "authz: warning: bad.txt: the feed has no entries",
    )  # fmt: skip


@pytest.fixture(scope="module")
def control_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a new control plane."""
    folder = tmp_path_factory.mktemp("new")
    with pytest.MonkeyPatch.context() as patch:
        assert Commands(folder, patch)("control", "init", "control").status == 0
    return folder / "control" / "control.yaml"


@pytest.mark.parametrize("text", CONTROL)
def test_a_mistake_in_control_yaml(authz: Commands, tmp_path: Path, control_yaml: Path, text: str) -> None:
    (tmp_path / "control.yaml").write_text(control_yaml.read_text() + text)
    assert mistakes(authz, "control check --config control.yaml", "control.yaml") == CONTROL[text]


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_mistake_in_a_trigger(authz: Commands, tmp_path: Path, trigger: str) -> None:
    (tmp_path / "triggers.yaml").write_text(f"triggers:\n- {{name: a, {trigger}}}\n")
    assert mistakes(authz, "triggers check triggers.yaml", "triggers.yaml") == TRIGGERS[trigger]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_at_the_command_line(authz: Commands, tmp_path: Path, command: str) -> None:
    (tmp_path / "triggers.yaml").write_text(f"triggers:\n- {{name: a, kind: rate, {COUNT}}}\n")
    ran = authz(*command.split())
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines() == COMMANDS[command]


def test_there_are_forty_of_them() -> None:
    assert len(POLICIES) + len(CONFIGURATIONS) + len(CONTROL) + len(TRIGGERS) + len(COMMANDS) >= 40
