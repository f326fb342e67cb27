"""The store itself: policy files in and out, backup, check, retention, migrations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, update
from support.control import Clock, Control, control, opened

from authz.addresses import parse_network
from authz.control.maintenance.backup import back_up, restore
from authz.control.maintenance.check import check_store
from authz.control.maintenance.retention import forget_before
from authz.control.maintenance.transfer import Imported, as_yaml, exported_policy, import_policy, read_policy_file
from authz.control.model.holds import Hold
from authz.control.model.records import MAIN_TENANT, Actor
from authz.control.store.access.tokens import get_tenant
from authz.control.store.database import create_store, migrate
from authz.control.store.detection.holds import add_hold, list_holds
from authz.control.store.tables import changes, entries, metadata
from authz.errors import InputError

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from pathlib import Path

    from sqlalchemy import Engine

POLICY = """\
version: 1
applications:
  '*': {mode: block, default: allow}
  shop: {mode: safe_blocking, hosts: [shop.example.com], deny: {status: 429, body: slow down}}
entries:
- {id: office, list: allow, networks: [192.0.2.0/24, 198.51.100.10-198.51.100.30], except: [192.0.2.7]}
- {id: vpn, list: allow, hosts: [vpn.example.com], applications: [shop]}
- {id: far, list: deny, countries: [KP], regions: [US-CA], asns: [64496], action: warn, expires: '2100-01-01T00:00:00Z'}
- {list: gray, networks: ['2001:db8::/32'], reason: odd, author: ops@example.com}
geo: {country: [geo/country.mmdb], asn: [geo/asn.csv]}
limits: {widest_ipv4: 8}
protected: [203.0.113.0/24]
"""


def imported(plane: Control, path: Path, text: str) -> Imported:
    path.write_text(text)
    policy = read_policy_file(path)
    store = plane.plane.store
    with store.writing() as tx:
        tenant = get_tenant(tx, MAIN_TENANT)
        assert tenant is not None
        actor = Actor(MAIN_TENANT, "ops", "import", "import")
        return import_policy(tx, plane.plane.config, actor, tenant, store.now(), policy, "policy.yaml")


def exported(plane: Control, **options: bool) -> dict[str, Any]:
    with plane.plane.store.reading() as tx:
        content: dict[str, Any] = yaml.safe_load(as_yaml(exported_policy(tx, **options)))
    return content


def test_a_policy_goes_in_and_comes_out_as_it_was(plane: Control, tmp_path: Path) -> None:
    done = imported(plane, tmp_path / "policy.yaml", POLICY)
    assert (done.added, done.changed, done.deleted, done.skipped) == (4, 0, 0, [])
    before, after = yaml.safe_load(POLICY), exported(plane)
    derived = next(entry["id"] for entry in after["entries"] if entry["id"].startswith("e-"))
    before["entries"][3]["id"] = derived
    assert {entry["id"]: entry for entry in after.pop("entries")} == {e["id"]: e for e in before.pop("entries")}
    assert after == before


def test_an_import_again_changes_what_is_different_and_deletes_what_is_gone(plane: Control, tmp_path: Path) -> None:
    imported(plane, tmp_path / "policy.yaml", POLICY)
    plane.ok("POST", "/v1/entries", {"list": "allow", "networks": ["192.0.2.77"]})
    again = POLICY.replace("192.0.2.7]", "192.0.2.8]").replace("- {id: vpn", "- {id: vpn2")
    done = imported(plane, tmp_path / "policy.yaml", again)
    assert (done.added, done.changed, done.deleted, done.kept) == (1, 1, 1, 2)
    items = plane.ok("GET", "/v1/entries?list=allow")["items"]
    assert {(item["owner"], item["id"]) for item in items} >= {("git", "office"), ("git", "vpn2")}
    assert [item for item in items if item["owner"] == "api"]


def test_what_an_import_owns_is_changed_elsewhere_only_by_taking_it_over(plane: Control, tmp_path: Path) -> None:
    imported(plane, tmp_path / "policy.yaml", POLICY)
    refused = plane.ask("PATCH", "/v1/entries/office", {"period": "1d"}, If_Match="*")
    assert (refused.status_code, refused.json()["code"]) == (409, "other_owner")
    taken = plane.ok("PATCH", "/v1/entries/office", {"period": "1d", "take_over": True}, If_Match="*")
    assert taken["owner"] == "api"


def busy(plane: Control, tmp_path: Path) -> None:
    """Let many kinds of changes happen."""
    imported(plane, tmp_path / "policy.yaml", POLICY)
    made = [plane.ok("POST", "/v1/bans", {"address": f"198.51.100.{n}", "period": "1d"}) for n in range(5)]
    plane.ok("DELETE", f"/v1/bans/{made[0]['id']}")
    plane.ok("PATCH", f"/v1/entries/{made[1]['id']}", {"period": "2d"}, If_Match="*")
    plane.ok("POST", "/v1/rollback", {"to": made[3]["serial"]})
    plane.ok("PUT", "/v1/applications/blog", {"mode": "off"})
    plane.ok("DELETE", "/v1/applications/blog")


def test_history_is_complete_every_state_follows_from_the_changes(plane: Control, tmp_path: Path) -> None:
    busy(plane, tmp_path)
    with plane.plane.store.reading() as tx:
        report = check_store(tx)
    assert report.problems == []
    assert report.changes > 12


@pytest.mark.parametrize("attack", ["a change rewritten", "a change deleted", "an entry altered"])
def test_tampering_with_the_store_is_found(plane: Control, tmp_path: Path, attack: str) -> None:
    busy(plane, tmp_path)
    with plane.plane.store.writing() as tx:
        middle = tx.execute(
            select(changes.c.sequence).where(changes.c.layer == "bans").order_by(changes.c.sequence)
        ).all()[3]
        where = (changes.c.layer == "bans") & (changes.c.sequence == middle[0])
        if attack == "a change rewritten":
            tx.execute(update(changes).where(where).values(actor="somebody else"))
        elif attack == "a change deleted":
            tx.execute(changes.delete().where(where))
        else:
            tx.execute(update(entries).where(entries.c.id == "office").values(content='{"id":"office"}'))
    with plane.plane.store.reading() as tx:
        assert check_store(tx).problems


def rows_of(engine: Engine) -> dict[str, list[Any]]:
    with engine.connect() as connection:
        tables = [
            table
            for table in metadata.sorted_tables
            if table.name not in {"heads", "changes", "publications", "sidecars"}
        ]
        return {table.name: sorted(map(repr, connection.execute(select(table)))) for table in tables}


def test_a_backup_restores_into_a_new_store_and_goes_on_above(plane: Control, tmp_path: Path) -> None:
    busy(plane, tmp_path)
    store = plane.plane.store
    before = plane.ok("GET", "/v1/bans")["items"]
    for rounds in plane.plane.inputs:
        rounds.close()
    plane.plane.publisher.close()
    back_up(store, tmp_path / "backup")
    other = create_store(f"sqlite:///{tmp_path}/other.sqlite")
    restore(other, tmp_path / "backup")
    assert rows_of(other.engine) == rows_of(store.engine)
    with other.reading() as tx:
        assert check_store(tx).problems == []
    with pytest.raises(InputError, match="not empty"):
        restore(other, tmp_path / "backup")
    other.close()
    text = (
        (plane.folder / "control.yaml")
        .read_text()
        .replace(plane.plane.config.store, f"sqlite:///{tmp_path}/other.sqlite")
    )
    (plane.folder / "control.yaml").write_text(text)
    with opened(plane.folder, plane.token) as again:
        assert again.ok("GET", "/v1/bans")["items"] == before
        made = again.ok("POST", "/v1/bans?wait=published", {"address": "198.51.100.200"})
        assert made["published"] is True
        assert made["serial"] > max(entry["version"] for entry in before)


def test_old_history_goes_and_what_holds_stays(store_url: str, tmp_path: Path) -> None:
    clock = Clock()
    with control(tmp_path / "c", store=store_url, clock=clock) as plane:
        ended = plane.ok("POST", "/v1/bans", {"address": "198.51.100.1", "period": "100d"})
        kept = plane.ok("POST", "/v1/bans", {"address": "198.51.100.2", "period": "100d"})
        plane.ok("DELETE", f"/v1/bans/{ended['id']}")
        clock.now += 30 * 86400
        newer = plane.ok("POST", "/v1/bans?wait=published", {"address": "198.51.100.3", "period": "1d"})
        with plane.plane.store.writing() as tx:
            assert forget_before(tx, plane.plane.store.now() - 86400 * 10**6, plane.plane.store.now()) > 2
        assert {ban["id"] for ban in plane.ok("GET", "/v1/bans")["items"]} == {kept["id"], newer["id"]}
        with plane.plane.store.reading() as tx:
            assert check_store(tx).problems == []


def test_holds_that_ended_long_ago_go_with_old_history(tmp_path: Path) -> None:
    """They were never deleted."""
    clock = Clock()
    with control(tmp_path / "c", clock=clock) as plane, plane.plane.store.writing() as tx:
        now = plane.plane.store.now()
        for number, days in enumerate((-30, -2, 1)):
            hold = Hold(parse_network("203.0.113.9"), now // 10**6 + days * 86400.0)
            add_hold(tx, hold, hold_id=f"h{number}", created=0, tenant="main", actor="anna", entry="e", trigger="t")
        forget_before(tx, now - 10 * 86400 * 10**6, now)
        assert [row.id for row in list_holds(tx, 0)] == ["h1", "h2"]


def _is_ours(name: str | None, kind: str, parents: MutableMapping[str, Any]) -> bool:
    """Return whether a table is one of ours, and no partition of one."""
    table = name if kind == "table" else parents.get("table_name")
    return not re.fullmatch(r"events_(other|\d+)", str(table))


def test_migrations_make_the_tables_that_the_code_has_and_go_back(store_url: str) -> None:
    migrate(store_url)
    engine = create_engine(store_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        options = {"include_name": _is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    migrate(store_url, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    migrate(store_url)
    engine.dispose()
