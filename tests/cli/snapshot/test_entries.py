"""Seeing what is on a list: inspect, show and search, for a person at 80 columns and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.publishing.publisher import Publisher
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

LONG = "credential stuffing against the login page of the shop, seen by three customers on the same evening"
POLICY = f"""\
version: 1
applications:
  shop: {{hosts: [shop.example.com], deny: {{status: 429, body: "Later, please.\\n"}}, dry_run: true}}
entries:
- {{id: office, list: allow, networks: [192.0.2.0/24, "2001:db8::/48"], except: [192.0.2.7], author: ops@example.com}}
- id: tor
  list: deny
  sources: [tor]
  applications: [shop]
  starts: 2026-01-01T00:00:00Z
  expires: 2036-01-01T00:00:00Z
  reason: {LONG}
- {{id: watch, list: deny, networks: [198.51.100.0/28], action: warn}}
feeds:
- {{source: tor, path: tor.txt}}
protected: [192.0.2.1]
"""
TOR = "198.51.100.1\n# comment\n198.51.100.4-198.51.100.7\n203.0.113.0/25\n"


@pytest.fixture
def authz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    (tmp_path / "tor.txt").write_text(TOR)
    Publisher(tmp_path).publish(POLICY, serial=7)
    return Commands(tmp_path, monkeypatch)


def test_inspect_fits_into_80_columns(authz: Commands) -> None:
    ran = authz.real("snapshot", "inspect", "lists.snapshot", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
    assert ran.status == 0
    lines = ran.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert ran.out.isascii()  # no lines of a table
    begin = lines.index("  tor: deny, shop")
    assert lines[begin : begin + 5] == [
        "  tor: deny, shop",
        "    from 2026-01-01T00:00:00Z until 2036-01-01T00:00:00Z",
        "    names source tor",
        "    reason: credential stuffing against the login page of the shop, seen by",
        "        three customers on the same evening",
    ]


def test_inspect_shows_every_setting_that_is_unusual(authz: Commands) -> None:
    out = authz.real("snapshot", "inspect", "lists.snapshot").out
    assert (
        "  shop\n    mode block, default allow, precedence allow_first, match client\n"
        "    dry run: every request is allowed\n    hosts shop.example.com\n"
        "    denies with 429, text/plain: Later, please.\\n\n"
    ) in out
    assert "  watch: deny (only warns), all applications\n" in out
    assert "  protected        192.0.2.1/32\n" in out
    assert "feeds (1)\n  tor.txt: tor, plain, 3 entries\n" in out


def test_inspect_shows_fifty_of_many_entries(authz: Commands, tmp_path: Path) -> None:
    entries = "".join(f"- {{id: e{number}, list: deny, networks: [192.0.2.{number}]}}\n" for number in range(53))
    Publisher(tmp_path / "many").publish(f"version: 1\nentries:\n{entries}", to="many.snapshot")
    out = authz.real("snapshot", "inspect", "many/many.snapshot").out
    assert "  e49: deny" in out
    assert "e50" not in out
    assert "  ... and 3 more; --json has all\n" in out
    assert len(authz("snapshot", "inspect", "many/many.snapshot", "--json").json()["entries_by_id"]) == 53


def test_show_has_everything_of_an_entry(authz: Commands) -> None:
    assert authz.real("snapshot", "show", "lists.snapshot", "office").out.splitlines() == [
        "office: allow, all applications",
        "  author: ops@example.com",
        "  covers 255 IPv4 addresses and 65,536 /64 of IPv6",
        "  networks (2)",
        "    192.0.2.0/24",
        "    2001:db8::/48",
        "  except (1)",
        "    192.0.2.7/32",
    ]
    shown = authz("snapshot", "show", "lists.snapshot", "office", "--json").json()
    assert (shown["file"], shown["serial"], shown["entry"]["list"]) == ("lists.snapshot", 7, "allow")
    assert shown["addresses"] == {"ipv4": 255, "ipv6": str(1 << 80), "ipv6_64s": "65536"}
    assert shown["networks"] == [{"network": "192.0.2.0/24"}, {"network": "2001:db8::/48"}]
    assert shown["exceptions"] == ["192.0.2.7/32"]


def test_show_names_the_feed_and_the_line_of_each_network(authz: Commands) -> None:
    out = authz.real("snapshot", "show", "lists.snapshot", "tor", "--policy", "policy.yaml").out
    assert out.splitlines()[-4:] == [
        "  networks (3)",
        "    198.51.100.1/32  tor.txt:1",
        "    198.51.100.4/30  tor.txt:3",
        "    203.0.113.0/25  tor.txt:4",
    ]
    shown = authz("snapshot", "show", "lists.snapshot", "tor", "--policy", "policy.yaml", "--json").json()
    assert shown["networks"][1] == {"network": "198.51.100.4/30", "origins": [{"feed": "tor.txt", "line": 3}]}
    assert shown["entry"]["reason"] == LONG


def test_show_says_which_entry_was_probably_meant(authz: Commands) -> None:
    ran = authz("snapshot", "show", "lists.snapshot", "offce")
    assert (ran.status, ran.err.splitlines()) == (
        2,
        [
            "authz: error: ENTRY: found 'offce', expected the id of one of 3 entries",
            "hint: did you mean 'office'?",
        ],
    )


def found_by(authz: Commands, text: str, *options: str) -> dict[str, list[str]]:
    ran = authz("snapshot", "search", "lists.snapshot", text, "--json", *options)
    content = json.loads(ran.out)
    assert ran.status == (0 if content["entries"] else 1)
    return {entry["id"]: [network["network"] for network in entry["networks"]] for entry in content["entries"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.9", {"office": ["192.0.2.0/24"]}),
        ("192.0.2.7", {}),
        ("2001:db8::1", {"office": ["2001:db8::/48"]}),
        ("::ffff:192.0.2.9", {"office": ["192.0.2.0/24"]}),
        ("198.51.100.5", {"tor": ["198.51.100.4/30"], "watch": ["198.51.100.0/28"]}),
        ("198.51.100.0/24", {"tor": ["198.51.100.1/32", "198.51.100.4/30"], "watch": ["198.51.100.0/28"]}),
        ("198.51.100.2-198.51.100.3", {"watch": ["198.51.100.0/28"]}),
        ("203.0.113.64/26", {"tor": ["203.0.113.0/25"]}),
        ("203.0.113.128/25", {}),
        ("2001:db8:0:5::/64", {"office": ["2001:db8::/48"]}),
        ("STUFFING", {"tor": []}),
        ("ops@", {"office": []}),
        ("source tor", {"tor": []}),
        ("shop", {"tor": []}),
        ("wat", {"watch": []}),
        ("nothing like it", {}),
    ],
)
def test_search_finds_by_address_network_or_text(authz: Commands, text: str, expected: dict[str, list[str]]) -> None:
    assert found_by(authz, text) == expected


def test_search_finds_neighbours_that_the_index_has_as_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ", ".join(f"192.0.2.{number}" for number in range(4, 9))
    Publisher(tmp_path).publish(f"version: 1\nentries: [{{id: a, list: deny, networks: [{hosts}]}}]\n")
    authz = Commands(tmp_path, monkeypatch)
    assert found_by(authz, "192.0.2.6-192.0.2.9") == {"a": ["192.0.2.6/32", "192.0.2.7/32", "192.0.2.8/32"]}
    assert found_by(authz, "192.0.2.0/24") == {"a": [f"192.0.2.{number}/32" for number in range(4, 9)]}
    assert found_by(authz, "0.0.0.0/0") == found_by(authz, "192.0.2.0/24")


def test_search_shows_a_person_what_and_why(authz: Commands) -> None:
    ran = authz.real("snapshot", "search", "lists.snapshot", "198.51.100.0/29", "--policy", "policy.yaml")
    assert ran.status == 0
    assert ran.out.splitlines() == [
        "tor: deny, shop",
        "  from 2026-01-01T00:00:00Z until 2036-01-01T00:00:00Z",
        "  names source tor",
        f"  reason: {LONG}",
        "  networks (2)",
        "    198.51.100.1/32  tor.txt:1",
        "    198.51.100.4/30  tor.txt:3",
        "watch: deny (only warns), all applications",
        "  networks (1)",
        "    198.51.100.0/28",
        "2 entries of 3: those that have an address of 198.51.100.0/29",
    ]


def test_a_search_without_a_hit_is_a_no(authz: Commands) -> None:
    ran = authz("snapshot", "search", "lists.snapshot", "10.0.0.1")
    assert (ran.status, ran.out) == (1, "0 entries of 3: those that cover 10.0.0.1")


@pytest.mark.parametrize("command", [("show", "lists.snapshot", "x"), ("search", "missing.snapshot", "x")])
def test_errors_are_json_where_json_is_asked_for(authz: Commands, command: tuple[str, ...]) -> None:
    ran = authz("snapshot", *command, "--json")
    assert ran.err == ""
    assert set(json.loads(ran.out)["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    "line", ["snapshot build --json", "ranges --json", "snapshot inspect x --jsn --json", "rangs --json"]
)
def test_a_wrong_flag_or_argument_is_json_too(authz: Commands, line: str) -> None:
    ran = authz(*line.split())
    assert (ran.status, ran.err) == (2, "")
    assert json.loads(ran.out)["error"]["code"] == "bad_usage"
