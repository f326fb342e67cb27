"""Signing on with a token, signing out, and the theme."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie
from litestar.params import FromQuery

from authz.control.access.sessions import sign_on_with_token, sign_out
from authz.control.api.common.asking import AnyRequest, client_address, in_thread, plane_of
from authz.control.api.common.cookies import (
    MAX_SIGN_ON,
    no_session_cookie,
    own_path,
    refuse_other_sites,
    session_cookie,
    session_secret,
)
from authz.control.console.common.session import Asker, read_form
from authz.control.console.look.render import THEME_COOKIE, THEMES, plain, see_other
from authz.control.model.problems import Forbidden, Problem, Unauthorized

START: Final = "/"
YEAR: Final = 365 * 86400  # seconds
WHY: Final = {
    "sign_on_failed": "Signing on with your organisation failed or took too long. Try again.",
    "no_role": "Your account at your organisation has no role in authz. Ask an administrator of authz.",
    "no_name": "Your organisation sent no verified name for you. Ask an administrator of authz.",
    "not_ready": "Your organisation's sign-on cannot be reached. Try again later, or use a token.",
}


@get("/sign-in")
async def sign_in_page(request: AnyRequest, to: FromQuery[str] = START, why: FromQuery[str] = "") -> Response[str]:
    """Show the form that takes a token. why: the code of what went wrong at the identity provider."""
    refused = WHY.get(why, WHY["sign_on_failed"]) if why else ""
    return plain("sign_in.html", to=own_path(to), mistake="", refused=refused,
                 provider=plane_of(request).oidc is not None)  # fmt: skip


@post("/sign-in", status_code=200, request_max_body_size=MAX_SIGN_ON)
async def sign_in(request: AnyRequest) -> Response[str]:
    """Begin a session in exchange for a token. Whatever session there was ends, so nobody can plant one."""
    refuse_other_sites(request)
    form = await read_form(request)
    to, plane = own_path(str(form.get("to", ""))), plane_of(request)
    try:
        made = await in_thread(
            sign_on_with_token, plane.store, plane.config.sign_on, str(form.get("token", "")).strip(),
            client_address(request), str(request.scope.get("authz_request_id", "")), before=session_secret(request),
        )  # fmt: skip
    except (Unauthorized, Forbidden) as error:
        return plain("sign_in.html", status=error.status, to=to, mistake=_told(error), refused="",
                     provider=plane.oidc is not None)  # fmt: skip
    answer = see_other(to)
    answer.cookies.append(session_cookie(plane.config, made.secret))
    return answer


@post("/sign-out", status_code=200)
async def sign_out_here(asked: Asker) -> Response[str]:
    """End the session."""
    await in_thread(sign_out, asked.plane.store, asked.caller, asked.caller.session)
    answer = see_other("/sign-in")
    answer.cookies.append(no_session_cookie(asked.plane.config))
    return answer


def _told(error: Problem) -> str:
    if isinstance(error, Unauthorized):
        return "This token is not valid: it is mistyped, has expired, or was revoked."
    return error.message


@post("/theme", status_code=200)
async def choose_theme(asked: Asker) -> Response[str]:
    """Keep which look the viewer wants; nothing: the system's."""
    form = await asked.form()
    chosen = str(form.get("theme", ""))
    answer = see_other(own_path(str(form.get("back", START))))
    theme = chosen if chosen in THEMES else ""
    answer.cookies.append(Cookie(key=THEME_COOKIE, value=theme, path="/", samesite="lax", max_age=YEAR))
    return answer


router: Any = Router("/", route_handlers=[sign_in_page, sign_in, sign_out_here, choose_theme])
