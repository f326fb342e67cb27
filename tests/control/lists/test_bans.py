"""Bans by the API: what clients rely on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from authz.times import parse_moment

if TYPE_CHECKING:
    from support.control import Control

BAN = {"address": "203.0.113.9", "applications": ["shop"], "period": "2h", "reason": "guesses passwords"}


def test_a_ban_answers_with_its_id_end_and_serial(plane: Control) -> None:
    answer = plane.ask("POST", "/v1/bans", BAN)
    assert answer.status_code == 201
    made = answer.json()
    assert made["address"] == "203.0.113.9"
    assert made["applications"] == ["shop"]
    assert abs(parse_moment(made["expires"]) - time.time() - 7200) < 10
    assert isinstance(made["serial"], int)
    assert plane.ok("GET", "/v1/entries?address=203.0.113.9")["items"][0]["id"] == made["id"]


def test_a_ban_without_a_period_lasts_an_hour(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", {"address": "2001:db8::1"})
    assert abs(parse_moment(made["expires"]) - time.time() - 3600) < 10


def test_a_ban_for_ever_has_no_end(plane: Control) -> None:
    assert plane.ok("POST", "/v1/bans", {"address": "203.0.113.9", "period": "forever"})["expires"] is None


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"period": "4m"}, "/period"),
        ({"period": "soon"}, "/period"),
        ({"address": "203.0.113"}, "/address"),
        ({"address": "203.0.113.9/24"}, "/address"),
        ({"address": "0.0.0.0/0"}, "/networks/0"),
        ({"applications": ["a b"]}, "/applications/0"),
        ({"reason": "a\0b"}, "/reason"),
        ({"expires": "2026-12-01T00:00:00Z"}, "/period"),
        ({"adress": "x"}, "/adress"),
    ],
)
def test_a_mistake_is_answered_with_its_field(plane: Control, change: dict[str, object], pointer: str) -> None:
    answer = plane.ask("POST", "/v1/bans", BAN | change)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"].startswith("urn:authz:problem:")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


def test_a_like_ban_is_refused_with_the_id_of_the_one_there(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", BAN)
    again = plane.ask("POST", "/v1/bans", BAN | {"period": "3h"})
    assert again.status_code == 409
    assert again.json()["code"] == "exists"
    assert again.json()["id"] == made["id"]


def test_the_period_of_a_ban_is_changed_by_who_saw_its_version(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", BAN)
    url = f"/v1/entries/{made['id']}"
    assert plane.ask("PATCH", url, {"period": "1d"}).status_code == 428
    etag = plane.ask("GET", url).headers["etag"]
    changed = plane.ask("PATCH", url, {"period": "1d"}, If_Match=etag)
    assert changed.status_code == 200
    assert abs(parse_moment(changed.json()["expires"]) - time.time() - 86400) < 10
    stale = plane.ask("PATCH", url, {"period": "2d"}, If_Match=etag)
    assert stale.status_code == 412
    assert stale.json()["current"]["version"] == 2


def test_an_ended_ban_is_off_its_list(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans", BAN)
    assert plane.ok("DELETE", f"/v1/bans/{made['id']}")["serial"] > made["serial"]
    assert plane.ok("GET", "/v1/bans")["items"] == []
    assert plane.ask("DELETE", f"/v1/bans/{made['id']}").status_code == 404


def test_a_repeated_request_is_answered_again_and_done_once(plane: Control) -> None:
    first = plane.ask("POST", "/v1/bans", BAN, Idempotency_Key="k1")
    again = plane.ask("POST", "/v1/bans", BAN, Idempotency_Key="k1")
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert len(plane.ok("GET", "/v1/bans")["items"]) == 1
    other = plane.ask("POST", "/v1/bans", BAN | {"address": "203.0.113.10"}, Idempotency_Key="k1")
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_ban_is_in_the_signed_file_once_it_is_published(plane: Control) -> None:
    made = plane.ok("POST", "/v1/bans?wait=published", BAN)
    assert made["published"] is True
    answer = plane.ask("GET", "/v1/layers/bans")
    assert int(answer.headers["authz-serial"]) >= made["serial"]
    same = plane.ask("GET", "/v1/layers/bans", If_None_Match=answer.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
