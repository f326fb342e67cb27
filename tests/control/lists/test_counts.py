"""Counts as of any time, from daily checkpoints."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from support.control import Clock, Control, control
from support.processes import PATIENCE

from authz.control.maintenance.daily import count_days
from authz.control.model.records import MICROSECONDS
from authz.control.store.database import migrate
from authz.control.store.entries.counts import DAY, count_at, plain_count
from authz.control.store.tables import daily_counts
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection


@pytest.fixture
def plane(store_url: str, tmp_path: Path, clock: Clock) -> Iterator[Control]:
    with control(tmp_path / "control", store=store_url, clock=clock) as running:
        for rounds in running.plane.inputs:  # the first round would count more days if it came only now
            rounds.close(PATIENCE)
        yield running


def live_some_days(plane: Control, clock: Clock, chance: random.Random) -> None:
    """Add, change and delete entries of every list and of two tenants, some of them after they have expired."""
    theirs = plane.token_of("editor", "team-a", ("team-a-*",))
    ids: list[str] = []
    for number in range(60):
        clock.now += chance.randrange(1, 12) * 3600
        if ids and chance.random() < 0.5:
            entry = chance.choice(ids)
            change = {"period": chance.choice(["1h", "30h", "forever"]), "list": chance.choice(["deny", "gray"])}
            if chance.random() < 0.6:
                ids.remove(entry)
                plane.ok("DELETE", f"/v1/entries/{entry}", If_Match="*")
            else:
                plane.ask("PATCH", f"/v1/entries/{entry}", change, If_Match="*")
        else:
            body = {"networks": [f"203.0.113.{number}"], "list": chance.choice(["allow", "deny", "gray"]),
                    "period": chance.choice(["2h", "20h", "50h", "forever"])}  # fmt: skip
            tenant = chance.random() < 0.4
            more = {"token": theirs} if tenant else {}
            applications = {"applications": ["team-a-web"]} if tenant else {}
            ids.append(plane.ok("POST", "/v1/entries", body | applications, **more)["id"])


def days(tx: Connection) -> int:
    return len(tx.execute(daily_counts.select()).all())


def test_counts_from_daily_checkpoints_are_those_of_all_versions_at_any_time(plane: Control, clock: Clock) -> None:
    chance, begin = random.Random(11), clock.now
    live_some_days(plane, clock, chance)
    with plane.plane.store.reading() as tx:
        assert days(tx) <= 1  # the round at the start counted nothing, or the day before
    counted = count_days(plane.plane.store)
    assert counted >= (clock.now - begin) // 86400 - 1
    assert count_days(plane.plane.store) == 0
    with plane.plane.store.reading() as tx:
        kept = [row.day for row in tx.execute(daily_counts.select())]
        some = [int(chance.uniform(begin, clock.now)) * MICROSECONDS for _ in range(60)]
        for at in [*kept, *(day - 1 for day in kept), *some, int(clock.now) * MICROSECONDS]:
            assert count_at(tx, at) == plain_count(tx, at)
        assert plain_count(tx, int(clock.now) * MICROSECONDS).total() > 5
        assert all(day % DAY == 0 for day in kept)


def test_counts_are_asked_for_as_of_a_time_and_a_tenant_sees_its_own(plane: Control, clock: Clock) -> None:
    theirs = plane.token_of("viewer", "team-a", ("team-a-*",))
    for number in range(3):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}", "period": "30h"})
    own = {"address": "203.0.113.9", "applications": ["team-a-web"], "period": "7d"}
    plane.ok("POST", "/v1/bans", own, token=plane.token_of("operator", "team-a", ("team-a-*",)))
    plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["192.0.2.1"], "period": "forever"})
    then = format_moment(clock.now + 60)
    clock.now += 2 * 86400
    count_days(plane.plane.store)
    assert plane.ok("GET", "/v1/counts")["lists"] == {"allow": 1, "deny": 1}
    before = plane.ok("GET", f"/v1/counts?at={then}")
    assert (before["total"], before["lists"]) == (5, {"allow": 1, "deny": 4})
    assert {"tenant": "main", "layer": "bans", "list": "deny", "entries": 3} in before["items"]
    assert plane.ok("GET", f"/v1/counts?at={then}", token=theirs)["lists"] == {"deny": 1}


def test_entries_stay_when_the_table_of_counts_goes_and_comes_back(
    plane: Control, clock: Clock, store_url: str
) -> None:
    for number in range(3):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}", "period": "30h"})
    clock.now += 86400
    assert count_days(plane.plane.store) >= 1
    before = plane.ok("GET", "/v1/counts")["items"]
    migrate(store_url, "0012")
    migrate(store_url)
    with plane.plane.store.reading() as tx:
        assert days(tx) == 0
    assert plane.ok("GET", "/v1/counts")["items"] == before
    assert count_days(plane.plane.store) >= 1
    assert plane.ok("GET", "/v1/counts")["items"] == before


def test_a_count_reads_no_version_of_before_the_day(plane: Control, clock: Clock) -> None:
    for number in range(5):
        plane.ok("POST", "/v1/bans", {"address": f"203.0.113.{number}", "period": "forever"})
    clock.now += 5 * 86400
    count_days(plane.plane.store)
    with plane.plane.store.writing() as tx:  # as if history of then had been lost: who reads it would miss some
        tx.exec_driver_sql("DELETE FROM entries")
        assert plain_count(tx, plane.plane.store.now()).total() == 0
        assert count_at(tx, plane.plane.store.now()).total() == 5
