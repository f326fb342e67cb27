"""A ruleset: which application is meant, and the deny list on the path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authz.addresses import parse_address
from authz.engine.entries.opened_snapshot import OpenedSnapshot
from authz.engine.entries.ruleset import Ruleset
from authz.snapshot.read import inspect_snapshot

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher

HOSTS = ["shop.example.com", "SHOP.example.com", "shop.example.com.", "shop.example.com:8443", "shop.example.com:"]


@pytest.fixture
def ruleset(publisher: Publisher) -> Ruleset:
    return Ruleset([OpenedSnapshot(inspect_snapshot(publisher.publish()))])


@pytest.mark.parametrize("host", [*HOSTS, "shop.example.com.:", "shop.example.com.:80"])
def test_a_host_names_its_application_however_it_is_written(ruleset: Ruleset, host: str) -> None:
    application = ruleset.application(None, host)
    assert application is not None
    assert application.name == "shop"


@pytest.mark.parametrize(
    "host", ["", ":", "example.com", "shop.example.com:x", "a.shop.example.com", "[::1]", "[::1]:80"]
)
def test_another_host_names_none(ruleset: Ruleset, host: str) -> None:
    assert ruleset.application("", host) is None


def test_a_name_counts_before_the_host(ruleset: Ruleset) -> None:
    application = ruleset.application("admin", "shop.example.com")
    assert application is not None
    assert application.name == "admin"
    assert ruleset.application("nobody", "shop.example.com") is None


def test_only_the_deny_list_is_held_against_the_rest_of_the_path(ruleset: Ruleset) -> None:
    client, office, bad = (parse_address(text) for text in ("198.51.100.1", "192.0.2.1", "203.0.113.1"))
    mine = ruleset.matches(ruleset.find(client))
    matches = ruleset.with_denied(mine, ruleset.places_of([client, office, bad]))
    assert [match.entry.id for match in matches] == ["bad"]
