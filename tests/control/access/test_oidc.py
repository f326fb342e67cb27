"""Signing on by an identity provider: a real one on loopback, with signed tokens, PKCE, state and nonce."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc.jwk import RSAKey
from support.control import Clock, Control, control
from support.servers.oidc_provider import Provider

from authz.control.access.claims import person_of
from authz.control.access.config import ClaimRule, Oidc
from authz.control.access.oidc import Relying
from authz.control.model.problems import Forbidden, NotReady

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
public_url: http://testserver.local
sign_on:
  oidc:
    issuer: {issuer}
    client_id: authz
    client_secret_file: oidc.secret
    roles:
      - {{claim: groups, has: soc, role: operator}}
      - {{claim: email, has: "*@example.com", role: viewer}}
"""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider().running() as provider:
        yield provider


@contextmanager
def with_provider(
    folder: Path, provider: Provider, more: str = "", clock: Any = None, extra: str = ""
) -> Iterator[Control]:
    folder.mkdir()
    (folder / "oidc.secret").write_text("s3cret\n")
    extra += CONFIG.format(issuer=provider.issuer).replace("    roles:", f"{more}    roles:")
    with control(folder, extra=extra, clock=clock) as plane:
        yield plane


@pytest.fixture
def plane(tmp_path: Path, provider: Provider) -> Iterator[Control]:
    with with_provider(tmp_path / "c", provider) as plane:
        yield plane


def to_provider(plane: Control, to: str = "/") -> str:
    """Begin to sign on; return where the browser is sent."""
    answer = plane.client.get("/v1/session/oidc", params={"to": to}, follow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def back(plane: Control, there: str) -> httpx.Response:
    """Go to the provider, and come back."""
    sent = httpx.get(there)
    assert sent.status_code == 302
    return come(plane, sent.headers["location"])


def come(plane: Control, where: str) -> httpx.Response:
    parts = urlsplit(where)
    return plane.client.get(f"{parts.path}?{parts.query}", follow_redirects=False)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_person_signs_on_by_the_provider_and_has_the_role_of_its_claims(plane: Control, provider: Provider) -> None:
    provider.claims["groups"] = ["staff", "soc"]
    answer = back(plane, to_provider(plane, "/bans?x=1"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/bans?x=1")
    session = plane.client.get("/v1/session").json()
    assert (session["name"], session["role"], session["tenant"]) == ("anna@example.com", "operator", "main")
    made = plane.client.post("/v1/bans", json={"address": "203.0.113.9"}, headers={"X-CSRF-Token": session["csrf"]})
    assert made.status_code == 201
    item = plane.ok("GET", "/v1/history")["items"][0]
    assert (item["actor"], item["actor_kind"]) == ("anna@example.com", "user")
    assert plane.client.delete("/v1/session", headers={"X-CSRF-Token": session["csrf"]}).status_code == 204


def test_four_eyes_a_person_by_the_provider_and_by_a_token_is_one(tmp_path: Path, provider: Provider) -> None:
    provider.claims["groups"] = ["soc"]
    with with_provider(tmp_path / "four", provider, extra="four_eyes: {addresses: 256}\n") as plane:
        back(plane, to_provider(plane))
        csrf = {"X-CSRF-Token": plane.client.get("/v1/session").json()["csrf"]}
        asked = plane.client.post("/v1/bans", json={"address": "198.51.100.0/23"}, headers=csrf)
        assert asked.status_code == 202
        path = f"/v1/approvals/{asked.json()['approval']}/approve"
        tokens = [
            plane.ok("POST", "/v1/tokens", {"name": name, "role": "approver", "person": person})["secret"]
            for name, person in (("phone", "Anna@example.com"), ("bert", ""))
        ]
        assert plane.ask("POST", path, token=tokens[0]).json()["code"] == "four_eyes"
        assert plane.ok("POST", path, token=tokens[1])["networks"] == ["198.51.100.0/23"]


def test_who_has_no_role_by_any_claim_does_not_sign_on(plane: Control, provider: Provider) -> None:
    provider.claims["email"] = "eve@elsewhere.example"
    assert code_of(back(plane, to_provider(plane))) == (403, "no_role")
    assert plane.client.get("/v1/session").status_code == 401


def test_an_address_of_email_that_is_not_verified_gives_nothing(plane: Control, provider: Provider) -> None:
    provider.claims["email_verified"] = False
    assert code_of(back(plane, to_provider(plane))) == (403, "no_name")


def test_the_provider_is_asked_with_pkce_state_and_nonce(plane: Control) -> None:
    asked = parse_qs(urlsplit(to_provider(plane)).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["response_type"] == ["code"]
    assert asked["redirect_uri"] == ["http://testserver.local/v1/session/oidc/callback"]
    assert all(len(asked[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize(
    "spoil",
    [{"nonce": "of somebody else"}, {"nonce": None}, {"aud": "another client"}, {"iss": "https://other.example"},
     {"exp": 1}, {"exp": None}, {"aud": ["authz", "x"], "azp": "x"}, {"sub": None}, {"iat": 9_999_999_999}],
)  # fmt: skip
def test_a_token_that_is_not_for_this_sign_on_is_refused(
    plane: Control, provider: Provider, spoil: dict[str, Any]
) -> None:
    provider.spoil = spoil
    assert code_of(back(plane, to_provider(plane))) == (401, "sign_on_failed")


def test_a_token_that_another_key_signed_is_refused(plane: Control, provider: Provider) -> None:
    provider.sign_with = RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
    assert code_of(back(plane, to_provider(plane))) == (401, "sign_on_failed")


def test_a_token_without_a_signature_is_refused(
    plane: Control, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = provider.id_token
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    monkeypatch.setattr(provider, "id_token", lambda asked: f"{none}.{real(asked).split('.')[1]}.")
    assert code_of(back(plane, to_provider(plane))) == (401, "sign_on_failed")


def test_an_answer_to_another_browser_signs_nobody_on(plane: Control, provider: Provider) -> None:
    """Login CSRF: a link with somebody's code does not sign the one who follows it on."""
    there = httpx.get(to_provider(plane)).headers["location"]
    plane.client.cookies.clear()
    assert code_of(come(plane, there)) == (401, "sign_on_failed")
    to_provider(plane)
    assert code_of(come(plane, there)) == (401, "sign_on_failed")
    assert provider.tokens == 0


def test_a_code_is_good_once_and_in_time(tmp_path: Path, provider: Provider) -> None:
    clock = Clock()
    provider.clock = clock
    with with_provider(tmp_path / "c", provider, clock=clock) as plane:
        there = httpx.get(to_provider(plane)).headers["location"]
        cookies = dict(plane.client.cookies)
        assert come(plane, there).status_code == 303
        plane.client.cookies.update(cookies)
        assert code_of(come(plane, there)) == (401, "sign_on_failed")
        there = httpx.get(to_provider(plane)).headers["location"]
        clock.now += 601
        assert code_of(come(plane, there)) == (401, "sign_on_failed")


def test_an_answer_of_another_provider_or_an_error_is_refused(plane: Control) -> None:
    for more in ("iss=https%3A%2F%2Fother.example&code=x", "error=access_denied"):
        state = parse_qs(urlsplit(to_provider(plane)).query)["state"][0]
        answer = come(plane, f"/v1/session/oidc/callback?state={state}&{more}")
        assert code_of(answer) == (401, "sign_on_failed")


def test_nobody_is_sent_to_another_site_afterwards(plane: Control) -> None:
    for to in ("https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"):
        assert back(plane, to_provider(plane, to)).headers["location"] == "/"


def test_a_provider_that_changes_its_key_goes_on(
    plane: Control, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert back(plane, to_provider(plane)).status_code == 303
    provider.keys = [RSAKey.generate_key(2048, {"kid": "k2", "use": "sig", "alg": "RS256"})]
    provider.sign_with = provider.keys[0]
    monkeypatch.setattr("authz.control.access.oidc.AGAIN", 0.0)
    assert back(plane, to_provider(plane)).status_code == 303
    assert provider.key_requests == 2


def test_claims_of_the_userinfo_endpoint_count_for_the_same_person_only(tmp_path: Path, provider: Provider) -> None:
    with with_provider(tmp_path / "c", provider, "    userinfo: true\n") as plane:
        provider.userinfo = {"groups": ["soc"]}
        assert back(plane, to_provider(plane)).status_code == 303
        assert plane.client.get("/v1/session").json()["role"] == "operator"
        provider.userinfo = {"groups": ["soc"], "sub": "u2"}
        assert code_of(back(plane, to_provider(plane))) == (401, "sign_on_failed")


def test_a_provider_that_is_away_is_told_and_tokens_go_on(tmp_path: Path) -> None:
    provider = Provider()
    provider.port = 9
    with with_provider(tmp_path / "c", provider) as plane:
        answer = plane.client.get("/v1/session/oidc", follow_redirects=False)
        assert code_of(answer) == (503, "provider_away")
        assert plane.ok("GET", "/v1/bans")["items"] == []


def test_without_a_provider_there_is_nothing_to_sign_on_by(tmp_path: Path) -> None:
    with control(tmp_path / "c") as plane:
        assert plane.client.get("/v1/session/oidc").status_code == 404


RULES = Oidc(
    issuer="https://x", client_id="y", name="preferred_username",
    roles=(
        ClaimRule(claim="realm_access.roles", has="authz-*", role="admin"),
        ClaimRule(claim="https://example.com/team", has="a", role="editor", tenant="team-a"),
        ClaimRule(claim="email", has="*@example.com", role="viewer"),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "expected"),
    [({"realm_access": {"roles": ["x", "authz-root"]}}, ("admin", "main")),
     ({"https://example.com/team": "a"}, ("editor", "team-a")),
     ({"email": "a@example.com", "email_verified": True}, ("viewer", "main")),
     ({"email": "a@example.com"}, None),
     ({"realm_access": "authz-root"}, None),
     ({"realm_access": {"roles": [1, None, {"authz-x": 1}]}}, None)],
)  # fmt: skip
def test_the_first_rule_that_fits_gives_role_and_tenant(
    claims: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    named = claims | {"preferred_username": "anna"}
    if expected is None:
        with pytest.raises(Forbidden):
            person_of(named, RULES)
    else:
        assert person_of(named, RULES)[:3] == ("anna", *reversed(expected))


def test_nobody_signs_on_by_a_name_that_feigns_an_approval() -> None:
    claims = {"email": "a@example.com", "email_verified": True}
    assert person_of(claims | {"preferred_username": "anna"}, RULES).name == "anna"
    with pytest.raises(Forbidden):
        person_of(claims | {"preferred_username": "anna, approved by bert"}, RULES)


def test_a_provider_that_is_away_is_not_asked_by_every_visitor() -> None:
    asked: list[str] = []

    def away(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        raise httpx.ConnectTimeout("away")

    config = Oidc(issuer="https://id.example", client_id="authz", roles=())
    relying = Relying(config, "https://control.example/back", httpx.MockTransport(away))
    for _ in range(20):
        with pytest.raises(NotReady) as caught:
            relying.begin("/", 0)
        assert caught.value.code == "provider_away"
    assert len(asked) == 1
