"""`authz explain`, as an operator types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import WRONG_TIME, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands

OR_PERIOD = ", or a period from now such as 2h or -30m"
EXPLAIN = ("explain", "203.0.113.7", "--config", "authz.yaml")


@pytest.mark.usefixtures("shop")
def test_a_denied_client_is_explained(authz: Commands) -> None:
    ran = authz.real(*EXPLAIN, "--application", "shop")
    assert (ran.status, ran.err) == (0, "")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[lines.index("who is the client") + 1] == (
        "  203.0.113.7: the peer is not a trusted proxy, so it is the client"
    )
    covering = lines.index("entries that cover it")
    assert lines[covering + 1] == "  bad: deny 203.0.113.0/24, all applications, always  abuse"
    assert lines[covering + 2] == "    decides"
    assert lines[covering + 3] == "deny"
    rows = dict(line.split(None, 1) for line in lines[covering + 4 :])
    assert (rows["reason"], rows["entry"], rows["application"], rows["serial"]) == ("denylisted", "bad", "shop", "7")


@pytest.mark.usefixtures("shop")
def test_a_decision_is_explained_as_json(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--at", "2026-12-01T00:00:00Z", "--json").json()
    assert content["time"] == "2026-12-01T00:00:00Z"
    assert content["decision"] == {
        "decision": "deny",
        "reason": "denylisted",
        "list": "deny",
        "entry": "bad",
        "layer": "policy",
        "client": "203.0.113.7",
        "application": "*",
        "serial": 7,
        "status": 403,
        "enforced": True,
        "warnings": [],
    }
    (match,) = content["covering"]
    assert (match["entry"], match["network"], match["verdict"]) == ("bad", "203.0.113.0/24", "decides")
    assert "note" not in content


@pytest.mark.usefixtures("shop")
def test_the_walk_over_the_proxies_is_explained(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--peer", "127.0.0.1", "--json").json()
    assert [step["element"] for step in content["walk"]] == ["127.0.0.1", "203.0.113.7"]
    assert content["decision"]["client"] == "203.0.113.7"


@pytest.mark.usefixtures("shop")
def test_another_client_than_the_one_asked_for_is_noted(authz: Commands) -> None:
    content = authz(
        *EXPLAIN, "--peer", "127.0.0.1", "--header", "X-Forwarded-For: 203.0.113.7, 192.0.2.1", "--json"
    ).json()
    assert content["note"] == "the client is 192.0.2.1, not 203.0.113.7"
    assert content["decision"]["reason"] == "allowlisted"


@pytest.mark.usefixtures("shop")
def test_headers_of_an_untrusted_peer_are_not_believed(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--header", "X-Forwarded-For: 192.0.2.1", "--json").json()
    assert (content["decision"]["client"], content["decision"]["decision"]) == ("203.0.113.7", "deny")


@pytest.mark.usefixtures("shop")
def test_the_application_may_be_named_by_the_host(authz: Commands) -> None:
    content = authz(*EXPLAIN, "--header", "Host: SHOP.example.com:8443", "--json").json()
    assert content["decision"]["application"] == "shop"


@pytest.mark.parametrize(
    ("peer", "reason"),
    [("unix:", "peer_untrusted_transport"), ("here", "client_unresolved"), ("127.0.0.1", "denylisted")],
)
@pytest.mark.usefixtures("shop")
def test_a_peer_may_be_anything_that_a_proxy_reports(authz: Commands, peer: str, reason: str) -> None:
    content = authz(*EXPLAIN, "--peer", peer, "--json").json()
    assert content["decision"]["reason"] == reason


def test_a_window_is_looked_at_for_the_time_asked_for(shop: Publisher, authz: Commands) -> None:
    shop.publish(
        "version: 1\nentries: [{id: sale, list: deny, networks: [203.0.113.0/24], "
        "starts: 2026-12-01T00:00:00Z, expires: 2026-12-24T00:00:00Z}]\n",
        serial=8,
        created=1_790_000_000,  # before all times that are asked about
    )
    verdicts = {}
    for at in ("2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z", "2026-12-23T23:59:59Z", "2026-12-24T01:00:00+01:00"):
        content = authz(*EXPLAIN, "--at", at, "--json").json()
        verdicts[content["time"]] = (content["decision"]["decision"], content["covering"][0]["verdict"])
    assert verdicts == {
        "2026-11-30T23:59:59Z": ("allow", "dropped: out of its window"),
        "2026-12-01T00:00:00Z": ("deny", "decides"),
        "2026-12-23T23:59:59Z": ("deny", "decides"),
        "2026-12-24T00:00:00Z": ("allow", "dropped: out of its window"),
    }


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["example.com"], ["authz: error: ADDRESS: found 'example.com', expected an IPv4 or IPv6 address"]),
        (
            ["10.0.0.0/8"],
            [
                "authz: error: ADDRESS: found '10.0.0.0/8', expected an IPv4 or IPv6 address",
                "hint: for a network: authz snapshot search FILE NETWORK",
            ],
        ),
        (["192.0.2.1", "--header", "Host"], ["authz: error: --header: found 'Host', expected 'Name: value'"]),
        (["192.0.2.1", "--header", ": a"], ["authz: error: --header: found ': a', expected 'Name: value'"]),
        (
            ["192.0.2.1", "--at", "yesterday"],
            [f"authz: error: --at: found 'yesterday', {WRONG_TIME}{OR_PERIOD}"],
        ),
        (
            ["192.0.2.1", "--at", "2026-12-01"],
            [
                f"authz: error: --at: found '2026-12-01', {WRONG_TIME}{OR_PERIOD}",
                "hint: did you mean '2026-12-01T00:00:00Z'?",
            ],
        ),
        (
            ["192.0.2.1", "--at", "2026-13-01T00:00:00Z"],
            [
                f"authz: error: --at: found '2026-13-01T00:00:00Z', {WRONG_TIME}{OR_PERIOD}",
                "hint: month must be in 1..12",
            ],
        ),
        (
            ["192.0.2.1", "--at", "9999-12-31T23:59:59-23:59"],
            [f"authz: error: --at: found '9999-12-31T23:59:59-23:59', {WRONG_TIME}{OR_PERIOD}"],
        ),
    ],
)
@pytest.mark.usefixtures("shop")
def test_a_wrong_question_is_a_mistake(authz: Commands, arguments: list[str], lines: list[str]) -> None:
    refused(authz("explain", *arguments, "--config", "authz.yaml"), *lines)


@pytest.mark.parametrize("command", [EXPLAIN, ("replay", "requests.jsonl", "--config", "authz.yaml")])
@pytest.mark.usefixtures("shop")
def test_nothing_is_decided_by_a_snapshot_that_is_refused(
    authz: Commands, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "requests.jsonl").write_text('{"peer": "192.0.2.1"}\n')
    (tmp_path / "broken").write_bytes((tmp_path / "lists.snapshot").read_bytes()[:-1])
    refused(
        authz.real(*command, "--snapshot", "broken"),
        "authz: error: broken: truncated: 1 bytes of section 'members.length' are missing",
        status=1,
    )
    refused(
        authz(*command, "--snapshot", "missing"),
        "authz: error: missing: absent: No such file or directory",
        status=1,
    )


@pytest.mark.usefixtures("shop")
def test_explaining_and_replaying_leave_no_state(authz: Commands, tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"peer": "192.0.2.1"}\n')
    authz(*EXPLAIN)
    authz("replay", "requests.jsonl", "--config", "authz.yaml")
    assert not (tmp_path / "state").exists()
