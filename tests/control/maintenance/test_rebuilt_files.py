"""From `changes` alone every published file is made again: the first layer to the byte, bans with equal content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from sqlalchemy import select
from support.processes import wait_for

from authz.control.maintenance.check import rebuild_engine
from authz.control.model.records import Entry
from authz.control.publish.build import build_policy
from authz.control.publish.held import ban_of
from authz.control.store.ledger.changes import changes_of
from authz.control.store.ledger.follow import follow
from authz.control.store.published.publications import content_of, list_publications
from authz.control.store.tables import changes, documents, entries
from authz.publisher.bans import tiers
from authz.publisher.whole_layer import read_whole, table_of
from authz.snapshot.read import inspect_snapshot
from authz.snapshot.signing.signers import load_signer

if TYPE_CHECKING:
    from pathlib import Path

    from support.control import Control

    from authz.control.store.published.publications import Publication
    from authz.publisher.bans import Ban

FOREVER = (1 << 63) - 1


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so low that a few bans move through all tiers."""
    for name, limit in (("MAX_RECENT", 2), ("MAX_FIRST", 5), ("MAX_TOMBSTONES", 2)):
        monkeypatch.setattr(tiers, name, limit)


def lived(plane: Control) -> None:
    """Do some of everything, each change with a file of its own."""
    wait = "wait=published&timeout=30"
    made = []
    for number in range(12):
        body = {"address": f"203.0.113.{number}", "applications": ["shop"], "reason": f"reason {number % 3}"}
        made.append(plane.ok("POST", f"/v1/bans?{wait}", body)["id"])
    for number in (1, 4, 7):
        plane.ok("DELETE", f"/v1/bans/{made[number]}?{wait}")
    plane.ok("PATCH", f"/v1/entries/{made[0]}?{wait}", {"period": "3d"}, If_Match="*")
    plane.ok("POST", f"/v1/bans?{wait}", {"address": "198.51.100.0/24", "period": "forever"})
    plane.ok("PUT", f"/v1/applications/shop?{wait}", {"mode": "block", "default": "allow"})
    body = {"list": "allow", "networks": ["192.0.2.0/28"], "except": ["192.0.2.7"], "expires": "forever"}
    plane.ok("POST", f"/v1/entries?{wait}", body)
    plane.ok("PUT", f"/v1/policy?{wait}", {"protected": ["192.0.2.128/25"]})


def state_at(plane: Control, serial: int, layer: str) -> tuple[list[Entry], dict[str, str]]:
    """Return what a layer had at a serial, from its changes alone."""
    with plane.plane.store.reading() as tx:
        where = (changes.c.layer == layer) & (changes.c.sequence <= serial)
        made = list(changes_of(tx.execute(select(changes).where(where).order_by(changes.c.sequence))))
    engine = rebuild_engine()
    with engine.begin() as state:
        for change in made:
            follow(state, [change])
        held = select(entries.c.content).where(entries.c.recorded_to == FOREVER).order_by(entries.c.id)
        held_then = [msgspec.json.decode(text, type=Entry) for text in state.execute(held).scalars()]
        texts = select(documents.c.name, documents.c.content).where(documents.c.recorded_to == FOREVER)
        named = {row.name: row.content for row in state.execute(texts)}
    engine.dispose()
    return held_then, named


def published(plane: Control, layer: str) -> list[tuple[Publication, bytes]]:
    with plane.plane.store.reading() as tx:
        publications = [
            publication
            for publication in list_publications(tx, layer, limit=100)
            if content_of(tx, layer, publication.serial)
        ]
        return [(publication, content_of(tx, layer, publication.serial) or b"") for publication in publications]


def test_every_file_of_bans_has_what_the_changes_up_to_it_say(plane: Control, tmp_path: Path) -> None:
    lived(plane)
    wait_for(lambda: plane.client.get("/readyz").status_code == 200)
    checked = parts = 0
    for publication, content in published(plane, "bans"):
        folder = tmp_path / str(publication.serial)
        folder.mkdir()
        head = folder / "bans"
        head.write_bytes(content)
        for serial in publication.part_serials():
            part = plane.plane.offers.part("bans", serial)
            assert part is not None
            head.with_name(f"bans.{serial}").write_bytes(part)
            parts += 1
        snapshot, held = read_whole(head, now=0)
        created = snapshot.manifest.created
        found: list[Any] = sorted(map(_row, table_of(snapshot, held, created).bans()))
        found += [("network", entry.id, entry.expires or None) for entry in snapshot.entries()]
        expected: list[Any] = []
        networks: list[Any] = []
        for entry in state_at(plane, publication.serial, "bans")[0]:
            ban = ban_of(entry)
            if not ban.live(created):
                continue
            if ban.is_single(created):
                expected.append(_row(ban))
            else:
                networks.append(("network", ban.id, ban.expires))
        assert msgspec.json.encode(_plain(found)) == msgspec.json.encode(_plain(sorted(expected) + networks))
        checked += 1
    assert checked >= 10
    assert parts >= 5


def _row(ban: Ban) -> tuple[Any, ...]:
    """Return a ban as it is compared: sets have no order."""
    return (*ban._replace(applications=frozenset()), *sorted(ban.applications))


def _plain(rows: list[Any]) -> list[Any]:
    return [[str(value) for value in row] for row in rows]


def test_every_file_of_the_first_layer_is_made_again_to_the_byte(plane: Control) -> None:
    lived(plane)
    signer = load_signer(str(plane.folder / "keys" / "policy.key"), None)
    checked = 0
    for publication, content in published(plane, "policy"):
        file = plane.folder / "then.snapshot"
        file.write_bytes(content)
        created = inspect_snapshot(file).manifest.created
        held, named = state_at(plane, publication.serial, "policy")
        again = build_policy(held, named, signer, serial=publication.serial, created=created, folder=plane.folder)
        assert again.content == content
        checked += 1
    assert checked >= 3
