"""From a template to an answer: Jinja with escaping everywhere, and the headers that keep a page to itself.

A page is answered whole, or (to htmx, which says so by `HX-Request`) without the frame around it.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response

from authz.control.console.look import texts
from authz.control.console.look.navigation import navigation
from authz.control.console.look.static_files import versioned

if TYPE_CHECKING:
    from authz.control.console.common.session import Asked

TEMPLATES: Final = Path(__file__).parent / "templates"
THEME_COOKIE: Final = "authz_theme"
TOLD: Final = {
    "saved": "Saved.",
    "deleted": "Deleted.",
    "resumed": "The trigger is active again.",
    "hold-ended": "The hold has ended.",
    "revoked": "The token is revoked. It can no longer be used.",
    "session-ended": "The session has ended.",
}  # what the page after a change says, by `told=` of its address
THEMES: Final = ("light", "dark")
HTML: Final = "text/html"  # its charset, UTF-8, is added
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Cookie, HX-Request",
}


@functools.cache
def environment() -> Environment:
    """Return the templates. Whatever they show is escaped, and what would hide or turn text is shown as its code."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, auto_reload=False, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=texts.visible,
    )  # fmt: skip
    jinja.filters |= texts.FILTERS
    jinja.globals |= {"static": versioned, "navigation": navigation, **texts.GLOBALS}
    return jinja


def page(asked: Asked, template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """Answer a page of somebody who is signed in."""
    partial = asked.request.headers.get("hx-request") == "true"
    frame = {
        "asked": asked,
        "caller": asked.caller,
        "csrf": asked.csrf,
        "path": asked.request.url.path,
        "theme": theme_of(asked),
        "now": asked.plane.store.now(),
        "said": TOLD.get(asked.request.query_params.get("told", "")),
        "frame": "bare.html" if partial else "framed.html",
    }
    return html(environment().get_template(template).render(frame | values), status)


def plain(template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """Answer a page of somebody who is not signed in."""
    return html(environment().get_template(template).render({"theme": "", **values}), status)


def html(content: str, status: int = 200) -> Response[str]:
    """Answer HTML."""
    return Response(content, status_code=status, media_type=HTML, headers=dict(HEADERS))


def see_other(path: str) -> Response[str]:
    """Answer with another page of ours, that the browser then gets."""
    return Response("", status_code=303, media_type=HTML, headers={**HEADERS, "Location": path})


def theme_of(asked: Asked) -> str:
    """Return what the viewer chose: light or dark; empty: as the system has it."""
    chosen = asked.request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else ""
