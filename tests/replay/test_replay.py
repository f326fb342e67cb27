"""`authz replay` over access logs: recognition, times, another snapshot, summaries."""

from __future__ import annotations

import json

import pytest
from support.proxies.access_logs import AGAINST, JSONL, PRINTED, Replay, combined, envoy

from authz.addresses import parse_address
from authz.engine.decision.outcome import make_outcome
from authz.engine.decision.verdict import Verdict
from authz.engine.model import Application
from authz.replay import summary
from authz.replay.formats import recognise
from authz.replay.summary import Summary

# Recognition, and what an operator may say about a log.
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
        "is in none of the known formats: jsonl, nginx, nginx-json, envoy, envoy-json"
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


def test_another_snapshot_says_what_it_would_have_decided(replay: Replay) -> None:
    decisions = [(line["client"], line["reason"], line["against"]["reason"], line["against"]["changed"])
             for line in replay(LOG, *AGAINST).lines()]  # fmt: skip
    assert decisions == [
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
    assert [line["client"] for line in ran.lines()] == ["192.0.2.200", "192.0.2.200", "192.0.2.201"]
    back = ("--snapshot", "new.snapshot", "--against", "lists.snapshot", "--changed")
    assert [(line["decision"], line["against"]["decision"]) for line in replay(LOG, *back).lines()] == [
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
    counted = Summary()
    denied = make_outcome(Application("shop"), Verdict("deny", "denylisted"), 1)
    for number in range(1000):
        counted.count(denied, parse_address(f"10.0.{number // 250}.{number % 250}"), [])
        assert len(counted.clients) <= 100
    assert counted.requests == 1000
