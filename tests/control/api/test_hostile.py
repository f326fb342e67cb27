"""Requests that nobody sends who means well: none is a 500, and none has us work before it is known who asks."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from authz.addresses import parse_networks
from authz.control.api.common import operations
from authz.control.store.entries import find

if TYPE_CHECKING:
    from support.control import Control

    from authz.addresses import Network

TYPED = {"Content-Type": "application/json"}


def cursor(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def refused(answer: Any, *statuses: int) -> None:
    assert answer.status_code in (statuses or (400,)), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


NULS = (
    "GET /v1/entries/%00", "GET /v1/entries?application=%00", "GET /v1/entries?origin=a%00", "GET /v1/history?id=%00",
    "GET /v1/history?layer=%00", "GET /v1/audit?actor=%00", "GET /v1/approvals/%00", "GET /v1/jobs/%00",
    "GET /v1/publications?layer=%00", "GET /v1/checkpoints?layer=%00", "GET /v1/events?application=%00",
    "DELETE /v1/bans/%00", "DELETE /v1/tokens/%00", "DELETE /v1/sessions/%00", "DELETE /v1/holds/%00",
    "DELETE /v1/applications/%00", "POST /v1/approvals/%00/approve", "DELETE /v1/bans/b-1?reason=%00",
    f"GET /v1/entries?cursor={cursor(chr(0))}",
)  # fmt: skip


def test_a_nul_anywhere_in_an_address_is_refused(plane: Control) -> None:
    for path in NULS:
        refused(plane.ask(*path.split(" ")))
    assert plane.ask("GET", "/lists?text=%00").status_code == 400


def test_numbers_that_no_database_keeps_are_refused(plane: Control) -> None:
    for number in (2**63, -(2**63) - 1, 10**40):
        for path in (f"history?cursor={cursor([number, 'bans', 1])}", f"history?cursor={cursor([1, 'bans', number])}",
                     f"audit?cursor={cursor(number)}"):  # fmt: skip
            refused(plane.ask("GET", f"/v1/{path}"))
        refused(plane.ask("POST", "/v1/rollback", {"to": number}), 400, 422)
        refused(plane.ask("POST", "/v1/undo", {"layer": "bans", "serial": number}), 400, 422)


def test_a_nul_in_a_body_is_refused(plane: Control) -> None:
    plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    bodies: dict[str, dict[str, object]] = {
        "tokens": {"name": "a\0", "role": "viewer"},
        "bans": {"address": "203.0.113.10", "reason": "\0"},
        "rollback": {"to": "2026-01-01T00:00:00Z", "reason": "\0"},
        "undo": {"layer": "\0", "serial": 1},
    }
    for resource, body in bodies.items():
        answer = plane.ask("POST", f"/v1/{resource}", body)
        assert answer.status_code in {400, 404, 422} or answer.json()["skipped"], answer.text
    shown = plane.ok("POST", "/v1/preview", {"networks": ["192.0.2.1"], "applications": ["a\0"]})
    assert (shown["problem"]["code"], shown["yesterday"]) == ("invalid", None)


@pytest.mark.parametrize("path", ["PUT /v1/policy", "PUT /v1/applications/shop", "POST /v1/bans",
                                  "POST /v1/entries/bulk"])  # fmt: skip
def test_json_that_is_nested_without_end_is_refused(shared: Any, path: str) -> None:
    method, target = path.split(" ")
    for body in ('{"a":' * 100_000 + "1" + "}" * 100_000, "[" * 200_000):
        refused(shared.client.request(method, target, content=body, headers=TYPED))


def test_no_body_is_read_before_it_is_known_who_asks(plane: Control) -> None:
    for method, path in (("POST", "/v1/entries/bulk"), ("POST", "/v1/bans"), ("PUT", "/v1/policy"),
                         ("POST", "/v1/events")):  # fmt: skip
        answer = plane.client.request(method, path, content=b"nonsense", headers=TYPED)
        refused(answer, 401)
        wrong = plane.client.request(method, path, content=b"nonsense", headers=TYPED | {"Authorization": "Bearer x"})
        refused(wrong, 401)
    viewer = TYPED | {"Authorization": f"Bearer {plane.token_of('viewer')}"}
    refused(plane.client.request("POST", "/v1/entries/bulk", content=b"nonsense", headers=viewer), 403)


def test_no_large_body_is_read_of_who_signs_on_or_is_not_signed_on(plane: Control) -> None:
    large = b"token=" + b"x" * (1 << 20)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert plane.client.post("/sign-in", content=large, headers=form).status_code == 413
    refused(plane.client.post("/v1/session", content=b'{"token":"' + large + b'"}', headers=TYPED), 413)
    larger = large * 9  # beyond what is read of anybody
    answer = plane.client.post("/lists/change", content=larger, headers=form, follow_redirects=False)
    assert answer.status_code in {303, 401}, answer.status_code


def test_a_reason_in_an_address_is_as_long_as_any_other(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", {"address": "203.0.113.9"})
    refused(plane.ask("DELETE", f"/v1/bans/{made['id']}?reason={'x' * 1001}"), 400, 422)
    plane.ok("DELETE", f"/v1/bans/{made['id']}?reason={'x' * 1000}")


def test_a_token_has_a_name_that_a_terminal_can_show_and_that_feigns_no_approval(plane: Control) -> None:
    for body in ({"name": "\x1b[2J"}, {"name": "a\nb"}, {"name": "x", "person": "\x1b[2J"},
                 {"name": "anna, approved by bert"}):  # fmt: skip
        answer = plane.ask("POST", "/v1/tokens", body | {"role": "viewer"})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_request_writes_no_more_networks_than_others_can_wait_for(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MAX_NETWORKS", 300)
    ranges = [f"2001:db8:{n:x}::1-2001:db8:{n:x}:ffff:ffff:ffff:ffff:fffe" for n in range(3)]  # 158 networks each
    entry = {"networks": ranges, "action": "warn"}
    answer = plane.ask("POST", "/v1/entries", entry)
    assert (answer.status_code, answer.json()["code"]) == (422, "too_many")
    rows = [entry | {"networks": [text]} for text in ranges]
    assert [row["status"] for row in plane.ok("POST", "/v1/entries/bulk", rows)["items"]] == [201, 422, 422]


def test_nobody_waits_for_the_counting_of_networks_that_are_too_many(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_apart: list[str] = []

    def note(text: str) -> list[Network]:
        taken_apart.append(text)
        return parse_networks(text)

    monkeypatch.setattr(operations, "MAX_NETWORKS", 300)
    monkeypatch.setattr(operations, "parse_networks", note)
    text = "2001:db8::1-2001:db8:0:ffff:ffff:ffff:ffff:fffe"  # 158 networks
    made = plane.ok("POST", "/v1/entries", {"networks": ["192.0.2.1"], "action": "warn"})
    taken_apart.clear()
    for method, path, body in (
        ("POST", "/v1/entries", {"networks": [text] * 2000}),
        ("POST", "/v1/entries/bulk", [{"networks": [text] * 100}] * 20),
        ("PATCH", f"/v1/entries/{made['id']}", {"networks": [text] * 1000, "except": [text] * 1000}),
    ):
        answer = plane.ask(method, path, body, If_Match="*")
        problem = answer.json() if answer.status_code == 422 else answer.json()["items"][-1]["problem"]
        assert problem["code"] == "too_many"
        assert len(taken_apart) == 2
        taken_apart.clear()


def test_a_tenant_of_all_applications_has_no_hand_in_the_policy(plane: Control) -> None:
    tenant = plane.token_of("admin", "operations", ("*",))
    for method, body in (("GET", None), ("PUT", {"protected": ["192.0.2.0/24"]})):
        refused(plane.ask(method, "/v1/policy", body, token=tenant), 403)
    assert "protected" not in plane.ok("GET", "/v1/policy")


def test_a_page_reads_so_many_rows_and_no_more_whatever_is_looked_for(
    plane: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "MAX_ROWS", 3)
    rows = [{"networks": [f"192.0.2.{n}"], "applications": ["shop" if n % 4 == 3 else "web"]} for n in range(10)]
    made = [row["entry"]["id"] for row in plane.ok("POST", "/v1/entries/bulk", rows)["items"]]
    ids, pages = [], 0
    more: str | None = ""
    while more is not None:
        page = plane.ok("GET", f"/v1/entries?application=shop&limit=5{more}")
        ids += [entry["id"] for entry in page["items"]]
        pages, more = pages + 1, page["cursor"] and f"&cursor={page['cursor']}"
    assert (ids, pages) == ([made[3], made[7]], 4)
    assert plane.ok("GET", "/v1/entries?limit=10")["cursor"] is not None  # it cannot know before the rows are read
    monkeypatch.undo()
    assert plane.ok("GET", "/v1/entries?limit=10")["cursor"] is None
    assert len(plane.ok("GET", "/v1/entries?limit=9")["items"]) == 9
