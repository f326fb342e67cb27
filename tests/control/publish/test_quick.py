"""From a commit to the sidecars nothing is read twice, and nobody waits for what is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.control import Clock, SignerInProcess, control
from support.processes import wait_for

from authz.control.model.problems import SignerGone
from authz.control.publish import offers, one_layer, publisher
from authz.control.publish.order import Attest, Order, Refused
from authz.control.publish.publisher import SPACING, spacing
from authz.control.store.ledger.changes import read_heads
from authz.control.store.published.parts import known_parts
from authz.control.store.published.publications import content_of
from authz.control.store.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from support.control import Control

    from authz.control.publish.order import Answer


class Counted:
    """A function that counts its calls for the layer of bans."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.count = 0

    def __call__(self, *arguments: Any) -> Any:
        self.count += "bans" in arguments
        return self._function(*arguments)


def test_who_cares_for_one_layer_is_not_woken_for_another(plane: Control) -> None:
    signals, woken = Signals(plane.plane.store), list[str]()
    signals.on("changed", lambda: woken.append("bans"), layer="bans")
    signals.on("changed", lambda: woken.append("policy"), layer="policy")
    signals.on("changed", lambda: woken.append("any"))
    signals.wake("changed", ["bans"])
    assert woken == ["bans", "any"]
    signals.wake("changed")
    assert woken[2:] == ["bans", "policy", "any"]


def test_another_control_plane_is_told_which_layers_changed(plane: Control) -> None:
    if not plane.plane.store.is_postgresql:
        return  # one process has its store
    signals, woken = Signals(plane.plane.store), list[str]()
    signals.on("changed", lambda: woken.append("policy"), layer="policy")
    signals.on("changed", lambda: woken.append("bans"), layer="bans")
    signals.start()
    try:
        wait_for(lambda: len(woken) >= 2, "it listens")
        woken.clear()
        plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
        wait_for(lambda: "bans" in woken, "the ban is told of")
        assert "policy" not in woken
    finally:
        signals.close()


def test_files_come_as_quickly_as_they_are_made_and_further_apart_where_that_takes_long() -> None:
    assert [spacing(took) for took in (0.0, 0.01, 0.03, 0.2)] == [0.0, 0.02, 0.06, SPACING]


def test_a_file_is_offered_without_being_read_from_the_store_again(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.8"})
    read = Counted(content_of)
    for name in ("content_of", "part_content"):
        monkeypatch.setattr(offers, name, read)
    made = plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    offer = plane.plane.offers.get("bans")
    assert offer is not None
    assert offer.publication.serial >= made["serial"]
    assert read.count == 0
    with plane.plane.store.reading() as tx:
        assert content_of(tx, "bans", offer.publication.serial) == offer.content


def test_parts_that_stay_are_not_asked_for_at_each_change(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.8"})
    looked = Counted(known_parts)
    monkeypatch.setattr(one_layer, "known_parts", looked)
    for last in range(9, 13):
        plane.ok("POST", "/v1/bans?wait=published", {"address": f"203.0.113.{last}"})
    assert looked.count == 0


def test_a_sidecar_has_a_new_file_while_its_report_waits_for_the_store(plane: Control) -> None:
    store = plane.plane.store
    if store.is_postgresql:
        return  # its writers of other tables do not wait
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.8"})
    [older] = plane.ok("GET", "/v1/publications?layer=bans&limit=1")["items"]
    made = plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    headers = {"Authz-Sidecar": "edge-1", "Prefer": "wait=30", "If-None-Match": f'"{older["digest"]}"'}
    with store.writing():  # nobody else writes meanwhile
        answer = plane.client.get("/v1/layers/bans", headers=headers)
        assert (answer.status_code, int(answer.headers["authz-serial"])) == (200, made["serial"])
    wait_for(lambda: [s["serial"] for s in plane.ok("GET", "/v1/publications")["sidecars"]] == [older["serial"]])


def test_reports_of_sidecars_do_not_wait_for_the_disk_and_changes_do(plane: Control) -> None:
    store = plane.plane.store
    question = "SHOW synchronous_commit" if store.is_postgresql else "PRAGMA synchronous"
    for durable, expected in ((True, {"on", 2}), (False, {"off", 1}), (True, {"on", 2})) * 2:
        with store.writing(durable=durable) as tx:
            assert tx.exec_driver_sql(question).scalar_one() in expected


def test_what_nobody_published_for_long_is_signed_in_steps(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    monkeypatch.setattr(one_layer, "MAX_STEP", 4)
    monkeypatch.setattr(publisher, "LOOK", 0.02)
    with monkeypatch.context() as away:
        away.setattr(plane.plane.publisher, "lead", lambda: False)
        for number in range(6):
            plane.ok("POST", "/v1/bans", {"address": f"198.51.100.{number}"})
        plane.ok("POST", "/v1/entries/bulk", [{"networks": [f"192.0.2.{number}"]} for number in range(6)])
    plane.ok("POST", "/v1/bans?wait=published&timeout=30", {"address": "203.0.113.10"})
    files = plane.ok("GET", "/v1/publications?layer=bans&limit=10")["items"]
    assert [file["entries"] for file in files][:4] == [14, 13, 5, 1]  # 12 changes: 4, then the rest of a transaction
    assert files[2]["serial"] - files[3]["serial"] == 4


def test_a_signer_that_has_signed_nothing_is_told_no_history(store_url: str, tmp_path: Path) -> None:
    orders: list[Order | Attest] = []

    class Recording(SignerInProcess):
        def ask(self, order: Order | Attest) -> Answer:
            orders.append(order)
            return super().ask(order)

    with control(tmp_path / "c", store=store_url, signer=Recording) as plane:
        plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    whole = [order for order in orders if isinstance(order, Order) and order.entries is not None]
    assert whole
    assert all(order.changes == [] for order in whole)


def test_what_was_refused_and_then_taken_back_stays_in_the_way_of_no_step(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Strict(SignerInProcess):
        """Has narrower limits than the control plane."""

        def ask(self, order: Order | Attest) -> Answer:
            changes = {change.subject: change for change in order.changes} if isinstance(order, Order) else {}
            entries = [change.entry_after() for change in changes.values() if ":" not in change.subject]
            if any(entry is not None and entry.networks == ("198.51.100.0",) for entry in entries):
                return Refused(code="not_permitted", message="found 198.51.100.0, expected it not")
            return super().ask(order)

    monkeypatch.setattr(one_layer, "MAX_STEP", 4)
    monkeypatch.setattr(one_layer, "_TRY_AGAIN", 0.1)
    monkeypatch.setattr(publisher, "LOOK", 0.02)
    with control(tmp_path / "c", store=store_url, signer=Strict) as plane:
        plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
        with monkeypatch.context() as away:
            away.setattr(plane.plane.publisher, "lead", lambda: False)
            made = [plane.ok("POST", "/v1/bans", {"address": f"198.51.100.{number}"}) for number in range(6)]
            assert made[0]["networks"] == ["198.51.100.0"]
            plane.ok("DELETE", f"/v1/bans/{made[0]['id']}")
        last = plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.10"})
        assert last["published"]


def test_a_signer_that_is_away_for_long_has_one_change_written_that_signs_anew(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(SignerInProcess):
        since = False
        asked = 0

        def ask(self, order: Order | Attest) -> Answer:
            Away.asked += order.layer == "bans"
            if Away.since:
                raise SignerGone("it is away")
            return super().ask(order)

    monkeypatch.setattr(publisher, "LOOK", 0.02)
    clock = Clock()
    with control(tmp_path / "c", store=store_url, signer=Away, clock=clock) as plane:
        made = plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9", "period": "1d"})
        Away.since, Away.asked = True, 0
        clock.now += 7 * 3600
        wait_for(lambda: Away.asked > 3)
        with plane.plane.store.reading() as tx:
            assert read_heads(tx)["bans"].sequence == made["serial"] + 1
