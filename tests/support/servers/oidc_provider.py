"""An OpenID provider on loopback: it signs on whoever asks, and tells of them what a test says."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import json
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

if TYPE_CHECKING:
    from collections.abc import Iterator


class Provider:
    """A provider.

    Attributes:
        claims: Of the person who signs on, in the ID token.
        userinfo: More claims, at the userinfo endpoint.
        spoil: Changes the claims of an ID token before it is signed.
        sign_with: The key that signs; another than `keys` has is not the provider's.
        codes: What was asked for, by code.
        tokens: Requests of the token endpoint that were answered.
        key_requests: How often the keys were asked for.
        clock: What its tokens say of the time.
    """

    client_id, secret = "authz", "s3cret"

    def __init__(self) -> None:
        self.claims: dict[str, Any] = {"sub": "u1", "email": "anna@example.com", "email_verified": True}
        self.userinfo: dict[str, Any] = {}
        self.spoil: dict[str, Any] = {}
        self.keys = [RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})]
        self.sign_with = self.keys[0]
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens = self.key_requests = 0
        self.clock: Any = time.time
        self.port = 0

    @property
    def issuer(self) -> str:
        """Its own name."""
        return f"http://127.0.0.1:{self.port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Provider]:
        """Serve."""
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.get(self)

            def do_POST(self) -> None:
                owner.post(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)

    def get(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer a GET."""
        path, query = urlsplit(handler.path).path, parse_qs(urlsplit(handler.path).query)
        if path == "/.well-known/openid-configuration":
            names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks",
                     "userinfo_endpoint": "userinfo"}  # fmt: skip
            told = {"issuer": self.issuer} | {name: f"{self.issuer}/{end}" for name, end in names.items()}
            answer(handler, 200, told)
        elif path == "/jwks":
            self.key_requests += 1
            answer(handler, 200, KeySet([*self.keys]).as_dict(private=False))
        elif path == "/userinfo":
            answer(handler, 200, {"sub": self.claims["sub"]} | self.userinfo)
        elif path == "/authorize":
            asked = {name: values[0] for name, values in query.items()}
            code = secrets.token_urlsafe(16)
            self.codes[code] = asked
            back = urlencode({"code": code, "state": asked["state"], "iss": self.issuer})
            handler.send_response(302)
            handler.send_header("Location", f"{asked['redirect_uri']}?{back}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        else:
            answer(handler, 404, {})

    def post(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Exchange a code, as RFC 6749 and RFC 7636 say."""
        length = int(handler.headers["Content-Length"])
        form = {name: values[0] for name, values in parse_qs(handler.rfile.read(length).decode()).items()}
        basic = base64.b64encode(f"{self.client_id}:{self.secret}".encode()).decode()
        asked = self.codes.pop(form.get("code", ""), None)  # a code is good once
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if handler.headers["Authorization"] != f"Basic {basic}":
            answer(handler, 401, {"error": "invalid_client"})
        elif (
            asked is None
            or asked.get("code_challenge_method") != "S256"
            or asked.get("code_challenge") != challenge
            or asked["redirect_uri"] != form["redirect_uri"]
        ):
            answer(handler, 400, {"error": "invalid_grant"})
        else:
            self.tokens += 1
            told = {"access_token": "at", "token_type": "Bearer", "id_token": self.id_token(asked)}
            answer(handler, 200, told)

    def id_token(self, asked: dict[str, str]) -> str:
        """Return the signed ID token of who asked."""
        now = int(self.clock())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300,
                  "nonce": asked["nonce"], **self.claims, **self.spoil}  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.sign_with.kid}, claims, self.sign_with)


def answer(handler: http.server.BaseHTTPRequestHandler, status: int, body: object) -> None:
    """Send JSON."""
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
