"""A change that denies many addresses waits for a second person, however it is asked for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from sqlalchemy import text
from support.control import Clock, Control, control

from authz.control.access import approvals
from authz.control.api.common import operations
from authz.control.api.common.bodies import EntryInput
from authz.control.api.common.operations import check_together
from authz.control.lists.rules.guard import FourEyes, addresses_of
from authz.control.model.problems import NeedsApproval
from authz.control.model.records import Written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONTENT: Final = text("SELECT content FROM entries WHERE id = :of")
_ORIGIN: Final = text("UPDATE entries SET content = :content WHERE id = :of")
NETS = [f"198.18.{number}.0/24" for number in range(5)]  # 256 addresses each


@pytest.fixture
def eyes(tmp_path: Path) -> Iterator[Control]:
    with control(tmp_path / "c", extra="four_eyes: {addresses: 600, allow: true}\n") as plane:
        yield plane


@pytest.mark.parametrize(("networks", "excepted", "count"), [
    (["10.0.0.0/16"], ["10.0.0.0/17", "10.0.0.0/17"], 1 << 15),
    (["10.0.0.0/16"], ["10.0.0.0/17", "10.0.0.0/18", "10.0.64.0/18"], 1 << 15),
    (["10.2.0.0/24", "10.3.0.0/24"], ["10.2.0.0/16"], 256),
    (["10.0.0.0/24"], ["10.0.0.0/16"], 0),
    (["2001:db8::/62"], ["2001:db8::1"], 4),
    (["2001:db8::/62"], ["2001:db8::/64", "2001:db8::/64"], 3),
    (["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"], [], 2),
])  # fmt: skip
def test_four_eyes_count_an_exception_once(networks: list[str], excepted: list[str], count: int) -> None:
    assert addresses_of(Written(networks=tuple(networks), except_=tuple(excepted))) == count


def test_four_eyes_are_not_passed_by_an_exception_that_is_named_twice(eyes: Control) -> None:
    entry = {"networks": ["10.0.0.0/16"], "except": ["10.0.0.0/17", "10.0.0.0/17"]}
    assert eyes.ask("POST", "/v1/entries", entry).status_code == 202


def test_four_eyes_count_together_what_one_request_denies(eyes: Control) -> None:
    rows = [{"networks": [network]} for network in NETS]
    answered = eyes.ok("POST", "/v1/entries/bulk", rows)["items"]
    assert [row["status"] for row in answered] == [201, 201, 409, 409, 409]
    assert answered[2]["problem"]["code"] == "needs_approval"
    again = eyes.ok("POST", "/v1/entries/bulk", rows[:2])["items"]
    assert [row["problem"]["code"] for row in again] == ["exists", "exists"]  # which denies nobody anew
    replaced = eyes.ask("PUT", "/v1/sources/list/entries", rows[2:])
    assert (replaced.status_code, replaced.json()["code"]) == (422, "rows_refused")


def test_four_eyes_let_what_is_denied_already_have_another_end(eyes: Control) -> None:
    for start in (0, 2):
        eyes.ok("PUT", f"/v1/sources/list-{start}/entries", [{"networks": [n]} for n in NETS[start : start + 2]])
        renewed = [{"networks": [network], "period": "2d"} for network in NETS[start : start + 2]]
        assert len(eyes.ok("PUT", f"/v1/sources/list-{start}/entries", renewed)["changed"]) == 2


def test_four_eyes_count_together_what_a_job_denies(eyes: Control) -> None:
    rows = [{"networks": [f"198.{18 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"]} for number in range(5001)]
    answer = eyes.ask("POST", "/v1/entries/bulk", rows)
    assert (answer.status_code, answer.json()["code"]) == (409, "needs_approval")
    assert eyes.ok("GET", "/v1/jobs") == []


def test_four_eyes_count_a_job_until_it_is_too_much_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Written] = []

    def note(entry: Written) -> int:
        counted.append(entry)
        return addresses_of(entry)

    monkeypatch.setattr(operations, "addresses_of", note)
    with pytest.raises(NeedsApproval):
        check_together([EntryInput(networks=(network,)) for network in NETS], FourEyes(addresses=600))
    assert len(counted) == 3


def test_a_repeated_request_waits_once_for_a_second_person(store_url: str, tmp_path: Path) -> None:
    with control(tmp_path / "c", store=store_url, extra="four_eyes: {addresses: 600}\n") as eyes:
        asked = [
            eyes.ask("POST", "/v1/bans", {"address": "10.0.0.0/16"}, Idempotency_Key="once").json() for _ in range(2)
        ]
        assert asked[0] == asked[1]
        assert len(eyes.ok("GET", "/v1/approvals")) == 1
        other = eyes.ask("POST", "/v1/bans", {"address": "10.1.0.0/16"}, Idempotency_Key="once")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_an_undo_that_needs_a_second_person_is_refused_and_not_accepted(eyes: Control) -> None:
    approver = eyes.token_of("approver")
    asked = eyes.ask("POST", "/v1/entries", {"networks": ["10.0.0.0/16"]}).json()
    made: Any = eyes.ok("POST", f"/v1/approvals/{asked['approval']}/approve", token=approver)
    gone = eyes.ok("DELETE", f"/v1/entries/{made['id']}", If_Match="*")
    answer = eyes.ask("POST", "/v1/undo", {"layer": gone["layer"], "serial": gone["serial"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "needs_approval")


def test_nobody_hides_a_waiting_change_behind_very_many(eyes: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "MAX_WAITING", 2)
    answers = [eyes.ask("POST", "/v1/bans", {"address": f"10.{number}.0.0/16"}) for number in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 409]
    assert answers[2].json()["code"] == "too_many"


def test_four_eyes_count_what_brings_back_entries_that_have_ended(tmp_path: Path) -> None:
    clock = Clock(time.time())
    with control(tmp_path / "c", extra="four_eyes: {addresses: 600, allow: true}\n", clock=clock) as plane:
        for start in (0, 2):
            rows = [{"networks": [network], "period": "5m"} for network in NETS[start : start + 2]]
            plane.ok("POST", "/v1/entries/bulk", rows)
        ids = [entry["id"] for entry in plane.ok("GET", "/v1/entries")["items"]]
        with plane.plane.store.writing() as tx:  # one source had sent them, a few at a time
            for name in ids:
                content = msgspec.json.decode(tx.execute(_CONTENT, {"of": name}).scalar_one()) | {"origin": "list"}
                tx.execute(_ORIGIN, {"of": name, "content": msgspec.json.encode(content).decode()})
        clock.now += 600
        again = [{"networks": [network], "period": "1h"} for network in NETS[:4]]
        answer = plane.ask("PUT", "/v1/sources/list/entries", again)
        assert (answer.status_code, answer.json()["code"]) == (422, "rows_refused"), answer.text
