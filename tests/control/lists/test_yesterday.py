"""A change is shown against yesterday's events: in a preview, and to who has to approve it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.control import Clock, control

from authz.addresses import parse_address, parse_networks
from authz.control.detect.event import Event
from authz.control.store.events.impact import client_ranges, count_touched
from authz.control.store.events.search import WantedEvents
from authz.control.store.events.writing import write_events

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Control

BLOCK = {"networks": ["198.51.100.0/24"], "except": ["198.51.100.9"]}


def happened(plane: Control, *events: tuple[str, str, str, float]) -> None:
    """Keep events: client, application, decision, hours ago."""
    now = plane.plane.store.clock()
    with plane.plane.store.writing() as tx:
        write_events(tx, [
            Event(now - hours * 3600, parse_address(client), application, decision=decision)
            for client, application, decision, hours in events
        ])  # fmt: skip


@pytest.fixture
def day(plane: Control) -> Control:
    happened(
        plane,
        ("198.51.100.7", "shop", "allow", 1), ("198.51.100.7", "shop", "deny", 2), ("198.51.100.8", "shop", "allow", 3),
        ("198.51.100.7", "team-a-web", "allow", 4),
        ("198.51.100.9", "shop", "allow", 1),  # excepted
        ("198.51.100.7", "shop", "allow", 25),  # the day before
        ("203.0.113.7", "shop", "allow", 1), ("2001:db8::7", "shop", "allow", 1),
    )  # fmt: skip
    return plane


def test_a_preview_counts_the_events_and_clients_of_the_last_day(day: Control) -> None:
    shown = day.ok("POST", "/v1/preview", BLOCK)["yesterday"]
    assert (shown["events"], shown["denied"], shown["clients"], shown["complete"]) == (4, 1, 2, True)
    assert shown["applications"] == [
        {"application": "shop", "events": 3, "denied": 1, "clients": 2},
        {"application": "team-a-web", "events": 1, "denied": 0, "clients": 1},
    ]
    counts = day.ok("POST", "/v1/preview", BLOCK | {"applications": ["team-a-web"]})["yesterday"]
    assert (counts["events"], counts["clients"]) == (1, 1)
    both = day.ok("POST", "/v1/preview", {"networks": ["198.51.100.8", "2001:db8::/32"]})["yesterday"]
    assert (both["events"], both["clients"]) == (2, 2)


def test_a_preview_counts_only_events_that_the_tenant_may_see(day: Control) -> None:
    token = day.token_of("editor", "team-a", ("team-a-*",))
    shown = day.ok("POST", "/v1/preview", BLOCK, token=token)["yesterday"]
    assert [application["application"] for application in shown["applications"]] == ["team-a-web"]
    assert (shown["events"], shown["clients"]) == (1, 1)


def test_a_preview_says_what_events_cannot_tell(day: Control) -> None:
    shown = day.ok("POST", "/v1/preview", {"countries": ["KP"], "networks": ["198.51.100.8"]})
    assert (shown["yesterday"]["uncounted"], shown["yesterday"]["events"]) == (["countries"], 1)
    assert day.ok("POST", "/v1/preview", {"networks": ["no network"]})["yesterday"] is None


def test_ranges_of_many_networks_count_each_event_once_up_to_the_bound(day: Control) -> None:
    inside = [network for number in range(256) for network in parse_networks(f"198.51.100.{number}")]
    twice = [*inside, *parse_networks("198.51.100.0/25"), *parse_networks("10.0.0.0/8")]
    scattered = [
        network for number in range(500) for network in parse_networks(f"192.0.{number // 128}.{number % 128 * 2}")
    ]
    ranges = client_ranges(twice + scattered, [])
    assert len(ranges) == 502
    with day.plane.store.reading() as tx:
        touched = count_touched(tx, ranges, (), WantedEvents())
        assert (touched.total.events, touched.total.clients, touched.complete) == (6, 3, True)
        bounded = count_touched(tx, ranges, (), WantedEvents(), most=2)
        assert (bounded.total.events, bounded.complete) == (2, False)


def test_who_approves_a_change_sees_what_it_would_have_touched(tmp_path: Path) -> None:
    rules = "four_eyes: {addresses: 16, allow: true}\n"
    with control(tmp_path / "c", extra=rules, clock=Clock(time.time())) as plane:
        happened(plane, *((client, "shop", "allow", 1) for client in ("198.51.100.7", "198.51.100.8", "198.51.101.7")))
        waiting = plane.ask("POST", "/v1/entries", BLOCK).json()["approval"]
        other = plane.token_of("approver")
        shown = plane.ok("GET", f"/v1/approvals/{waiting}", token=other)
        assert (shown["state"], shown["yesterday"]["events"], shown["yesterday"]["clients"]) == ("waiting", 2, 2)
        stranger = plane.token_of("approver", "team-a", ("team-a-*",))
        assert plane.ask("GET", f"/v1/approvals/{waiting}", token=stranger).status_code == 404
        made = plane.ok("POST", f"/v1/approvals/{waiting}/approve", token=other)
        assert plane.ok("GET", f"/v1/approvals/{waiting}", token=other)["yesterday"] is None
        patch = {"networks": ["198.51.100.0/23"]}
        widened = plane.ask("PATCH", f"/v1/entries/{made['id']}", patch, If_Match="*").json()["approval"]
        assert plane.ok("GET", f"/v1/approvals/{widened}", token=other)["yesterday"]["events"] == 3
        ban = plane.ask("POST", "/v1/bans", {"address": "198.51.0.0/16"}).json()["approval"]
        assert plane.ok("GET", f"/v1/approvals/{ban}", token=other)["yesterday"]["clients"] == 3
