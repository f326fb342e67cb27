"""Many entries in one change: an import takes the place of the one before; a filter deletes what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.control import control

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Control

SOURCE = "/v1/sources/scanners/entries"


def rows(*addresses: str, **more: Any) -> list[dict[str, Any]]:
    return [{"networks": [address], "expires": "forever", **more} for address in addresses]


def listed(plane: Control, origin: str = "scanners", **more: Any) -> dict[str, str]:
    """Return ids of the entries of a source by their address."""
    items = plane.ok("GET", f"/v1/entries?origin={origin}", **more)["items"]
    return {entry["networks"][0]: entry["id"] for entry in items}


def test_an_import_replaces_the_one_before_in_one_change(plane: Control) -> None:
    plane.ok("PUT", SOURCE, rows("203.0.113.1", "203.0.113.2", "203.0.113.3"))
    first = listed(plane)
    done = plane.ok("PUT", SOURCE, rows("203.0.113.2") + rows("203.0.113.3", reason="worse") + rows("203.0.113.4"))
    second = listed(plane)
    assert second.keys() == {"203.0.113.2", "203.0.113.3", "203.0.113.4"}
    assert done["deleted"] == [first["203.0.113.1"]]
    assert done["kept"] == [first["203.0.113.2"]] == [second["203.0.113.2"]]
    assert done["changed"] == [first["203.0.113.3"]]
    assert done["added"] == [second["203.0.113.4"]]
    changes = plane.ok("GET", "/v1/history?limit=3")["items"]
    assert {(change["action"], change["time"]) for change in changes} == {
        (action, changes[0]["time"]) for action in ("add", "change", "delete")
    }
    again = plane.ok("PUT", SOURCE, rows("203.0.113.2") + rows("203.0.113.3", reason="worse") + rows("203.0.113.4"))
    assert (len(again["kept"]), again["added"], again["changed"], again["deleted"]) == (3, [], [], [])


def test_an_import_leaves_alone_what_others_put_on_the_list(plane: Control) -> None:
    ban = plane.ok("POST", "/v1/bans", {"address": "203.0.113.1"})["id"]
    plane.ok("PUT", "/v1/sources/other/entries", rows("203.0.113.2"))
    token = plane.token_of("editor", "team-a", ("team-a-*",))
    plane.ok("PUT", SOURCE, rows("203.0.113.3", applications=["team-a-web"]), token=token)
    done = plane.ok("PUT", SOURCE, rows("203.0.113.1", "203.0.113.5", "203.0.113.5"))
    assert [(skipped["row"], skipped["id"]) for skipped in done["skipped"]] == [
        (0, ban),
        (2, listed(plane)["203.0.113.5"]),
    ]
    assert done["deleted"] == []
    assert listed(plane, token=token).keys() == {"203.0.113.3"}
    assert listed(plane, "other").keys() == {"203.0.113.2"}


def test_one_refused_row_keeps_an_import_from_being_done(plane: Control) -> None:
    plane.ok("PUT", SOURCE, rows("203.0.113.1"))
    answer = plane.ask("PUT", SOURCE, rows("203.0.113.2", "no network") + rows("127.0.0.0/8"))
    assert (answer.status_code, answer.json()["code"]) == (422, "rows_refused")
    assert "/1/networks/0" in [error["pointer"] for error in answer.json()["errors"]]
    assert listed(plane).keys() == {"203.0.113.1"}
    for body in ([], rows(*(f"10.{n // 256}.{n % 256}.1" for n in range(5001)))):
        assert plane.ask("PUT", SOURCE, body).status_code == 422
    assert plane.ask("PUT", "/v1/sources/trigger:x/entries", rows("203.0.113.2")).status_code == 422
    assert listed(plane).keys() == {"203.0.113.1"}


def test_a_filter_deletes_what_was_expected_and_otherwise_nothing(plane: Control) -> None:
    plane.ok("PUT", SOURCE, rows("203.0.113.1", "203.0.113.2", "198.51.100.1"))
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.3"})
    wrong = plane.ask("DELETE", "/v1/entries?origin=scanners&expect=2")
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["found"]) == (409, "unexpected_count", 3)
    assert plane.ask("DELETE", "/v1/entries?origin=scanners").status_code == 400
    assert plane.ask("DELETE", "/v1/entries?expect=4").json()["code"] == "invalid"
    inside = plane.ok("DELETE", "/v1/entries?origin=scanners&address=203.0.113.0/24&expect=2&reason=over")
    assert len(inside["deleted"]) == 2
    left = {entry["networks"][0] for entry in plane.ok("GET", "/v1/entries")["items"]}
    assert left == {
        "198.51.100.1",
        "203.0.113.3",
    }
    newest = plane.ok("GET", "/v1/history?limit=1")["items"][0]
    assert (newest["action"], newest["reason"], newest["serial"]) == ("delete", "over", inside["serials"]["bans"])


@pytest.mark.parametrize("role", ["viewer", "operator", "approver", "sidecar"])
def test_many_entries_are_changed_by_editors_only(plane: Control, role: Any) -> None:
    token = plane.token_of(role)
    assert plane.ask("PUT", SOURCE, rows("203.0.113.1"), token=token).status_code == 403
    assert plane.ask("DELETE", "/v1/entries?list=deny&expect=1", token=token).status_code == 403


def test_a_filter_finds_nothing_of_another_tenant(plane: Control) -> None:
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.3"})
    token = plane.token_of("editor", "team-a", ("team-a-*",))
    answer = plane.ask("DELETE", "/v1/entries?list=deny&expect=1", token=token)
    assert (answer.status_code, answer.json()["found"]) == (409, 0)


def test_many_entries_do_not_pass_four_eyes(tmp_path: Path) -> None:
    with control(tmp_path / "c", extra="four_eyes: {addresses: 16, allow: true}\n") as plane:
        plane.ok("PUT", SOURCE, rows("203.0.113.1"))
        answer = plane.ask("PUT", SOURCE, rows("203.0.113.0/24"))
        assert (answer.status_code, answer.json()["code"]) == (422, "rows_refused")
        assert listed(plane).keys() == {"203.0.113.1"}
