"""Very many rows are a job: accepted, done with the rights of who asked, and done once whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.control import Control, control, opened
from support.processes import wait_for

from authz.control.access.callers import authenticate
from authz.control.api.common import operations
from authz.control.api.lists import entries
from authz.control.maintenance import jobs
from authz.control.maintenance.jobs import JobRounds
from authz.control.store.jobs import next_job

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_BULK", 20)
    monkeypatch.setattr(jobs, "CHUNK", 10)


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"networks": [f"203.0.113.{number}"], "period": "2h", **more} for number in range(count)]


def stopped(plane: Control) -> JobRounds:
    """Let nobody but the test do jobs."""
    for rounds in plane.plane.inputs:
        rounds.close()
    return JobRounds(plane.plane, entries.add_row)


def test_many_rows_are_accepted_and_become_entries(plane: Control) -> None:
    sent = [*rows(45), {"networks": ["203.0.113.7"], "period": "3h"}, {"networks": ["not one"], "period": "3h"}]
    answer = plane.ask("POST", "/v1/entries/bulk", sent)
    assert answer.status_code == 202
    where = answer.headers["location"]
    job = wait_for(lambda: (got := plane.ok("GET", where))["state"] == "done" and got)
    assert (job["total"], job["done"], job["added"]) == (47, 47, 45)
    assert [(refusal["row"], refusal["status"], refusal["code"]) for refusal in job["refused"]] == [
        (45, 409, "exists"), (46, 422, "invalid"),
    ]  # fmt: skip
    assert len(plane.ok("GET", "/v1/bans?limit=100")["items"]) == 45
    assert plane.ok("GET", "/v1/history")["items"][0]["actor"] == "admin"
    assert [listed["id"] for listed in plane.ok("GET", "/v1/jobs")] == [job["id"]]


def test_few_rows_are_answered_at_once(plane: Control) -> None:
    assert len(plane.ok("POST", "/v1/entries/bulk", rows(20))["items"]) == 20


def test_a_job_that_was_cut_off_goes_on_where_it_was_and_does_nothing_twice(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        rounds = stopped(plane)
        answer = plane.ask("POST", "/v1/entries/bulk", rows(45))
        with plane.plane.store.reading() as tx:
            job = next_job(tx)
            assert job is not None
        rounds._step(job, rows(45))
        token = plane.token
    with opened(tmp_path / "c", token) as plane:
        where = answer.headers["location"]
        done = wait_for(lambda: (got := plane.ok("GET", where))["state"] == "done" and got)
        assert (done["added"], done["refused"]) == (45, [])
        assert len(plane.ok("GET", "/v1/history?limit=100")["items"]) == 45


def test_a_job_of_a_token_that_was_revoked_meanwhile_is_not_done(plane: Control) -> None:
    rounds = stopped(plane)
    made = plane.ok("POST", "/v1/tokens", {"name": "importer", "role": "editor"})
    where = plane.ask("POST", "/v1/entries/bulk", rows(30), token=made["secret"]).headers["location"]
    plane.ok("DELETE", f"/v1/tokens/{made['id']}")
    rounds.round()
    job = plane.ok("GET", where)
    assert (job["state"], job["added"]) == ("failed", 0)
    assert "revoked" in job["why"]


def test_a_tenant_sees_no_job_of_another_and_lists_for_its_own_applications(plane: Control) -> None:
    rounds = stopped(plane)
    where = plane.ask("POST", "/v1/entries/bulk", rows(30)).headers["location"]
    theirs = plane.token_of("editor", "team-a", ("team-a-*",))
    assert plane.ask("GET", where, token=theirs).status_code == 404
    assert plane.ok("GET", "/v1/jobs", token=theirs) == []
    mixed = [*rows(25, applications=["team-a-web"]), *rows(1, applications=["shop"])]
    own = plane.ask("POST", "/v1/entries/bulk", mixed, token=theirs).headers["location"]
    rounds.round()
    job = plane.ok("GET", own, token=theirs)
    assert (job["added"], [refusal["code"] for refusal in job["refused"]]) == (25, ["foreign_application"])


def test_who_may_not_edit_makes_no_job(plane: Control) -> None:
    assert plane.ask("POST", "/v1/entries/bulk", rows(30), token=plane.token_of("viewer")).status_code == 403


def test_a_job_that_is_asked_for_twice_by_one_key_is_one_job(plane: Control) -> None:
    first = plane.ask("POST", "/v1/entries/bulk", rows(45), Idempotency_Key="k1").json()
    assert plane.ask("POST", "/v1/entries/bulk", rows(45), Idempotency_Key="k1").json()["id"] == first["id"]
    assert (
        plane.ask("POST", "/v1/entries/bulk", rows(44), Idempotency_Key="k1").json()["code"] == "idempotency_key_reused"
    )
    assert len(plane.ok("GET", "/v1/jobs")) == 1


def test_a_row_that_no_version_of_now_can_read_stops_no_job(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        rounds = stopped(plane)
        caller = authenticate(plane.plane.store, plane.token, None, "")
        jobs.ask_job(plane.plane, caller, [{"networks": 7}, *rows(1)])
        assert rounds.round() == 1
        (job,) = plane.ok("GET", "/v1/jobs")
        assert (job["added"], job["refused"][0]["code"]) == (1, "invalid")


def test_rows_that_name_much_are_done_few_at_a_time_and_none_is_refused_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MAX_NETWORKS", 8)
    monkeypatch.setattr(jobs, "SUBJECTS_AT_ONCE", 8)
    sent = [{"networks": [f"203.0.113.{4 * row + place}" for place in range(3)]} for row in range(25)]
    with control(tmp_path / "c") as plane:
        where = plane.ask("POST", "/v1/entries/bulk", sent).headers["location"]
        job = wait_for(lambda: (got := plane.ok("GET", where))["state"] == "done" and got)
        assert (job["added"], job["refused"]) == (25, [])


def test_a_job_names_no_more_subjects_than_a_thread_can_bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "MAX_JOB_SUBJECTS", 50)
    with control(tmp_path / "c") as plane:
        answer = plane.ask("POST", "/v1/entries/bulk", rows(26, **{"except": ["203.0.113.250"]}))
        assert (answer.status_code, answer.json()["code"]) == (422, "too_many"), answer.text
        assert plane.ok("GET", "/v1/jobs") == []
