"""Tokens, roles, tenants, four eyes, the lock-out guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.control import Control, control

if TYPE_CHECKING:
    from pathlib import Path

BAN = {"address": "203.0.113.9", "applications": ["shop"]}


def test_who_has_no_token_or_a_wrong_one_is_told_how_to_show_one(plane: Control) -> None:
    for headers in ({"Authorization": ""}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer nonsense"}):
        answer = plane.ask("GET", "/v1/bans", **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_the_store_has_no_token_in_clear(plane: Control) -> None:
    with plane.plane.store.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM tokens").all()
    assert plane.token not in repr(rows)


def test_a_token_is_made_shown_once_and_revoked(plane: Control) -> None:
    made = plane.ok("POST", "/v1/tokens", {"name": "ci", "role": "viewer", "period": "1d"})
    assert plane.ok("GET", "/v1/bans", token=made["secret"])["items"] == []
    listed = plane.ok("GET", "/v1/tokens")
    assert made["id"] in {token["id"] for token in listed}
    assert all("secret" not in token for token in listed)
    plane.ok("DELETE", f"/v1/tokens/{made['id']}")
    assert plane.ask("GET", "/v1/bans", token=made["secret"]).status_code == 401


def test_a_token_holds_until_it_expires_and_from_its_networks_only(plane: Control) -> None:
    expired = plane.token_of("viewer", expires=int(plane.plane.store.clock()) - 1)
    assert plane.ask("GET", "/v1/bans", token=expired).status_code == 401
    elsewhere = plane.token_of("viewer", networks=("198.51.100.0/24",))
    assert plane.ask("GET", "/v1/bans", token=elsewhere).status_code == 403


ROLES = {
    "viewer": {"read"},
    "operator": {"read", "ban"},
    "editor": {"read", "ban", "edit"},
    "approver": {"read"},
    "sidecar": set[str](),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gives_its_rights_and_no_others(plane: Control, role: str) -> None:
    token = plane.token_of(role)  # type: ignore[arg-type]
    answers = {
        "read": plane.ask("GET", "/v1/history", token=token),
        "ban": plane.ask("POST", "/v1/bans", BAN, token=token),
        "edit": plane.ask("POST", "/v1/entries", {"networks": ["198.51.100.7"]}, token=token),
        "admin": plane.ask("POST", "/v1/tokens", {"name": "x", "role": "admin"}, token=token),
    }
    assert {right for right, answer in answers.items() if answer.is_success} == ROLES[role]
    assert {answer.status_code for right, answer in answers.items() if right not in ROLES[role]} == {403}


def test_an_operator_changes_when_bans_end_and_nothing_else(plane: Control) -> None:
    token = plane.token_of("operator")
    made = plane.ok("POST", "/v1/bans", BAN, token=token)
    url = f"/v1/entries/{made['id']}"
    assert plane.ask("PATCH", url, {"period": "1d"}, token=token, If_Match="*").status_code == 200
    assert plane.ask("PATCH", url, {"networks": ["198.51.100.1"]}, token=token, If_Match="*").status_code == 403


def test_a_tenant_sees_and_changes_nothing_of_another(plane: Control) -> None:
    ours = plane.token_of("admin", "team-a", ("team-a-*",))
    theirs = plane.ok("POST", "/v1/bans", BAN)
    assert plane.ok("GET", "/v1/entries", token=ours)["items"] == []
    assert plane.ok("GET", "/v1/history", token=ours)["items"] == []
    assert plane.ok("GET", "/v1/explain?address=203.0.113.9", token=ours)["covering"] == []
    assert {token["tenant"] for token in plane.ok("GET", "/v1/tokens", token=ours)} == {"team-a"}
    for method, path, body in (
        ("GET", f"/v1/entries/{theirs['id']}", None),
        ("DELETE", f"/v1/bans/{theirs['id']}", None),
        ("PATCH", f"/v1/entries/{theirs['id']}", {"period": "1d"}),
        ("POST", "/v1/undo", {"layer": "bans", "serial": theirs["serial"]}),
    ):
        assert plane.ask(method, path, body, token=ours, If_Match="*").status_code == 404
    assert plane.ok("POST", "/v1/rollback", {"to": theirs["serial"] - 1}, token=ours)["deleted"] == []
    assert len(plane.ok("GET", "/v1/bans")["items"]) == 1


def test_a_tenant_lists_for_its_own_applications_only(plane: Control) -> None:
    ours = plane.token_of("editor", "team-a", ("team-a-*",))
    for applications in ([], ["shop"], ["team-a-web", "shop"]):
        answer = plane.ask("POST", "/v1/bans", BAN | {"applications": applications}, token=ours)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_application")
    assert plane.ask("POST", "/v1/bans", BAN | {"applications": ["team-a-web"]}, token=ours).status_code == 201


def test_a_protected_network_is_never_banned(plane: Control) -> None:
    plane.ok("PUT", "/v1/policy", {"protected": ["192.0.2.0/24"]})
    for address in ("192.0.2.7", "192.0.0.0/16"):
        answer = plane.ask("POST", "/v1/bans", {"address": address, "force": True})
        assert (answer.status_code, answer.json()["code"]) == (409, "lock_out")


def test_four_eyes_a_wide_denial_waits_for_another_person(tmp_path: Path) -> None:
    with control(tmp_path / "c", extra="four_eyes: {addresses: 256, allow: true}\n") as plane:
        asked = plane.ask("POST", "/v1/bans", {"address": "198.51.100.0/23", "reason": "botnet"})
        assert asked.status_code == 202
        approval = asked.json()["approval"]
        assert plane.ok("GET", "/v1/bans")["items"] == []
        assert plane.ask("POST", f"/v1/approvals/{approval}/approve").status_code == 403
        other = plane.token_of("approver")
        made = plane.ok("POST", f"/v1/approvals/{approval}/approve", token=other)
        assert made["networks"] == ["198.51.100.0/23"]
        assert plane.ok("GET", "/v1/history")["items"][0]["actor"] == "admin, approved by main-approver"
        again = plane.ask("POST", f"/v1/approvals/{approval}/approve", token=other)
        assert (again.status_code, again.json()["code"]) == (409, "decided")
        allowed = plane.ask("POST", "/v1/entries", {"list": "allow", "networks": ["192.0.2.1"]})
        assert allowed.status_code == 202


def test_four_eyes_the_same_person_with_two_tokens_is_one(tmp_path: Path) -> None:
    with control(tmp_path / "c", extra="four_eyes: {addresses: 256}\n") as plane:
        editor, approver, other = (
            plane.ok("POST", "/v1/tokens", {"name": name, "role": role, "person": person})["secret"]
            for name, role, person in (
                ("laptop", "editor", "anna@example.com"), ("phone", "approver", "Anna@Example.com"),
                ("bert", "approver", ""),
            )
        )  # fmt: skip
        asked = plane.ask("POST", "/v1/bans", {"address": "198.51.100.0/23"}, token=editor).json()
        path = f"/v1/approvals/{asked['approval']}/approve"
        answer = plane.ask("POST", path, token=approver)
        assert (answer.status_code, answer.json()["code"]) == (403, "four_eyes")
        assert plane.ok("POST", path, token=other)["networks"] == ["198.51.100.0/23"]


def test_a_tenant_sees_no_triggers_sidecars_and_problems_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    triggers = "".join(
        f"  - {{name: {name}, kind: rate, where: {{application: {name}}}, count: {{over: 5, within: 30s}}}}\n"
        for name in ("shop", "team-a-web")
    )
    (folder / "triggers.yaml").write_text(f"triggers:\n{triggers}")
    with control(folder, extra="triggers: triggers.yaml\n") as plane:
        theirs = plane.token_of("viewer", "team-a", ("team-a-*",))
        assert [trigger["name"] for trigger in plane.ok("GET", "/v1/triggers", token=theirs)["items"]] == ["team-a-web"]
        assert plane.ask("GET", "/v1/triggers/shop", token=theirs).status_code == 404
        assert plane.ask("GET", "/v1/triggers/shop/versions", token=theirs).status_code == 404
        plane.ok("POST", "/v1/bans?wait=published", BAN)
        plane.client.get("/v1/layers/bans", headers={"Authz-Sidecar": "edge-1", "Prefer": "wait=0"})
        [sidecar] = plane.ok("GET", "/v1/publications", token=theirs)["sidecars"]
        assert (sidecar["name"], sidecar["layer"], sidecar["behind"]) == ("", "bans", True)
        own = plane.token_of("operator", "team-a", ("team-a-*",))
        ban = {"address": "203.0.113.9", "applications": ["team-a-web"]}
        waited = plane.ok("POST", "/v1/bans?wait=enforced&timeout=0.3", ban, token=own)
        assert (waited["behind"], waited["sidecars"]) == ([""], 1)


def test_a_tenant_sees_no_versions_of_a_trigger_that_counted_for_others(tmp_path: Path) -> None:
    def trigger(**where: object) -> dict[str, object]:
        return {"name": "flood", "kind": "rate", "where": where, "count": {"over": 5, "within": "30s"}}

    with control(tmp_path / "c") as plane:
        theirs = plane.token_of("viewer", "team-a", ("team-a-*",))
        plane.ok("POST", "/v1/triggers", trigger(application="team-b-shop"))
        own = (trigger(application="team-a-web"), trigger(application=["team-a-web", "team-a-api"]))
        for number, content in enumerate((trigger(path="/all"), *own), 1):
            plane.ok("PUT", "/v1/triggers/flood", content, If_Match=f'"flood.{number}"')
        path = "/v1/triggers/flood/versions"
        assert [each["version"] for each in plane.ok("GET", path, token=theirs)] == [4, 3]
        assert [each["version"] for each in plane.ok("GET", path)] == [4, 3, 2, 1]


def test_a_token_that_asks_too_often_is_told_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with control(tmp_path / "c", extra="rate: 1\n") as plane:
        take = plane.plane.rate.take
        monkeypatch.setattr(plane.plane.rate, "take", lambda token, _: take(token, 0.0))  # all within one second
        answers = [plane.ask("GET", "/v1/bans") for _ in range(4)]
        assert answers[-1].status_code == 429
        assert answers[-1].headers["retry-after"] == "1"


def test_an_entry_that_nothing_can_resolve_is_refused_before_it_spoils_the_layer(plane: Control) -> None:
    for body, pointer in (({"countries": ["KP"]}, "/countries"), ({"sources": ["tor"]}, "/sources/0")):
        answer = plane.ask("POST", "/v1/entries", body)
        assert (answer.status_code, answer.json()["code"]) == (422, "unresolvable")
        assert answer.json()["errors"][0]["pointer"] == pointer


def test_what_was_done_to_tokens_and_who_read_them_is_told(plane: Control) -> None:
    made = plane.ok("POST", "/v1/tokens", {"name": "ci", "role": "viewer"})
    plane.ok("GET", "/v1/tokens")
    plane.ok("DELETE", f"/v1/tokens/{made['id']}")
    items = plane.ok("GET", "/v1/audit?limit=3")["items"]
    assert [item["action"] for item in items] == ["token.revoke", "token.list", "token.add"]
    assert {item["actor"] for item in items} == {"admin"}
    assert items[2]["subject"] == made["id"]
    page = plane.ok("GET", "/v1/audit?limit=2")
    assert plane.ok("GET", f"/v1/audit?limit=2&cursor={page['cursor']}")["items"][0] == items[2]
    theirs = plane.token_of("admin", "team-a", ("team-a-*",))
    assert plane.ok("GET", "/v1/audit", token=theirs)["items"] == []
    assert plane.ask("GET", "/v1/audit", token=plane.token_of("viewer")).status_code == 403
