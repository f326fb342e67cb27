"""`authz snapshot inspect`, as an operator types it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.ground.refusals import NO_SNAPSHOT, refused

if TYPE_CHECKING:
    from pathlib import Path

    from support.publishing.publisher import Publisher
    from support.suite.commands import Commands


@pytest.mark.usefixtures("shop")
def test_a_snapshot_is_shown_as_json(authz: Commands, tmp_path: Path) -> None:
    shown = authz("snapshot", "inspect", "lists.snapshot", "--json").json()
    assert (shown["serial"], shown["created"], shown["expires"]) == (7, "2026-09-21T14:13:20Z", "never")
    assert (shown["applications"], shown["entries"]) == (3, 3)
    assert shown["bytes"] == (tmp_path / "lists.snapshot").stat().st_size
    assert [(a["name"], a["default"], a["hosts"]) for a in shown["applications_by_name"]] == [
        ("*", "allow", []),
        ("shop", "allow", ["shop.example.com"]),
        ("admin", "deny", []),
    ]
    assert [(e["id"], e["list"], e["reason"]) for e in shown["entries_by_id"]] == [
        ("office", "allow", "office"),
        ("bad", "deny", "abuse"),
        ("shop-only", "deny", "scrapers"),
    ]
    assert [s["name"] for s in shown["sections"]][:3] == ["entries.offset", "entries.data", "v4.starts"]


@pytest.mark.usefixtures("shop")
def test_a_snapshot_is_shown_to_a_person(authz: Commands) -> None:
    ran = authz.real("snapshot", "inspect", "lists.snapshot")
    assert (ran.status, ran.err) == (0, "")
    assert re.search(r"^  serial +7$", ran.out, re.MULTILINE)
    assert "  shop-only: deny, shop\n    reason: scrapers\n" in ran.out
    assert "  office: allow, all applications\n    reason: office\n" in ran.out


def test_what_a_policy_says_is_shown_as_it_is(shop: Publisher, authz: Commands) -> None:
    shop.publish(
        "version: 1\napplications: {shop: {deny: {body: '[/b] :bee:'}}}\nentries: [{id: a, list: deny, "
        'networks: ["2001:db8:a:bee::/64"], reason: "[/red] \\e[31m :bee:"}]\n',
        serial=8,
    )
    shown = authz.real("snapshot", "inspect", "lists.snapshot")
    assert "[/red] \\x1b[31m :bee:" in shown.out
    assert "[/b] :bee:" in shown.out
    explained = authz.real("explain", "2001:db8:a:bee:ab:1:2:3", "--config", "authz.yaml")
    assert "2001:db8:a:bee:ab:1:2:3: the peer is not a trusted proxy" in explained.out
    assert "a: deny 2001:db8:a:bee::/64, all applications, always  [/red] \\x1b[31m :bee:" in explained.out


def test_times_beyond_the_calendar_are_shown(shop: Publisher, authz: Commands) -> None:
    shop.publish(serial=8, created=1 << 40, expires=(1 << 62))
    shown = authz("snapshot", "inspect", "lists.snapshot", "--json").json()
    assert (shown["created"], shown["expires"]) == (f"{1 << 40} seconds since 1970", f"{1 << 62} seconds since 1970")


@pytest.mark.usefixtures("shop")
def test_what_is_no_snapshot_is_not_shown(authz: Commands) -> None:
    refused(
        authz.real("snapshot", "inspect", "policy.yaml"),
        f"authz: error: policy.yaml: bad_magic: {NO_SNAPSHOT}",
        status=1,
    )
