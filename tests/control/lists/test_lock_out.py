"""The lock-out guard: nobody is denied who is protected, or who asks, however an entry names them."""

from __future__ import annotations

import contextlib
import cProfile
import os
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from support.control import Control, control
from support.processes import wait_for
from support.publishing.mmdb import write_mmdb

from authz.addresses import parse_network
from authz.control.config import FourEyesConfig
from authz.control.lists.rules.guard import check_lock_out
from authz.control.maintenance.transfer import import_policy, read_policy_file
from authz.control.model.problems import Conflict
from authz.control.model.records import MAIN_TENANT, Actor, Written
from authz.control.store.access.tokens import get_tenant
from authz.publisher.feeds.hosts import CachedAnswer
from authz.publisher.policy.subjects import gather

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection

CH, DE, OTHERS = "198.51.100.0/25", "203.0.113.0/24", "192.0.2.0/25"
EXTRA = "protected: [198.51.100.7, 2001:db8:7::/64]\n"
DENIED: dict[str, dict[str, list[Any]]] = {  # each means 198.51.100.0/25, or its 7th address
    "country": {"countries": ["CH"]},
    "region": {"regions": ["CH-ZH"]},
    "continent": {"continents": ["EU"]},
    "asn": {"asns": [64496]},
    "source": {"sources": ["malicious"]},
    "range": {"networks": ["198.51.100.5-198.51.100.9"]},
    "host": {"hosts": ["vpn.example.com"]},
    "ipv6": {"countries": ["AT"]},
}
PERSON = {"X_Forwarded_For": "203.0.113.50"}
OWN: dict[str, dict[str, list[Any]]] = {
    "country": {"countries": ["DE"]},
    "asn": {"asns": [64497]},
    "source": {"sources": ["tor"]},
    "range": {"networks": ["203.0.113.49-203.0.113.51"]},
    "host": {"hosts": ["home.example.com"]},
}


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    # Requests of the test client come from no address.
    monkeypatch.setattr("authz.control.api.common.asking.client_address", lambda r: r.headers.get("x-forwarded-for"))
    folder = tmp_path / "control"
    (folder / "geo").mkdir(parents=True)
    (folder / "feeds").mkdir()
    records = {
        CH: {"country": {"iso_code": "CH"}, "continent": {"code": "EU"}, "subdivisions": [{"iso_code": "ZH"}]},
        DE: {"country": {"iso_code": "DE"}},
        OTHERS: {"country": {"iso_code": "FR"}},
        "2001:db8::/32": {"country": {"iso_code": "AT"}},
    }
    (folder / "geo" / "country.mmdb").write_bytes(write_mmdb(records))
    asns = "198.51.100.0,198.51.100.127,64496\n203.0.113.0,203.0.113.255,64497\n192.0.2.0,192.0.2.127,64498\n"
    (folder / "geo" / "asn.csv").write_text("start,end,asn\n" + asns)
    (folder / "feeds" / "bad.txt").write_text("198.51.100.7\n192.0.2.9\n")
    (folder / "feeds" / "tor.txt").write_text("203.0.113.50\n")
    answers = {
        "vpn.example.com": CachedAnswer(("198.51.100.7",), 1_800_000_000),
        "home.example.com": CachedAnswer(("203.0.113.50",), 1_800_000_000),
        "else.example.com": CachedAnswer(("192.0.2.9",), 1_800_000_000),
    }
    (folder / "state").mkdir()
    (folder / "state" / "hosts.json").write_bytes(msgspec.json.encode(answers))
    with control(folder, extra=EXTRA) as plane:
        feeds = [
            {"source": "malicious", "path": "feeds/bad.txt", "format": "plain", "bogons": "keep"},
            {"source": "tor", "path": "feeds/tor.txt", "format": "plain", "bogons": "keep"},
        ]
        geo = {"country": "geo/country.mmdb", "asn": "geo/asn.csv"}
        plane.ok("PUT", "/v1/policy", {"geo": geo, "feeds": feeds})
        yield plane


def code(plane: Control, method: str, path: str, body: object, **headers: str) -> str:
    """Return the code of a refusal; empty: it was taken."""
    answer = plane.ask(method, path, body, **headers)
    assert answer.status_code < 500, answer.text
    return "" if answer.is_success else str(answer.json()["code"])


@pytest.mark.parametrize("subjects", DENIED.values(), ids=DENIED)
def test_whom_the_policy_protects_no_entry_denies_by_country_system_source_range_or_host(
    plane: Control, subjects: Mapping[str, list[object]]
) -> None:
    answer = plane.ask("POST", "/v1/entries", subjects)
    assert (answer.status_code, answer.json()["code"]) == (409, "lock_out")
    assert "would deny the protected network" in answer.json()["detail"]
    assert plane.ok("GET", "/v1/entries")["items"] == []
    excepted = {"except": ["198.51.100.4/30", *(["2001:db8:7::/48"] if "networks" not in subjects else [])], **subjects}
    assert code(plane, "POST", "/v1/entries", excepted) == ""
    for spared in ({"list": "allow"}, {"action": "warn"}):
        assert code(plane, "POST", "/v1/entries", {**subjects, **spared}) == ""


@pytest.mark.parametrize("subjects", OWN.values(), ids=OWN)
def test_nobody_denies_their_own_address_by_country_system_source_range_or_host(
    plane: Control, subjects: Mapping[str, list[object]]
) -> None:
    answer = plane.ask("POST", "/v1/entries", subjects, **PERSON)
    assert (answer.status_code, answer.json()["code"]) == (409, "lock_out")
    assert "would deny your own address 203.0.113.50" in answer.json()["detail"]
    assert code(plane, "POST", "/v1/entries", {**subjects, "except": ["203.0.113.50"]}, **PERSON) == ""
    made = plane.ok("POST", "/v1/entries", {**subjects, "applications": ["shop"], "force": True}, **PERSON)
    assert made["applications"] == ["shop"]
    after = [change["after"] for change in plane.ok("GET", "/v1/history")["items"] if change["forced"]]
    assert [entry["id"] for entry in after] == [made["id"]]
    theirs = {**subjects, "applications": ["blog"]}
    assert code(plane, "POST", "/v1/entries", theirs, **PERSON) == "lock_out"
    assert code(plane, "POST", "/v1/entries", theirs, X_Forwarded_For="192.0.2.200") == ""  # it is somebody else


@pytest.mark.parametrize(
    "changed",
    [{"countries": ["CH"]}, {"asns": [64496]}, {"sources": ["malicious"]}, {"hosts": ["vpn.example.com"]},
     {"except": []}, {"list": "deny"}, {"applications": ["shop"], "except": []}],
    ids=["country", "asn", "source", "host", "exception", "list", "application"],
)  # fmt: skip
def test_a_change_denies_nobody_who_is_protected(plane: Control, changed: dict[str, object]) -> None:
    entry: dict[str, object] = {"countries": ["FR"]}
    if "except" in changed:
        entry = {"countries": ["CH"], "except": ["198.51.100.7"]}
    if "list" in changed:
        entry = {"countries": ["CH"], "list": "allow"}
    made = plane.ask("POST", "/v1/entries", entry)
    headers = {"If_Match": made.headers["etag"]}
    assert code(plane, "PATCH", f"/v1/entries/{made.json()['id']}", changed, **headers) == "lock_out"
    assert code(plane, "PATCH", f"/v1/entries/{made.json()['id']}", {"reason": "as it was"}, **headers) == ""


def test_many_entries_at_once_deny_nobody_who_is_protected(plane: Control) -> None:
    rows: list[dict[str, object]] = [{"countries": ["FR"]}, {"countries": ["CH"]}, {"asns": [64496]}, {"asns": [64498]}]
    done = plane.ok("POST", "/v1/entries/bulk", rows)["items"]
    assert [row["status"] for row in done] == [201, 409, 409, 201]
    assert {row["problem"]["code"] for row in done[1:3]} == {"lock_out"}
    answer = plane.ask(
        "PUT", "/v1/sources/partner/entries", [{"sources": ["malicious"]}, {"hosts": ["else.example.com"]}]
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "rows_refused")
    assert [mistake["pointer"] for mistake in answer.json()["errors"]] == ["/0"]


def test_going_back_denies_nobody_who_is_protected_since(plane: Control) -> None:
    made = plane.ok("POST", "/v1/entries", {"countries": ["FR"]})
    serial = plane.ok("DELETE", f"/v1/entries/{made['id']}", If_Match="*")["serial"]
    before = plane.ok("GET", "/v1/policy")
    plane.ok("PUT", "/v1/policy", before | {"protected": ["192.0.2.7"]})
    done = plane.ok("POST", "/v1/rollback", {"to": serial - 1, "layer": "policy"})
    assert list(done["skipped"]) == [made["id"]]


def imported(plane: Control, *, force: bool = False) -> None:
    path, store = plane.folder / "policy.yaml", plane.plane.store
    entries = "entries: [{list: deny, countries: [CH]}, {list: deny, countries: [FR]}]"
    path.write_text(f"version: 1\n{entries}\ngeo: {{country: geo/country.mmdb}}\nprotected: [198.51.100.7]\n")
    with store.writing() as tx:
        tenant = get_tenant(tx, MAIN_TENANT)
        assert tenant is not None
        actor, policy = Actor(MAIN_TENANT, "ops", "import", "import"), read_policy_file(path)
        import_policy(tx, plane.plane.config, actor, tenant, store.now(), policy, "policy.yaml", force=force)


def test_an_import_that_denies_whom_the_policy_protects_is_refused_unless_forced(plane: Control) -> None:
    with pytest.raises(Conflict, match=r"'CH' would deny the protected network 198\.51\.100\.7") as refused:
        imported(plane)
    assert refused.value.code == "lock_out"
    assert plane.ok("GET", "/v1/entries")["items"] == []
    imported(plane, force=True)
    told = [change for change in plane.ok("GET", "/v1/history")["items"] if (change["after"] or {}).get("countries")]
    assert {change["after"]["countries"][0]: change["forced"] for change in told} == {"CH": True, "FR": False}


def test_an_entry_whose_system_no_database_has_is_refused_before_it_spoils_the_layer(plane: Control) -> None:
    refused = plane.ask("POST", "/v1/entries", {"asns": [65000]})
    assert (refused.status_code, refused.json()["code"]) == (422, "unresolvable")
    assert refused.json()["errors"][0]["detail"].startswith("geo/asn.csv: found no networks of AS65000")
    assert code(plane, "POST", "/v1/entries", {"countries": ["FR"], "asns": [64498]}) == ""
    wait_for(lambda: plane.ok("GET", "/v1/explain?address=192.0.2.9")["decision"] == "deny")


def test_no_database_is_read_while_other_writers_wait(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    store = plane.plane.store
    writing, inside, read = store.writing, set[int](), list[bool]()

    @contextlib.contextmanager
    def noted(**options: bool) -> Iterator[Connection]:
        with writing(**options) as tx:
            inside.add(threading.get_ident())
            try:
                yield tx
            finally:
                inside.discard(threading.get_ident())

    def gathered(*arguments: Any) -> Any:
        read.append(threading.get_ident() in inside)
        return gather(*arguments)

    def other_file() -> None:
        status = (plane.folder / "geo" / "country.mmdb").stat()
        os.utime(plane.folder / "geo" / "country.mmdb", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))

    made = plane.ok("POST", "/v1/entries", {"countries": ["FR"]})
    monkeypatch.setattr(store, "writing", noted)
    monkeypatch.setattr("authz.control.lists.rules.resolved.gather", gathered)
    path = f"/v1/entries/{made['id']}"
    plane.ok("PATCH", path, {"asns": [64498]}, If_Match="*")
    other_file()
    gone = plane.ok("DELETE", path, If_Match="*")
    plane.ok("POST", "/v1/undo", {"layer": "policy", "serial": gone["serial"]})
    other_file()
    gone = plane.ok("DELETE", path, If_Match="*")
    assert plane.ok("POST", "/v1/rollback", {"to": gone["serial"] - 1, "layer": "policy"})["restored"] == [made["id"]]
    other_file()
    plane.ok("POST", "/v1/preview", {"countries": ["FR"]})
    assert read == [False] * 4


def test_an_approved_change_reads_its_database_before_other_writers_wait(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = msgspec.structs.replace(plane.plane.config, four_eyes=FourEyesConfig(addresses=1))
    monkeypatch.setattr(plane.plane, "config", config)
    asked = plane.ok("POST", "/v1/entries", {"countries": ["FR"], "asns": [64498]})["approval"]
    before = plane.plane.foresee
    foreseen: list[Any] = []

    def noted(entries: Any) -> Any:
        lockouts = before(entries)
        foreseen.extend(lockouts)
        return lockouts

    monkeypatch.setattr(plane.plane, "foresee", noted)
    second = plane.token_of("approver")
    assert plane.ask("POST", f"/v1/approvals/{asked}/approve", token=second).status_code == 200
    assert [entry.countries for entry in foreseen] == [("FR",)]


def test_a_database_is_read_once_for_many_entries(plane: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def counted(document: Any, written: Any, *more: Any) -> Any:
        read.append(written.entries)
        return gather(document, written, *more)

    monkeypatch.setattr("authz.control.lists.rules.resolved.gather", counted)
    rows = [{"asns": [64498], "networks": [f"203.0.113.{n}"]} for n in range(5)] + [{"asns": [64497]}]
    done = plane.ok("POST", "/v1/entries/bulk", rows)["items"]
    assert [row["status"] for row in done] == [201] * 6
    assert len(read) == 1


def test_exceptions_that_take_out_all_cost_no_walk_for_each_network() -> None:
    networks = tuple(f"10.{number >> 8}.{number & 255}.1" for number in range(2000))
    entry = Written(networks=networks, except_=networks)
    profile = cProfile.Profile()
    forced = profile.runcall(check_lock_out, entry, "bans", [parse_network("10.0.0.0/8")], None, {}, force=False)
    assert not forced
    calls = sum(row.callcount for row in profile.getstats())
    assert calls < 60 * len(networks)
    left = msgspec.structs.replace(entry, except_=networks[:-1])
    with pytest.raises(Conflict, match=rf"'{networks[-1]}' would deny the protected network 10\.0\.0\.0/8"):
        check_lock_out(left, "bans", [parse_network("10.0.0.0/8")], None, {}, force=False)
