"""Automatic listing through the API: events in, entries out, holds after a deletion; over both stores."""

from __future__ import annotations

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.from_thread
import anyio.to_thread
import pytest
from support.control import Clock, Control, control, opened
from support.processes import PATIENCE, wait_for

from authz.control.api.detect import events
from authz.control.detect.event import read_event
from authz.control.detect.listing import guard
from authz.control.store.ledger.history import Wanted, find_changes
from authz.times import parse_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from authz.control.detect.event import Event

TRIGGERS = """\
triggers:
  - {name: login, kind: brute_force, where: {application: shop, path: /login, method: POST, status: [401, 403]},
     count: {over: 5, within: 30s}, then: {period: 1h, grow: 2}}
  - {name: flood, kind: rate, where: {path: /flood}, count: {over: 5, within: 30s}, then: {applications: all}}
  - {name: bots, kind: api_abuse, where: {path: /api}, count: {over: 5, within: 30s}}
  - {name: trial, kind: rate, where: {path: /trial}, count: {over: 5, within: 30s}, dry_run: true}
  - {name: payloads, kind: payloads, where: {path: /search}, count: {over: 3, within: 1h}}
"""


class Automatic:
    """A control plane with triggers, and a clock that the test turns."""

    def __init__(self, running: Control, clock: Clock) -> None:
        self.plane = running
        self.clock = clock

    def send(self, count: int, path: str = "/login", client: str = "203.0.113.9", **values: Any) -> Any:
        """Send events, a second apart, and wait until they are counted."""
        lines = []
        for number in range(count):
            event = {"client": client, "application": "shop", "method": "POST", "path": path, "status": 401}
            lines.append(json.dumps(event | {"time": self.clock.now - count + number} | values))
        headers = {"Authorization": f"Bearer {self.plane.token}"}
        answer = self.plane.client.post("/v1/events", content="\n".join(lines), headers=headers)
        self.settle()
        return answer

    def settle(self) -> None:
        intake = self.plane.plane.intake
        wait_for(lambda: not intake.waiting and intake.keeper.written + intake.keeper.lost >= intake.taken, pause=0.01)

    def entries(self, address: str = "203.0.113.9") -> list[Any]:
        items: list[Any] = self.plane.ok("GET", f"/v1/entries?address={address}")["items"]
        return items

    def trigger(self, name: str) -> Any:
        return next(trigger for trigger in self.plane.ok("GET", "/v1/triggers")["items"] if trigger["name"] == name)


@pytest.fixture
def automatic(store_url: str, tmp_path: Path) -> Iterator[Automatic]:
    clock = Clock()
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "triggers.yaml").write_text(TRIGGERS)
    extra = "triggers: triggers.yaml\nprotected: [192.0.2.0/24]\n"
    with control(tmp_path / "control", store=store_url, extra=extra, clock=clock) as running:
        yield Automatic(running, clock)


def test_a_password_guesser_is_listed_in_the_right_application_for_the_period(automatic: Automatic) -> None:
    assert automatic.send(6).json() == {"taken": 6, "refused": []}
    [entry] = automatic.entries()
    assert (entry["list"], entry["applications"], entry["owner"]) == ("deny", ["shop"], "trigger")
    assert entry["reason"] == "login: 6 requests within 30s, limit 5"
    with automatic.plane.plane.store.reading() as tx:
        [change] = find_changes(tx, Wanted(subject=entry["id"]))
    assert (change.actor, change.actor_kind, change.method, change.action) == ("login", "trigger", "automatic", "add")


def test_who_attacks_an_application_that_the_policy_does_not_name_is_listed_in_all(automatic: Automatic) -> None:
    automatic.send(6, "/api", application="*")
    [entry] = automatic.entries()
    assert entry["applications"] == []


def test_who_stays_below_the_limit_is_not_listed(automatic: Automatic) -> None:
    automatic.send(5)
    assert automatic.entries() == []


def test_a_deletion_by_a_person_keeps_triggers_off_for_half_of_the_period(automatic: Automatic) -> None:
    automatic.send(6)
    [entry] = automatic.entries()
    automatic.plane.ok("DELETE", f"/v1/bans/{entry['id']}")
    [hold] = automatic.plane.ok("GET", "/v1/holds")["items"]
    assert (hold["network"], hold["trigger"], hold["actor"], hold["only"]) == ("203.0.113.9/32", "login", "admin", "")
    automatic.clock.now += 1790
    automatic.send(6)
    automatic.send(6, "/flood")  # another trigger, and every application
    assert automatic.entries() == []
    assert automatic.trigger("login")["suppressed"] == {"held": 1}
    automatic.clock.now += 20
    automatic.send(6)
    assert len(automatic.entries()) == 1


@pytest.mark.parametrize("application", ["shop", "", "*"])
def test_events_of_a_tenant_list_nobody_in_the_applications_of_another(automatic: Automatic, application: str) -> None:
    theirs = automatic.plane.token_of("source", "team-b", ("b-*",))
    event = {"client": "203.0.113.9", "path": "/flood", "application": application, "status": 401}
    lines = "\n".join(json.dumps(event | {"time": automatic.clock.now - number}) for number in range(9))
    headers = {"Authorization": f"Bearer {theirs}"}
    answer = automatic.plane.client.post("/v1/events", content=lines, headers=headers)
    automatic.settle()
    assert (answer.status_code, "expected one of 'team-b'" in answer.text) == (422, True)
    assert automatic.entries() == []
    assert automatic.plane.ok("GET", "/v1/events")["items"] == []
    lines = lines.replace(f'"application": "{application}"', '"application": "b-shop"')
    assert automatic.plane.client.post("/v1/events", content=lines, headers=headers).json()["taken"] == 9


def test_an_allowlisted_address_is_found_among_very_many_others(
    automatic: Automatic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_MAX_LOOKED_AT", 3)
    rows = [{"networks": [f"203.0.113.{number}"], "period": "1h"} for number in range(10, 40)]
    automatic.plane.ok("POST", "/v1/entries/bulk", rows)
    automatic.plane.ok("POST", "/v1/entries", {"networks": ["203.0.113.200"], "list": "allow", "expires": "forever"})
    content = {"name": "wide", "kind": "rate", "where": {"path": "/wide"}, "count": {
        "over": 3, "within": "30s", "by": "network",
    }}  # fmt: skip
    automatic.plane.ok("POST", "/v1/triggers", content)
    automatic.send(6, "/wide")
    assert automatic.trigger("wide")["suppressed"] == {"allowlisted": 1}
    assert automatic.trigger("wide")["listed"] == 0


def test_api_abuse_lists_again_at_once(automatic: Automatic) -> None:
    automatic.send(6, "/api")
    [entry] = automatic.entries()
    automatic.plane.ok("DELETE", f"/v1/bans/{entry['id']}")
    automatic.send(6, "/api")
    assert len(automatic.entries()) == 1


def test_a_hold_can_be_ended_by_hand_and_a_ban_by_a_person_ignores_it(automatic: Automatic) -> None:
    automatic.send(6)
    [entry] = automatic.entries()
    automatic.plane.ok("DELETE", f"/v1/bans/{entry['id']}")
    made = automatic.plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "applications": ["shop"]})
    automatic.plane.ok("DELETE", f"/v1/bans/{made['id']}")
    [hold] = automatic.plane.ok("GET", "/v1/holds")["items"]
    assert automatic.plane.ask("DELETE", f"/v1/holds/{hold['id']}").status_code == 204
    assert automatic.plane.ask("DELETE", f"/v1/holds/{hold['id']}").status_code == 404
    automatic.send(6)
    assert len(automatic.entries()) == 1


def test_a_hold_outlives_a_restart(automatic: Automatic, tmp_path: Path) -> None:
    automatic.send(6)
    [entry] = automatic.entries()
    automatic.plane.ok("DELETE", f"/v1/bans/{entry['id']}")
    with opened(tmp_path / "control", automatic.plane.token, clock=automatic.clock) as again:
        restarted = Automatic(again, automatic.clock)
        restarted.send(6)
        assert restarted.entries() == []


def test_an_allowlisted_scanner_and_a_protected_address_are_never_listed(automatic: Automatic) -> None:
    scanner = {"list": "allow", "networks": ["203.0.113.9"], "period": "forever", "reason": "our scanner"}
    automatic.plane.ok("POST", "/v1/entries", scanner)
    automatic.send(12)
    automatic.send(6, client="192.0.2.7")
    assert [entry["list"] for entry in automatic.entries()] == ["allow"]
    assert automatic.entries("192.0.2.7") == []
    assert automatic.trigger("login")["suppressed"] == {"allowlisted": 2, "protected": 1}


def test_who_comes_back_is_listed_for_longer(automatic: Automatic) -> None:
    automatic.send(6)
    automatic.clock.now += 3700
    automatic.send(6)
    now = automatic.clock.now
    active = automatic.plane.ok("GET", "/v1/bans")["items"]
    assert [entry["reason"].endswith(", time 2") for entry in active] == [True]
    assert abs(parse_moment(active[0]["expires"]) - now - 7200) < 5


def test_a_trial_lists_nobody_and_all_applications_means_all(automatic: Automatic) -> None:
    automatic.send(6, "/trial")
    assert automatic.entries() == []
    automatic.send(6, "/flood")
    assert [entry["applications"] for entry in automatic.entries()] == [[]]


def test_denials_for_the_signal_of_a_waf_count_and_denials_by_a_list_do_not(automatic: Automatic) -> None:
    def deny(reason: str, **more: str) -> None:
        for number in range(4):
            automatic.send(1, f"/search?q={number}", status=403, decision="deny", reason=reason, **more)

    deny("denied", entry="e1")
    deny("attack", entry="e1")
    deny("not_listed")
    assert automatic.entries() == []
    deny("attack")
    [entry] = automatic.entries()
    assert entry["reason"].startswith("payloads: 4 ")


def test_events_of_whole_seconds_count(automatic: Automatic) -> None:
    """As nginx logs them: they ended the counting of their batch."""
    automatic.send(6, time=int(automatic.clock.now))
    assert len(automatic.entries()) == 1


def test_the_same_event_twice_counts_once(automatic: Automatic) -> None:
    for _ in range(4):
        automatic.send(3, request_id="r1")
    assert automatic.entries() == []
    assert automatic.plane.ok("GET", "/v1/triggers")["repeated"] == 9


def test_a_request_id_that_a_client_forges_hides_nothing(automatic: Automatic) -> None:
    automatic.send(6, request_id="always the same")
    assert len(automatic.entries()) == 1


def test_events_may_be_packed(automatic: Automatic) -> None:
    line = b'{"client": "203.0.113.9"}\n' * 3
    headers = {"Authorization": f"Bearer {automatic.plane.token}", "Content-Encoding": "gzip"}
    send = automatic.plane.client.post
    assert send("/v1/events", content=gzip.compress(line), headers=headers).json() == {"taken": 3, "refused": []}
    assert send("/v1/events", content=b"no gzip", headers=headers).status_code == 422
    assert send("/v1/events", content=gzip.compress(line)[:-4], headers=headers).status_code == 413
    bomb = gzip.compress(b" " * (64 << 20))
    assert send("/v1/events", content=bomb, headers=headers).status_code == 413
    headers["Content-Encoding"] = "br"
    assert send("/v1/events", content=line, headers=headers).status_code == 415


def test_lines_that_cannot_be_read_are_named_and_the_others_count(automatic: Automatic) -> None:
    answer = automatic.plane.client.post(
        "/v1/events", content=b'{"client": "203.0.113.9"}\n{"client": "nobody"}\n\xff\n',
        headers={"Authorization": f"Bearer {automatic.plane.token}"},
    )  # fmt: skip
    assert answer.status_code == 202
    assert answer.json()["taken"] == 1
    assert [refusal["line"] for refusal in answer.json()["refused"]] == [2, 3]


def test_only_who_may_send_events_can(automatic: Automatic) -> None:
    source = automatic.plane.token_of("source")
    viewer = automatic.plane.token_of("viewer")
    assert automatic.plane.ask("POST", "/v1/events", {"client": "203.0.113.9"}, token=source).status_code == 202
    assert automatic.plane.ask("GET", "/v1/entries", token=source).status_code == 403
    assert automatic.plane.ask("POST", "/v1/events", {"client": "203.0.113.9"}, token=viewer).status_code == 403


def test_more_events_than_can_wait_are_refused_whole(automatic: Automatic, monkeypatch: pytest.MonkeyPatch) -> None:
    from authz.control.detect import work

    monkeypatch.setattr(work, "MAX_WAITING", 2)
    answer = automatic.send(3)
    assert answer.status_code == 429
    assert answer.json()["code"] == "intake_full"
    assert automatic.plane.plane.intake.refused == 3


def test_no_more_batches_wait_to_be_read_than_there_is_memory_for(
    automatic: Automatic, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*given: Any) -> Event:
        begun.release()
        go_on.wait(PATIENCE)
        return read_event(*given)

    monkeypatch.setattr(events, "read_event", slow)
    monkeypatch.setattr(events, "MAX_UNREAD", 2)
    ask = partial(automatic.plane.ask, "POST", "/v1/events", {"client": "203.0.113.9", "application": "shop"})
    with ThreadPoolExecutor(16) as senders:
        sent = [senders.submit(ask) for _ in range(events.MAX_READ + 2)]
        try:
            for _ in range(events.MAX_READ):
                assert begun.acquire(timeout=PATIENCE)
            wait_for(lambda: events._threads().statistics().tasks_waiting == 2)
            refused = ask()
        finally:
            go_on.set()
    assert (refused.status_code, refused.json()["code"]) == (429, "intake_full")
    assert [answer.result().status_code for answer in sent] == [202] * len(sent)


def test_an_automatic_entry_belongs_to_the_tenant_of_the_application(automatic: Automatic) -> None:
    token = automatic.plane.token_of("viewer", tenant="team-shop", applications=("shop*",))
    automatic.send(6)
    items = automatic.plane.ok("GET", "/v1/entries?address=203.0.113.9", token=token)["items"]
    assert [entry["tenant"] for entry in items] == ["team-shop"]


def test_events_can_be_searched_and_counted(automatic: Automatic) -> None:
    automatic.send(3, decision="allow")
    automatic.send(2, client="198.51.100.7", application="blog", decision="deny", entry="abuse")
    ask = automatic.plane.ok
    [first, second] = ask("GET", "/v1/events?address=198.51.100.0/24")["items"]
    assert (first["client"], first["application"], first["entry"]) == ("198.51.100.7", "blog", "abuse")
    assert first["time"] > second["time"]
    page = ask("GET", "/v1/events?limit=4")
    rest = ask("GET", f"/v1/events?limit=4&cursor={page['cursor']}")
    assert (len(page["items"]), len(rest["items"]), rest["cursor"]) == (4, 1, None)
    counts = ask("GET", "/v1/events/counts?top=1")
    assert {(count["decision"], count["events"]) for count in counts["items"]} == {("allow", 3), ("deny", 2)}
    assert counts["clients"] == {"203.0.113.9": 3}


def test_a_tenant_sees_the_events_of_its_applications_only(automatic: Automatic) -> None:
    automatic.send(3)
    automatic.send(2, application="blog")
    token = automatic.plane.token_of("viewer", tenant="team-blog", applications=("blog",))
    items = automatic.plane.ok("GET", "/v1/events", token=token)["items"]
    assert [event["application"] for event in items] == ["blog", "blog"]
    counts = automatic.plane.ok("GET", "/v1/events/counts?top=5", token=token)
    assert sum(count["events"] for count in counts["items"]) == 2
    assert list(counts["clients"].values()) == [2]


def test_events_are_read_and_taken_in_threads_of_their_own(
    automatic: Automatic, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrowed: list[tuple[str, float]] = []

    def note(*given: Any) -> Event:
        limiter = anyio.from_thread.run_sync(anyio.to_thread.current_default_thread_limiter)
        borrowed.append((threading.current_thread().name, limiter.borrowed_tokens))
        return read_event(*given)

    monkeypatch.setattr(events, "read_event", note)
    automatic.plane.ok("POST", "/v1/events", {"client": "203.0.113.9", "application": "shop"})
    assert borrowed == [("AnyIO worker thread", 0)]
