"""Mistakes that people make in their first hour, and what each is answered. No message should need a second reading.

Every message is quoted, most of them in full.
"""

# ruff: noqa: E501, ISC004  # a message is quoted as it is printed

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.suite.commands import Commands

BUILD = "snapshot build policy.yaml -o new.snapshot --key keys/a.key"

ENTRY = "version: 1\nentries:\n- {list: deny, %s}\n"

# What policy.yaml says: what the build answers, a line each, without the count at the end.
POLICIES: dict[str, list[str]] = {
    # YAML itself
    "version: 1\nentries:\n- {list: deny, networks: [::1]}\n": [
        "policy.yaml:3: document: not YAML: did not find expected node content at column 27 "
        "(an IPv6 address that begins or ends with ':' needs quotes, as in [\"::1\"])"
    ],
    "version: 1\nentries:\n\t- {list: deny}\n": [
        "policy.yaml:3: document: not YAML: found a tab at column 1, expected spaces"
    ],
    "version: 1\nentries:\n- {list: deny, networks: [192.0.2.1}\n": [
        "policy.yaml:3: document: not YAML: did not find expected ',' or ']' at column 36"
    ],
    "version: 1\nentries:\n- list: deny\n  reason: abuse: shop\n": [
        "policy.yaml:4: document: not YAML: mapping values are not allowed in this context at column 16 "
        "(a text with ': ' in it needs quotes)"
    ],
    "version: 1\nentries:\n- list: deny\n   networks: [192.0.2.1]\n": [
        "policy.yaml:4: document: not YAML: mapping values are not allowed in this context at column 12 "
        "(is it indented as the keys beside it?)"
    ],
    "snapshot: {path: lists.snapshot, trusted_keys: [keys/a.pub]}\ngrpc: {listen: off}\n": [
        "policy.yaml:1: document: found the keys snapshot, grpc, expected some of version, applications, entries, feeds, "
        "geo, limits, protected (is it the right file?)"
    ],
    "": ["policy.yaml:1: version: missing"],
    "version: 2\n": ["policy.yaml:1: version: found '2', expected 1"],
    # Keys
    "version: 1\nentires: []\n": ["policy.yaml:2: entires: unknown key (did you mean 'entries'?)"],
    "version: 1\nentries: {list: deny}\n": ["policy.yaml:2: entries: found a mapping, expected a list"],
    ENTRY % "network: [192.0.2.1]": ["policy.yaml:3: entries[0].network: unknown key (did you mean 'networks'?)"],
    "version: 1\nentries:\n- {networks: [192.0.2.1]}\n": ["policy.yaml:3: entries[0].list: missing"],
    "version: 1\nentries:\n- {list: block, networks: [192.0.2.1]}\n": [
        "policy.yaml:3: entries[0].list: found 'block', expected one of allow, deny, gray"
    ],
    # Addresses
    ENTRY % "networks: [10.0.0.2/10]": [
        "policy.yaml:3: entries[0].networks[0]: found '10.0.0.2/10', expected a network without host bits "
        "(did you mean '10.0.0.0/10'? --lenient takes it)",
        "policy.yaml:3: entries[0].networks[0]: found 10.0.0.0/10, expected a network of /12 or longer "
        "(limits.widest_ipv4 says so)",
    ],
    ENTRY % "networks: [192.0.2.010]": [
        "policy.yaml:3: entries[0].networks[0]: found '192.0.2.010', expected no leading zeros, such as 192.0.2.10: some programs read them as octal"
    ],
    ENTRY % "networks: [192.0.2.9-192.0.2.1]": [
        "policy.yaml:3: entries[0].networks[0]: found '192.0.2.9-192.0.2.1', expected a range whose end is not before its start "
        "(did you mean '192.0.2.1-192.0.2.9'?)"
    ],
    ENTRY % "networks: 192.0.2.1": ["policy.yaml:3: entries[0].networks: found '192.0.2.1', expected a list"],
    ENTRY % "networks: [0.0.0.0/0]": [
        "policy.yaml:3: entries[0].networks[0]: found 0.0.0.0/0, expected a network of /12 or longer "
        "(limits.widest_ipv4 says so)"
    ],
    ENTRY % "networks: []": [
        "policy.yaml:3: entries[0]: names nobody (expected one or more of networks, hosts, countries, regions, "
        "continents, asns, sources)"
    ],
    # Windows
    ENTRY % "networks: [192.0.2.1], starts: 2026-12-24T00:00:00Z, expires: 2026-12-01T00:00:00Z": [
        "policy.yaml:3: entries[0].expires: found an end before the start, which is 2026-12-24T00:00:00Z, "
        "expected it after (are the two swapped?)"
    ],
    ENTRY % "networks: [192.0.2.1], expires: 2h": [
        "policy.yaml:3: entries[0].expires: found '2h', expected a time such as 2026-12-01T00:00:00Z"
    ],
    ENTRY % "networks: [192.0.2.1], expires: 2026-02-30T00:00:00Z": [
        "policy.yaml:3: entries[0].expires: found '2026-02-30T00:00:00Z', expected a time such as "
        "2026-12-01T00:00:00Z (day is out of range for month)"
    ],
    ENTRY % "networks: [192.0.2.1], expires: 2020-01-01T00:00:00Z": [
        "policy.yaml:3: entries[0].expires: found 2020-01-01T00:00:00Z, which is over, expected at least 300 seconds "
        "from now (a new entry without `starts` begins now; remove it, or say when it started)"
    ],
    # Places, systems, sources
    ENTRY % "countries: [UK]": [
        "policy.yaml:3: entries[0].countries[0]: found 'UK', expected two capital letters such as KP (ISO 3166-1) "
        "(did you mean 'GB'?)"
    ],
    ENTRY % "countries: [KP]": [
        "policy.yaml:3: entries[0].countries: found KP, and geo.country is missing, expected a database "
        "(such as geo: {country: geo/country.mmdb})"
    ],
    ENTRY % "asns: [AS64496]": [
        "policy.yaml:3: entries[0].asns[0]: found 'AS64496', expected an AS number from 1 to 4294967295 (did you mean 64496?)"
    ],
    ENTRY % "sources: [tor]": ["policy.yaml:3: entries[0].sources: found 'tor', which no feed gives (given: none)"],
    "version: 1\nentries: [{list: deny, sources: [tor]}]\nfeeds: [{preset: torr}]\n": [
        "policy.yaml:3: feeds[0].preset: found 'torr', expected one of cins, emerging-threats, digitalside, greensnow, "
        "blocklist-de, bad-bot-blocker, ipsum, tor, aws, gcp, azure, cloudflare, fastly, googlebot, bingbot (did you mean 'tor'?)",
        "policy.yaml:2: entries[0].sources: found 'tor', which no feed gives (given: none)",
    ],
    "version: 1\nentries: [{list: deny, sources: [tor]}]\nfeeds: [{preset: tor}]\n": [
        "policy.yaml:3: feeds[0].path: feeds/tor.txt: cannot be read: No such file or directory "
        "(`authz feeds fetch` gets it)"
    ],
    # Applications
    ENTRY % "networks: [192.0.2.1], applications: [shop]": [
        "policy.yaml:3: entries[0].applications: found 'shop', expected a name under applications (known: none)"
    ],
    "version: 1\napplications: {shop: {mode: on}}\n": [
        "policy.yaml:2: applications.shop.mode: found 'on', expected one of off, monitoring, safe_blocking, block"
    ],
    "version: 1\napplications: {shop: {deny: {status: 200}}}\n": [
        "policy.yaml:2: applications.shop.deny.status: found '200', expected a status from 400 to 499"
    ],
}

FEED = "version: 1\nentries: [{list: deny, sources: [bad]}]\nfeeds: [{source: bad, path: bad.txt%s}]\n"

# What the feed says, and the policy about it: what the build answers.
FEEDS: list[tuple[str, str, str]] = [
    (
        "<!DOCTYPE html>\n<p>Too many requests\n",
        "",
        "policy.yaml:3: feeds[0].path: bad.txt: not recognised: the first line is '<!DOCTYPE html>'; of the first "
        "2 lines, none is an entry in any format (known formats: plain, proxies, geofeed, csv, json-lines, ",
    ),
    (
        "192.0.2.1\n",
        ", min_count: 3",
        "policy.yaml:3: feeds[0].path: bad.txt: min_count: found no count behind any address, expected a list such as "
        "ipsum's, not plain",
    ),
    (
        "192.0.2.1\n",
        ", where: {service: EC2}",
        "policy.yaml:3: feeds[0].path: bad.txt: where: found the column 'service', expected none, since the format plain "
        "has no columns",
    ),
    (
        "192.0.2.1\n",
        ", format: palin",
        "policy.yaml:3: feeds[0].format: found 'palin', expected one of auto, plain, ",
    ),
]

# A command: what it answers.
COMMANDS: dict[str, list[str]] = {
    "ranges 192.0.2.1-192.0.2": [
        "authz: error: found '192.0.2.1-192.0.2', expected an address, a network such as 192.0.2.0/24, or a range such as 192.0.2.1-192.0.2.9"
    ],
    "keys generate keys --name a": [
        "authz: error: keys/a.key: exists, expected no such file",
        "hint: choose another --name",
    ],
    f"{BUILD.replace('a.key', 'a.pub')}": [
        "authz: error: keys/a.pub: found a public key, expected a private key",
        "hint: give the .key file",
    ],
    f"{BUILD} --valid-for 7": [
        "authz: error: --valid-for: found '7', expected a duration such as 250ms, 10s, 5m, 24h or 7d",
        "hint: a number needs a unit: 7s, 7m, 7h or 7d",
    ],
    "snapshot verify policy.yaml --trusted-key keys/a.pub": [
        "authz: error: policy.yaml: bad_magic: found 'version:', expected 'AZSNAP01': this is not a snapshot"
    ],
    "snapshot show lists.snapshot offce": [
        "authz: error: ENTRY: found 'offce', expected the id of one of 3 entries",
        "hint: did you mean 'office'?",
    ],
    "snapshot lint lists.snapshot --at tomorrow": [
        "authz: error: --at: found 'tomorrow', expected a time such as 2026-12-01T00:00:00Z, or a period from now such "
        "as 2h or -30m"
    ],
    "explain 192.0.2.300 --config authz.yaml": [
        "authz: error: ADDRESS: found '192.0.2.300', expected an IPv4 or IPv6 address"
    ],
    "explain 192.0.2.0/24 --config authz.yaml": [
        "authz: error: ADDRESS: found '192.0.2.0/24', expected an IPv4 or IPv6 address",
        "hint: for a network: authz snapshot search FILE NETWORK",
    ],
    "explain 192.0.2.1 --config authz.yaml --live --as-of 2026-12-01": [
        "authz: error: found --live and --as-of, expected one of them"
    ],
    "import ngnix policy.yaml": [
        "authz: error: FORMAT: found 'ngnix', expected one of nginx, envoy-rbac, gravitee, csv, fail2ban"
    ],
    "import nginx policy.yaml": ["authz: error: policy.yaml: found no entry, expected a list of nginx"],
    "import csv policy.yaml --list block": ["authz: error: --list: found 'block', expected one of allow, deny, gray"],
    "feeds fetch missing.yaml": ["authz: error: missing.yaml: cannot be read: No such file or directory"],
    "serve --config missing.yaml": ["authz: error: missing.yaml: cannot be read: No such file or directory"],
}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_mistake_in_a_policy(authz: Commands, tmp_path: Path, policy: str) -> None:
    (tmp_path / "policy.yaml").write_text(policy)
    ran = authz(*BUILD.split())
    told = ran.err.splitlines()
    assert (ran.status, sorted(told[:-1])) == (2, sorted(POLICIES[policy]))
    assert told[-1].endswith(f"{len(POLICIES[policy])} mistake{'s' * (len(POLICIES[policy]) > 1)} in policy.yaml")
    assert not (tmp_path / "new.snapshot").exists()


@pytest.mark.parametrize(("feed", "options", "told"), FEEDS)
def test_a_mistake_with_a_feed(authz: Commands, tmp_path: Path, feed: str, options: str, told: str) -> None:
    (tmp_path / "bad.txt").write_text(feed)
    (tmp_path / "policy.yaml").write_text(FEED % options)
    ran = authz(*BUILD.split())
    assert ran.status == 2
    assert ran.err.startswith(told)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_at_the_command_line(authz: Commands, command: str) -> None:
    ran = authz(*command.split())
    assert (ran.status != 0, ran.out) == (True, "")
    assert ran.err.splitlines() == COMMANDS[command]


def test_there_are_forty_of_them() -> None:
    assert len(POLICIES) + len(FEEDS) + len(COMMANDS) >= 40
