"""Sessions of people: signing on, the cookie, CSRF, and how a session ends."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.control import Clock, Control, control

from authz.control.access.sessions import csrf_token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

BAN = {"address": "203.0.113.9", "applications": ["shop"]}


class Browser:
    """What a browser does: it keeps the cookie, and shows no token."""

    def __init__(self, plane: Control) -> None:
        self.plane = plane
        self.csrf = ""
        plane.client.cookies.clear()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        sent = {"X-CSRF-Token": self.csrf} if self.csrf else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.plane.client.request(method, path, json=body, headers=sent)

    def sign_on(self, token: str, **headers: str) -> Any:
        answer = self.ask("POST", "/v1/session", {"token": token}, **headers)
        assert answer.status_code == 201, answer.text
        self.csrf = answer.json()["csrf"]
        return answer.json()

    @property
    def secret(self) -> str:
        return next(value for name, value in self.plane.client.cookies.items() if name.endswith("authz_session"))


def test_a_person_signs_on_with_a_token_and_bans_and_history_names_the_person(plane: Control) -> None:
    browser = Browser(plane)
    made = browser.sign_on(plane.token)
    assert (made["name"], made["role"], made["tenant"]) == ("admin", "admin", "main")
    assert "ban" in made["rights"]
    assert browser.ask("POST", "/v1/bans", BAN).status_code == 201
    item = browser.ask("GET", "/v1/history?address=203.0.113.9").json()["items"][0]
    assert (item["actor"], item["actor_kind"], item["method"]) == ("admin", "user", "manual")
    assert browser.ask("GET", "/v1/session").json()["csrf"] == made["csrf"]


def test_a_request_that_changes_something_needs_the_csrf_token(plane: Control) -> None:
    browser = Browser(plane)
    browser.sign_on(plane.token)
    assert browser.ask("GET", "/v1/bans").status_code == 200
    for shown in ("", "nonsense", csrf_token("of another session"), "é"):
        answer = plane.client.post("/v1/bans", json=BAN, headers=[(b"x-csrf-token", shown.encode())])
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf")
    assert browser.ask("GET", "/v1/bans").json()["items"] == []


def test_the_cookie_is_for_the_browser_alone_and_the_store_has_no_secret(plane: Control) -> None:
    browser = Browser(plane)
    answer = browser.ask("POST", "/v1/session", {"token": plane.token})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/" in cookie
    assert "secure" not in cookie
    with plane.plane.store.engine.connect() as connection:
        rows = repr(connection.exec_driver_sql("SELECT * FROM sessions").all())
    assert browser.secret not in rows
    assert browser.secret not in answer.text


def test_by_https_the_cookie_is_secure_and_of_this_host(tmp_path: Path) -> None:
    with control(tmp_path / "c", extra="public_url: https://control.example\n") as plane:
        cookie = Browser(plane).ask("POST", "/v1/session", {"token": plane.token}).headers["set-cookie"]
        assert cookie.startswith("__Host-authz_session=")
        assert "secure" in cookie.lower()


def test_each_sign_on_makes_a_new_secret_and_ends_the_session_before(plane: Control) -> None:
    browser = Browser(plane)
    first = browser.sign_on(plane.token)
    old = browser.secret
    second = browser.sign_on(plane.token)
    assert first["id"] != second["id"]
    assert browser.secret != old
    plane.client.cookies.clear()
    assert plane.client.get("/v1/bans", headers={"Cookie": f"authz_session={old}"}).status_code == 401


def test_a_session_ends_by_signing_out(plane: Control) -> None:
    browser = Browser(plane)
    browser.sign_on(plane.token)
    secret = browser.secret
    assert browser.ask("DELETE", "/v1/session").status_code == 204
    assert not plane.client.cookies
    assert plane.client.get("/v1/session", headers={"Cookie": f"authz_session={secret}"}).status_code == 401


def test_a_session_ends_with_its_token(plane: Control) -> None:
    browser = Browser(plane)
    made = plane.ok("POST", "/v1/tokens", {"name": "anna", "role": "viewer"})
    browser.sign_on(made["secret"])
    assert browser.ask("GET", "/v1/bans").status_code == 200
    plane.ok("DELETE", f"/v1/tokens/{made['id']}")
    assert browser.ask("GET", "/v1/bans").status_code == 401


def test_an_administrator_sees_sessions_and_ends_one(plane: Control) -> None:
    browser = Browser(plane)
    made = browser.sign_on(plane.token_of("viewer"))
    assert browser.ask("GET", "/v1/sessions").status_code == 403
    (listed,) = plane.ok("GET", "/v1/sessions")
    assert (listed["id"], listed["role"]) == (made["id"], "viewer")
    assert plane.ask("DELETE", f"/v1/sessions/{made['id']}").status_code == 204
    assert plane.ok("GET", "/v1/sessions") == []
    assert browser.ask("GET", "/v1/bans").status_code == 401


@contextmanager
def _at_times(tmp_path: Path) -> Iterator[tuple[Control, Clock]]:
    clock = Clock()
    with control(tmp_path / "c", extra="sign_on: {idle: 30m, longest: 2h}\n", clock=clock) as plane:
        yield plane, clock


def test_a_session_ends_when_it_is_idle_and_lives_on_while_it_is_used(tmp_path: Path) -> None:
    with _at_times(tmp_path) as (plane, clock):
        browser = Browser(plane)
        browser.sign_on(plane.token)
        for _ in range(3):
            clock.now += 29 * 60
            assert browser.ask("GET", "/v1/bans").status_code == 200
        clock.now += 31 * 60
        answer = browser.ask("GET", "/v1/bans")
        assert (answer.status_code, answer.json()["code"]) == (401, "signed_off")


def test_a_session_ends_at_its_end_however_much_it_is_used(tmp_path: Path) -> None:
    with _at_times(tmp_path) as (plane, clock):
        browser = Browser(plane)
        browser.sign_on(plane.token)
        for _ in range(5):
            clock.now += 20 * 60
            assert browser.ask("GET", "/v1/bans").status_code == 200
        clock.now += 21 * 60
        assert browser.ask("GET", "/v1/bans").status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_no_page_of_another_site_signs_a_browser_on(plane: Control, headers: dict[str, str]) -> None:
    answer = Browser(plane).ask("POST", "/v1/session", {"token": plane.token}, **headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
    assert "set-cookie" not in answer.headers


def test_who_has_a_bad_token_or_one_of_a_machine_does_not_sign_on(plane: Control) -> None:
    browser = Browser(plane)
    assert browser.ask("POST", "/v1/session", {"token": "nonsense"}).status_code == 401
    assert browser.ask("POST", "/v1/session", {"token": plane.token_of("sidecar")}).status_code == 403
    elsewhere = plane.token_of("viewer", networks=("198.51.100.0/24",))
    assert browser.ask("POST", "/v1/session", {"token": elsewhere}).status_code == 403


def test_a_tenant_sees_no_session_of_another(plane: Control) -> None:
    made = Browser(plane).sign_on(plane.token)
    theirs = plane.token_of("admin", "team-a", ("team-a-*",))
    plane.client.cookies.clear()
    assert plane.ok("GET", "/v1/sessions", token=theirs) == []
    assert plane.ask("DELETE", f"/v1/sessions/{made['id']}", token=theirs).status_code == 404
