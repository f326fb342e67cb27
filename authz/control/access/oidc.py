"""Signing on by an identity provider: OpenID Connect, authorization code with PKCE.

    begin      state, nonce and verifier are made; the browser takes them along in a cookie, and goes to the provider
    finish     it comes back with a code: the state must be the cookie's, the code is exchanged (with the verifier), and
               the ID token must be signed by a key of the provider, for us, now, with our nonce

The provider describes itself at /.well-known/openid-configuration. OpenID Connect Core 3.1.3.7; RFC 7636; RFC 9207.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

import httpx
import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from authz.control.access.claims import person_of
from authz.control.access.flow import LIFE, Flow
from authz.control.model.problems import NotReady, Unauthorized
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from authz.control.access.config import Oidc
    from authz.control.access.sessions import Person

LEEWAY: Final = 60  # seconds by which clocks may differ
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
_FRESH: Final = 3600.0  # seconds that the provider's description and keys are kept
AGAIN: Final = 30.0  # seconds until an unknown key, or a failure, has them fetched again
_TIMEOUT: Final = httpx.Timeout(10.0)
MAX_ANSWER: Final = 1 << 20  # bytes


class Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself (OpenID Connect Discovery 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Relying:
    """Us, as the provider knows us. Called from any thread.

    Args:
        redirect: Where the provider sends people back to.
    """

    def __init__(self, config: Oidc, redirect: str, transport: httpx.BaseTransport | None = None) -> None:
        self._config = config
        self._redirect = redirect
        self._transport = transport
        self._lock = threading.Lock()
        self._known: tuple[Provider, KeySet] | None = None
        self._asked = 0.0
        self._failed = -AGAIN

    def begin(self, to: str, now: int) -> tuple[str, Flow]:
        """Return where to send the browser, and what it takes along. Raises NotReady if the provider is away."""
        flow = Flow(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), now, to)
        provider, _ = self._provider()
        url = prepare_grant_uri(
            provider.authorization_endpoint, self._config.client_id, "code", self._redirect, list(self._config.scopes),
            flow.state, nonce=flow.nonce, code_challenge=create_s256_code_challenge(flow.verifier),
            code_challenge_method="S256",
        )  # fmt: skip
        return str(url), flow

    def finish(self, flow: Flow | None, query: Mapping[str, str], now: int) -> Person:
        """Return who has signed on. query: of the request that came back.

        Raises:
            Unauthorized: It does not belong to what this browser began, the provider says no, or its token is not good.
            Forbidden: No rule gives the person a role.
            NotReady: The provider is away.

        """
        if flow is None or not 0 <= now - flow.began <= LIFE:
            raise _refused("found no recent sign-on of this browser", "begin again, with cookies allowed")
        if not hmac.compare_digest(flow.state.encode(), query.get("state", "").encode("utf-8", "replace")):
            raise _refused("the state is not that of this browser's sign-on", "begin again")
        if "iss" in query and query["iss"] != self._config.issuer:  # RFC 9207
            raise _refused("the answer comes from another provider")
        if "error" in query or not query.get("code"):
            raise _refused(f"the identity provider says: {shorten(query.get('error', 'no code'))}")
        provider, _ = self._provider()
        try:
            with httpx.Client(timeout=_TIMEOUT, transport=self._transport) as client:
                token = self._exchange(client, provider, query["code"], flow.verifier)
                claims = self._claims(token, flow, now)
                if self._config.userinfo and provider.userinfo_endpoint:
                    claims = self._with_userinfo(client, provider, token, claims)
        except httpx.HTTPError as error:
            raise NotReady(f"the identity provider does not answer: {shorten(error)}", code="provider_away") from error
        except (JoseError, ValueError, msgspec.DecodeError) as error:
            raise _refused(f"the identity provider's token is not valid: {shorten(error)}") from error
        return person_of(claims, self._config)

    def _exchange(self, client: httpx.Client, provider: Provider, code: str, verifier: str) -> dict[str, Any]:
        """Return what the token endpoint gives for a code (RFC 6749, 4.1.3)."""
        config = self._config
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
                "client_id": config.client_id, "code_verifier": verifier}  # fmt: skip
        headers = {}
        if config.client_secret_file is not None:
            secret = Path(config.client_secret_file).read_text().strip()
            if "client_secret_basic" in provider.token_endpoint_auth_methods_supported:
                pair = f"{quote_plus(config.client_id)}:{quote_plus(secret)}"  # RFC 6749, 2.3.1
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            else:
                form["client_secret"] = secret
        answer = client.post(provider.token_endpoint, data=form, headers=headers)
        token = msgspec.json.decode(answer.content[:MAX_ANSWER], type=dict[str, Any])
        if answer.status_code != 200:
            raise _refused(f"the identity provider refuses the code: {shorten(token.get('error', answer.status_code))}")
        return token

    def _claims(self, token: Mapping[str, Any], flow: Flow, now: int) -> dict[str, Any]:
        """Return the claims of an ID token. Raises JoseError, ValueError and Unauthorized."""
        text = token.get("id_token")
        if not isinstance(text, str) or len(text) > MAX_ANSWER:
            raise _refused("the identity provider gave no ID token")
        decoded = self._decoded(text)
        known = {"iss": {"essential": True, "value": self._config.issuer},
                 "aud": {"essential": True, "value": self._config.client_id}}  # fmt: skip
        checked = {"nonce": flow.nonce, "client_id": self._config.client_id, "access_token": token.get("access_token")}
        claims = CodeIDToken(decoded.claims, decoded.header, known, checked)
        claims.validate(now=now, leeway=LEEWAY)
        return dict(claims)

    def _decoded(self, text: str) -> jwt.Token:
        _, keys = self._provider()
        try:
            return jwt.decode(text, keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError):
            if time.monotonic() - self._asked < AGAIN:
                raise
        _, keys = self._provider(again=True)  # the provider may have a new key
        return jwt.decode(text, keys, algorithms=ALGORITHMS)

    def _with_userinfo(
        self, client: httpx.Client, provider: Provider, token: Mapping[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token.get('access_token', '')}"}
        answer = client.get(provider.userinfo_endpoint, headers=headers)
        more = answer.json() if answer.status_code == 200 else {}
        if not isinstance(more, dict) or more.get("sub") != claims["sub"]:  # Core 5.3.2: it must be the same person
            raise _refused("the identity provider names two different people")
        return more | claims

    def _provider(self, *, again: bool = False) -> tuple[Provider, KeySet]:
        with self._lock:
            if self._known is None or again or time.monotonic() - self._asked > _FRESH:
                if time.monotonic() - self._failed < AGAIN:
                    raise NotReady(
                        "the identity provider did not answer a moment ago",
                        code="provider_away",
                    )
                try:
                    self._known = self._asked_for()
                except NotReady:
                    self._failed = time.monotonic()
                    raise
                self._asked = time.monotonic()
            return self._known

    def _asked_for(self) -> tuple[Provider, KeySet]:
        issuer = self._config.issuer
        try:
            with httpx.Client(timeout=_TIMEOUT, transport=self._transport) as client:
                where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
                provider = msgspec.json.decode(_body(client, where), type=Provider)
                if provider.issuer != issuer:
                    raise InputError(f"found the issuer '{shorten(provider.issuer)}', expected '{issuer}'")
                keys = KeySet.import_key_set(msgspec.json.decode(_body(client, provider.jwks_uri)))
        except (httpx.HTTPError, msgspec.DecodeError, JoseError, InputError, ValueError, KeyError) as error:
            detail = f"the identity provider cannot be asked: {shorten(error)}"
            raise NotReady(detail, code="provider_away") from error
        return provider, keys


def _body(client: httpx.Client, url: str) -> bytes:
    with client.stream("GET", url) as answer:
        answer.raise_for_status()
        data = bytearray()
        for part in answer.iter_bytes():
            data += part
            if len(data) > MAX_ANSWER:
                raise InputError(f"found more than {MAX_ANSWER} bytes at {url}")
    return bytes(data)


def _refused(detail: str, hint: str = "") -> Unauthorized:
    return Unauthorized(detail, code="sign_on_failed", hint=hint)
