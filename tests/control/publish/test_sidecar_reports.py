"""What sidecars say of themselves: nobody without a token holds anybody up, or fills the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest import mock

from sqlalchemy import event
from support.control import Clock, Control, control
from support.servers.stores import new_sqlite

from authz.control.publish import sidecars
from authz.control.publish.sidecars import Sidecars
from authz.control.store.database import open_store
from authz.control.store.published.publications import list_sidecars, serial_of_digest

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def stored(plane: Control) -> set[str]:
    with plane.plane.store.reading() as tx:
        return {sidecar.name for sidecar in list_sidecars(tx, 0)}


def poll(plane: Control, name: str, **headers: str) -> int:
    asked = {"Authz-Sidecar": name, "Prefer": "wait=0"} | headers
    return plane.client.get("/v1/layers/bans", headers=asked).status_code


def test_anonymous_sidecars_do_not_hold_up_a_wait_for_those_with_a_token(plane: Control) -> None:
    ban = plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    token = {"Authorization": f"Bearer {plane.token_of('sidecar')}"}
    for number in range(20):
        poll(plane, f"made-up-{number}")
    waited = plane.ok("POST", "/v1/bans?wait=enforced&timeout=0.3", {"address": "203.0.113.10"})
    assert len(waited["behind"]) == 20  # as long as no sidecar has a token, all are counted
    digest = plane.ok("GET", "/v1/publications?layer=bans&limit=1")["items"][0]["digest"]
    poll(plane, "edge-1", **{"If-None-Match": f'"{digest}"'}, **token)
    done = plane.ok("DELETE", f"/v1/bans/{ban['id']}?wait=enforced&timeout=0.3")
    assert (done["behind"], done["sidecars"]) == (["edge-1"], 1)


def test_nobody_without_a_token_speaks_for_a_sidecar_with_one(plane: Control) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    poll(plane, "edge-1", Authorization=f"Bearer {plane.token_of('sidecar')}")
    poll(plane, "edge-1", **{"Authz-Refused": "bad_signature"})
    [sidecar] = plane.ok("GET", "/v1/publications")["sidecars"]
    assert (sidecar["name"], sidecar["refusal"], sidecar["token"]) == ("edge-1", "", True)


def test_a_wrong_token_is_refused_even_where_files_are_given_to_whoever_asks(plane: Control) -> None:
    assert poll(plane, "edge-1", Authorization="Bearer nonsense") == 401
    assert poll(plane, "edge-1", Authorization=f"Bearer {plane.token_of('source')}") == 403


def report(known: Sidecars, name: str, peer: str | None) -> None:
    known.report(name, "bans", "", "", peer)


def test_anonymous_reports_make_room_for_each_other_and_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MAX_ANONYMOUS", 8), ("MAX_OF_ADDRESS", 5), ("ANONYMOUS_RATE", 1000.0)):
        monkeypatch.setattr(sidecars, name, value)
    with control(tmp_path / "c") as plane:
        known = Sidecars(plane.plane.store)
        report(known, "edge", None)
        report(known, "honest", "192.0.2.1")
        for number in range(30):
            report(known, f"flood-{number}", f"198.51.100.{number % 3}")
        kept = stored(plane)
        assert {"edge", "honest", "flood-29"} <= kept
        assert len(kept) == 9


def test_anonymous_reports_of_one_address_have_a_rate(tmp_path: Path) -> None:
    clock: Any = Clock()
    with control(tmp_path / "c", clock=clock) as plane:
        known = Sidecars(plane.plane.store)
        for number in range(200):
            report(known, f"flood-{number}", "198.51.100.1")
        assert len(stored(plane)) == 40  # a burst of two seconds
        report(known, "other", "198.51.100.2")
        assert "other" in stored(plane)


def test_a_report_that_was_overtaken_by_a_later_one_tells_nothing(plane: Control) -> None:
    plane.ok("POST", "/v1/bans?wait=published", {"address": "203.0.113.9"})
    published = plane.ok("GET", "/v1/publications?layer=bans&limit=1")["items"][0]
    now = plane.plane.store.now()
    here, elsewhere = Sidecars(plane.plane.store), Sidecars(plane.plane.store)  # of two control planes
    here.report("edge-1", "bans", published["digest"], "", at=now)
    here.report("edge-1", "bans", "", "", at=now - 1)  # a thread that came late
    elsewhere.report("edge-1", "bans", "", "", at=now - 1)
    [sidecar] = here.connected()
    assert sidecar.serial == published["serial"]
    here.report("edge-1", "bans", "", "", at=now + 1)
    assert here.connected()[0].serial == 0


def test_many_who_wait_for_sidecars_share_a_look_at_the_store(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    known, connected = plane.plane.sidecars, mock.Mock(wraps=plane.plane.sidecars.connected)
    monkeypatch.setattr(known, "connected", connected)
    monkeypatch.setattr(sidecars, "LOOK", 60.0)
    for _ in range(50):
        assert known.counted() == []
    assert connected.call_count == 1
    poll(plane, "edge-1")
    assert [sidecar.name for sidecar in known.counted()] == ["edge-1"]  # what came meanwhile is not waited for


def test_a_digest_is_found_without_reading_all_publications(tmp_path: Path) -> None:
    store = open_store(new_sqlite(tmp_path / "store.sqlite"))
    asked: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda _c, _cursor, statement, *_: asked.append(statement))
    with store.reading() as tx:
        assert serial_of_digest(tx, "bans", "d") is None
        plan = tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1]}", ("bans", "d")).all()
    assert "ix_publications_layer_digest" in str(plan), plan
    store.close()


def test_a_sidecars_token_does_not_speak_for_a_sidecar_with_another_one(tmp_path: Path) -> None:
    clock: Any = Clock()
    with control(tmp_path / "c", clock=clock) as plane:
        known = Sidecars(plane.plane.store)
        known.report("edge-1", "bans", "", "", token="t-1")
        clock.now += 1
        assert not known.report("edge-1", "bans", "", "bad_signature", token="t-stolen")
        assert [sidecar.refusal for sidecar in known.connected()] == [""]
        clock.now += 1
        assert known.report("edge-1", "bans", "", "expired", token="t-1")
        clock.now += sidecars.CONNECTED + 1  # it got another token, say
        assert known.report("edge-1", "bans", "", "", token="t-2")
