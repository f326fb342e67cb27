"""`authz triggers test`: what triggers would have done on a log, before they are switched on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.suite.commands import Commands

if TYPE_CHECKING:
    from pathlib import Path

TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {path: /login, method: POST, status: [401, 403]},
     count: {over: 5, within: 30s}, then: {period: 1h}}
  - {name: crawl, kind: forced_browsing, count: {over: 10, within: 1m}}
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(tmp_path, monkeypatch)


def nginx_line(client: str, second: int, request: str, status: int) -> str:
    return f'{client} - - [01/Dec/2026:00:00:{second:02} +0000] "{request} HTTP/1.1" {status} 10 "-" "curl/8"\n'


def log(folder: Path) -> None:
    (folder / "triggers.yaml").write_text(TRIGGERS)
    lines = [nginx_line("203.0.113.9", second, "POST /login", 401) for second in range(20)]
    lines += [nginx_line("198.51.100.7", second, f"GET /{second}", 404) for second in range(12)]
    lines += [nginx_line("192.0.2.1", second, "GET /", 200) for second in range(20)]
    (folder / "access.log").write_text("".join(lines) + "nonsense\n")


def test_a_log_of_nginx_says_who_would_have_been_listed(tmp_path: Path, commands: Commands) -> None:
    log(tmp_path)
    done = commands("triggers", "test", "triggers.yaml", "access.log", "--json")
    content = done.json()
    assert [(listing["network"], listing["trigger"], listing["count"]) for listing in content["listings"]] == [
        ("203.0.113.9", "login", 6), ("198.51.100.7", "crawl", 11),
    ]  # fmt: skip
    assert content["suppressed"] == [{"trigger": "login", "reason": "listed", "listings": 2}]
    assert (content["events"], content["skipped"]) == (52, 1)


def test_it_is_told_to_a_person(tmp_path: Path, commands: Commands) -> None:
    log(tmp_path)
    done = commands("triggers", "test", "triggers.yaml", "access.log", "--protect", "198.51.100.0/24")
    assert (
        "2026-12-01T00:00:05Z 203.0.113.9: on the deny list for 1h in all applications"
        " by login: 6 requests within 30s, limit 5" in done.out
    )
    assert "198.51.100.7: on" not in done.out
    assert "not listed by crawl: protected" in done.out


def test_the_decision_log_and_events_are_read(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "triggers.yaml").write_text(TRIGGERS)
    event = {"time": "2026-12-01T00:00:00Z", "client": "203.0.113.9", "method": "POST", "path": "/login", "status": 403}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n" + (json.dumps(event) + "\n") * 5)
    done = commands("triggers", "test", "triggers.yaml", "events.jsonl", "--json")
    assert len(done.json()["listings"]) == 1


def test_a_file_of_triggers_is_checked(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "triggers.yaml").write_text(TRIGGERS)
    assert commands("triggers", "check", "triggers.yaml").out == "triggers.yaml: 2 triggers, no mistake"


def test_a_log_of_another_kind_is_refused(tmp_path: Path, commands: Commands) -> None:
    log(tmp_path)
    done = commands("triggers", "test", "triggers.yaml", "triggers.yaml")
    assert "triggers.yaml: line 1 is in none of the known formats: event, nginx, nginx-json, envoy-json" in done.err


def test_who_tries_a_trigger_of_an_application_on_a_log_that_names_none_is_told_so(
    tmp_path: Path, commands: Commands
) -> None:
    log(tmp_path)
    (tmp_path / "triggers.yaml").write_text(TRIGGERS.replace("where: {", "where: {application: shop, "))
    hint = "hint: login counts the application shop, and the log names no application; give --application shop"
    assert hint in commands("triggers", "test", "triggers.yaml", "access.log").out
    done = commands("triggers", "test", "triggers.yaml", "access.log", "--application", "shop")
    assert "203.0.113.9: on the deny list for 1h in shop by login" in done.out
    assert "hint" not in done.out
    assert "the log names only blog" in commands(
        "triggers", "test", "triggers.yaml", "access.log", "--application", "blog"
    ).out  # fmt: skip


def test_a_trigger_that_lists_nobody_says_how_near_it_came(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "triggers.yaml").write_text(TRIGGERS + "  - {name: orders, kind: bola, where: {path: '/api/{id}'}, "
                                            "count: {over: 9, within: 1m}}\n")  # fmt: skip
    lines = [nginx_line("203.0.113.9", second, "POST /login", 401) for second in range(4)]
    lines += [nginx_line("2001:db8::7", second, "POST /login", 401) for second in range(2)]
    lines += [nginx_line("198.51.100.7", second, f"GET /{second}", 404) for second in range(12)]
    (tmp_path / "access.log").write_text("".join(lines))
    said = commands("triggers", "test", "triggers.yaml", "access.log").out
    assert "login: at most 4 requests within 30s, limit 5: 203.0.113.9 at 2026-12-01T00:00:03Z" in said
    assert "orders: no request of the log counts" in said
    assert "crawl: at most" not in said  # it lists
    near = commands("triggers", "test", "triggers.yaml", "access.log", "--json").json()["nearest"]
    assert near == [
        {"trigger": "login", "count": 4, "over": 5, "within": 30.0, "network": "203.0.113.9",
         "time": "2026-12-01T00:00:03Z"},
        {"trigger": "orders", "count": 0, "over": 9, "within": 60.0, "network": "", "time": None},
    ]  # fmt: skip
