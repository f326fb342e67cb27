"""Whom a trigger never lists: all that is allowed or protected, however the policy names it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from support.control import Control, control
from support.processes import wait_for
from support.publishing.mmdb import write_mmdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIGGERS = """\
triggers:
  - {name: flood, kind: rate, where: {path: /flood}, count: {over: 2, within: 30s, by: network, v4: /24}}
"""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Control]:
    folder = tmp_path / "control"
    (folder / "geo").mkdir(parents=True)
    (folder / "feeds").mkdir()
    (folder / "triggers.yaml").write_text(TRIGGERS)
    (folder / "geo" / "country.mmdb").write_bytes(write_mmdb({"198.51.100.0/25": {"country": {"iso_code": "CH"}}}))
    (folder / "geo" / "asn.csv").write_text("start,end,asn\n100.64.7.0,100.64.7.3,64496\n")
    (folder / "feeds" / "engines.txt").write_text("20.30.40.200\n")
    with control(folder, extra="triggers: triggers.yaml\n") as plane:
        settings = {
            "geo": {"country": "geo/country.mmdb", "asn": "geo/asn.csv"},
            "feeds": [{"source": "search_engine", "path": "feeds/engines.txt", "format": "plain"}],
            "protected": ["100.64.9.4"],
        }
        plane.ok("PUT", "/v1/policy", settings)
        yield plane


def flood(plane: Control, client: str) -> list[str]:
    """Send what the trigger lists for; return what was listed."""
    events = [{"client": client, "application": "shop", "path": "/flood", "time": time.time()}] * 5
    plane.client.post("/v1/events", content="\n".join(map(json.dumps, events)),
                      headers={"Authorization": f"Bearer {plane.token}"})  # fmt: skip
    wait_for(lambda: not plane.plane.intake.waiting)
    return [entry["networks"][0] for entry in plane.ok("GET", f"/v1/entries?address={client}&list=deny")["items"]]


@pytest.mark.parametrize(
    ("subjects", "client"),
    [
        ({"countries": ["CH"]}, "198.51.100.200"),  # /25 of its /24 is in the country
        ({"asns": [64496]}, "100.64.7.77"),
        ({"sources": ["search_engine"]}, "20.30.40.1"),
        ({"networks": ["192.0.2.30-192.0.2.40"]}, "192.0.2.77"),
    ],
    ids=["country", "asn", "source", "range"],
)  # fmt: skip
def test_a_trigger_lists_nobody_whom_an_entry_allows_by_its_country_system_or_source(
    plane: Control, subjects: dict[str, list[object]], client: str
) -> None:
    plane.ok("POST", "/v1/entries?wait=published", {"list": "allow", **subjects})
    assert flood(plane, client) == []
    [trigger] = plane.ok("GET", "/v1/triggers")["items"]
    assert trigger["suppressed"] == {"allowlisted": 1}
    assert flood(plane, "100.64.99.1") == ["100.64.99.0/24"]  # it does list others


def test_a_trigger_lists_nobody_whom_an_entry_for_another_application_allows_only_there(plane: Control) -> None:
    entry = {"list": "allow", "countries": ["CH"], "applications": ["blog"]}
    plane.ok("POST", "/v1/entries?wait=published", entry)
    assert flood(plane, "198.51.100.200") == ["198.51.100.0/24"]


def test_a_trigger_lists_nobody_whom_the_signed_policy_protects(plane: Control) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.77"})
    assert flood(plane, "100.64.9.200") == []
    [trigger] = plane.ok("GET", "/v1/triggers")["items"]
    assert trigger["suppressed"] == {"protected": 1}
