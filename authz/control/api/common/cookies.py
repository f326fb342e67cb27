"""The cookie of a session: HttpOnly, SameSite=Lax, and Secure where browsers come by https.

Lax, not Strict: the way back from an identity provider is a navigation from another site, and the console that it
leads to has to be signed on. What changes something needs the CSRF token beside the cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from litestar.datastructures import Cookie

from authz.control.model.problems import Forbidden

if TYPE_CHECKING:
    from litestar import Request

    from authz.control.config import ControlConfig

MAX_SIGN_ON: Final = 16 << 10  # bytes that are read of somebody who signs on: nobody is known yet
COOKIE: Final = "authz_session"
SECURE_COOKIE: Final = "__Host-authz_session"  # browsers take it by https and from this very host only (RFC 6265bis)


def is_secure(config: ControlConfig) -> bool:
    """Return whether browsers reach us by https."""
    return config.tls is not None or (config.public_url or "").startswith("https://")


def session_cookie(config: ControlConfig, secret: str) -> Cookie:
    """Return the cookie that begins a session. It ends with the browser; the session itself may end before."""
    return _cookie(config, secret, None)


def no_session_cookie(config: ControlConfig) -> Cookie:
    """Return the cookie that takes the session's away."""
    return _cookie(config, "", 0)


def own_cookie(config: ControlConfig, name: str, value: str, max_age: int) -> Cookie:
    """Return another cookie with the same protection. max_age: seconds; 0 deletes it."""
    secure = is_secure(config)
    name = f"__Host-{name}" if secure else name
    return Cookie(key=name, value=value, path="/", max_age=max_age, httponly=True, secure=secure, samesite="lax")


def shown_cookie(request: Request[Any, Any, Any], name: str) -> str:
    """Return a cookie of `own_cookie`; empty: the request shows none."""
    config: ControlConfig = request.app.state.plane.config
    return request.cookies.get(f"__Host-{name}" if is_secure(config) else name, "")


def own_path(text: str) -> str:
    """Return a path of the console to go to; anything else becomes the first page, so nobody is sent elsewhere."""
    parts = urlsplit(text)
    plain = text.startswith("/") and not text.startswith("//") and not parts.scheme and not parts.netloc
    return text if plain and text.isascii() and text.isprintable() and "\\" not in text else "/"


def session_secret(request: Request[Any, Any, Any]) -> str:
    """Return the secret of a request's session; empty: it shows none."""
    config: ControlConfig = request.app.state.plane.config
    return request.cookies.get(SECURE_COOKIE if is_secure(config) else COOKIE, "")


def refuse_other_sites(request: Request[Any, Any, Any]) -> None:
    """Refuse a request that a page of another site made the browser send. Raises Forbidden (`cross_site`).

    For what has no CSRF token yet: signing on. Programs that are no browsers send neither header.
    """
    site = request.headers.get("sec-fetch-site", "none")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc not in {request.headers.get("host", ""), _host(request)}
    if site not in {"none", "same-origin"} or foreign:
        raise Forbidden("the request comes from a page of another site", code="cross_site")


def _host(request: Request[Any, Any, Any]) -> str:
    config: ControlConfig = request.app.state.plane.config
    return urlsplit(config.public_url or "").netloc


def _cookie(config: ControlConfig, value: str, max_age: int | None) -> Cookie:
    secure = is_secure(config)
    name = SECURE_COOKIE if secure else COOKIE
    return Cookie(key=name, value=value, path="/", max_age=max_age, httponly=True, secure=secure, samesite="lax")
