"""The policy protects more than before: no file that sidecars would refuse, and nobody is surprised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.control import control
from support.processes import wait_for

from authz.addresses import parse_network
from authz.control.config import load_control_config
from authz.control.lists import batch
from authz.control.lists.protected import newly_protected
from authz.control.model.records import MICROSECONDS
from authz.control.plane import ControlPlane
from authz.control.store.entries.find import get_entry
from authz.control.store.ledger.changes import lock_heads
from authz.control.store.ledger.history import Wanted, find_changes
from authz.engine.entries.permissions import May, first_violation
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sqlalchemy import Connection
    from support.control import Control

    from authz.addresses import Network
    from authz.control.store.ledger.changes import Head

OFFICE = "198.51.100.7"


def taken_by_sidecars(plane: Control, protected: list[Network]) -> bool:
    """Return whether sidecars whose policy protects these networks take the newest file of bans."""
    now = plane.plane.store.now()
    with plane.plane.store.reading() as tx:
        file = plane.plane.opened.at(tx, "bans", now)
    assert file is not None
    may = May(longest=None, widest_ipv4=16, widest_ipv6=32)
    return first_violation([file], may, protected, now / MICROSECONDS) is None


@pytest.mark.parametrize(
    "ban",
    [{"address": OFFICE}, {"address": "198.51.100.0/24"}, {"address": OFFICE, "list": "gray"}],
    ids=["address", "network", "gray"],
)
def test_a_policy_that_protects_a_banned_address_ends_the_ban_or_is_refused(
    plane: Control, ban: Mapping[str, str]
) -> None:
    made = plane.ok("POST", "/v1/bans?wait=published", ban)
    other = plane.ok("POST", "/v1/bans", {"address": "192.0.2.1"})
    protects = {"protected": [f"{OFFICE}/32"]}
    refused = plane.ask("PUT", "/v1/policy", protects)
    assert (refused.status_code, refused.json()["code"]) == (409, "lock_out")
    assert (refused.json()["entries"], refused.json()["count"]) == ([made["id"]], 1)
    assert plane.ok("GET", "/v1/policy") == {}
    assert not taken_by_sidecars(plane, [parse_network(OFFICE)])
    done = plane.ok("PUT", "/v1/policy?force=true&wait=published&timeout=60", protects)
    assert done["serials"].keys() == {"bans", "policy"}
    assert taken_by_sidecars(plane, [parse_network(OFFICE)])
    assert [entry["id"] for entry in plane.ok("GET", "/v1/bans")["items"]] == [other["id"]]
    ended = plane.ok("GET", f"/v1/history?id={made['id']}")["items"][0]
    assert (ended["action"], ended["forced"], ended["actor"]) == ("delete", True, "admin")
    assert ended["reason"] == f"the protected network {OFFICE}/32 is protected now"


def test_a_ban_that_waited_for_a_policy_is_judged_by_what_that_protects(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not plane.plane.store.is_postgresql:
        return  # a transaction has the whole store from its begin on
    lock = lock_heads

    def locked_later(tx: Connection, layers: Iterable[str]) -> dict[str, Head]:
        monkeypatch.setattr(batch, "lock_heads", lock)
        plane.ok("PUT", "/v1/policy", {"protected": [OFFICE]})  # it has the lock first
        return lock(tx, layers)

    monkeypatch.setattr(batch, "lock_heads", locked_later)
    answer = plane.ask("POST", "/v1/bans", {"address": OFFICE})
    assert (answer.status_code, answer.json().get("code")) == (409, "lock_out")
    assert plane.ok("GET", "/v1/bans")["items"] == []


def test_nobody_puts_a_protected_address_on_the_gray_list_of_a_layer_that_sidecars_would_refuse(plane: Control) -> None:
    plane.ok("PUT", "/v1/policy", {"protected": [OFFICE]})
    for body in ({"address": OFFICE, "list": "gray"}, {"address": "198.51.100.0/24", "list": "gray", "force": True}):
        refused = plane.ask("POST", "/v1/bans", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "lock_out")


def test_entries_of_the_first_layer_are_told_of_and_stay_where_it_is_forced(plane: Control) -> None:
    made = plane.ok("POST", "/v1/entries", {"networks": ["198.51.0.0/16", "203.0.113.0/24"], "period": "forever"})
    spared = {"networks": ["198.51.96.0/20", "192.0.2.0/24"], "except": [OFFICE]}
    plane.ok("POST", "/v1/entries", spared)
    refused = plane.ask("PUT", "/v1/policy", {"protected": [OFFICE]})
    assert refused.json()["entries"] == [made["id"]]
    plane.ok("PUT", "/v1/policy?force=true", {"protected": [OFFICE]})
    assert plane.ok("GET", f"/v1/entries/{made['id']}")["version"] == 1
    wait_for(lambda: any(OFFICE in warning for warning in plane.plane.publisher.warnings["policy"]))


def test_what_was_protected_before_is_not_looked_for_again(plane: Control) -> None:
    plane.ok("PUT", "/v1/policy", {"protected": ["198.51.100.0/24"]})
    assert plane.ok("PUT", "/v1/policy", {"protected": ["198.51.100.0/25", "198.51.100.200"]})["serials"]
    assert newly_protected(["198.51.100.0/24", "2001:db8::/32"], ["198.51.100.9", "198.51.0.0/16", "2001:db8::1"]) == [
        parse_network("198.51.0.0/16")
    ]


def test_a_ban_of_what_control_yaml_protects_keeps_it_from_starting_unless_forced(
    store_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "c"
    with control(folder, store=store_url) as plane:
        made = plane.ok("POST", "/v1/bans", {"address": OFFICE})
        plane.ok("POST", "/v1/bans", {"address": "192.0.2.1"})
        first = plane.ok(
            "POST", "/v1/entries", {"networks": ["198.51.100.0/28"], "except": ["198.51.100.1"], "force": True}
        )
    assert first["layer"] == "policy"
    file = folder / "control.yaml"
    file.write_text(file.read_text() + f"protected: [{OFFICE}/32]\n")
    config = load_control_config(file, {})
    with pytest.raises(InputError, match=f"^protected: the entry '{made['id']}' keeps out"):
        ControlPlane.open(config, file)
    for force in (True, False):  # and then there is nothing to force
        again = ControlPlane.open(config, file, force=force)
        with again.store.reading() as tx:
            assert get_entry(tx, made["id"]) is None
            assert get_entry(tx, first["id"]) is not None
            [ended] = find_changes(tx, Wanted(subject=made["id"]), limit=1)
        assert (ended.action, ended.forced, ended.actor_kind) == ("delete", True, "system")
        again.store.close()
