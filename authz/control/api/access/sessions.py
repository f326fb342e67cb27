"""`/v1/session`, `/v1/sessions`: people who signed on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, Router, delete, get, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from authz.control.access.callers import MAX_SECRET
from authz.control.access.roles import RIGHTS
from authz.control.access.sessions import caller_of_session, csrf_token, sign_on_with_token, sign_out
from authz.control.api.common.asking import AnyRequest, Asker, client_address, in_thread, plane_of
from authz.control.api.common.bodies import Input, micro_moment
from authz.control.api.common.cookies import (
    MAX_SIGN_ON,
    no_session_cookie,
    refuse_other_sites,
    session_cookie,
    session_secret,
)
from authz.control.api.common.problems import documented
from authz.control.model.problems import Unauthorized
from authz.control.store.access.sessions import Session, list_sessions


class SignOnInput(Input, frozen=True, kw_only=True):
    """A token, in exchange for a session."""

    token: Annotated[str, Meta(min_length=1, max_length=MAX_SECRET)]


class SessionBody(msgspec.Struct, frozen=True):
    """A session of the caller. csrf: what requests that change something show as X-CSRF-Token, beside the cookie."""

    id: str
    name: str
    tenant: str
    role: str
    rights: list[str]
    created: str
    expires: str
    csrf: str


class SessionItem(msgspec.Struct, frozen=True):
    """A session that holds. token: id of the token that was exchanged for it; empty: an identity provider's."""

    id: str
    name: str
    tenant: str
    role: str
    token: str
    address: str
    created: str
    seen: str
    expires: str


def _body(session: Session, role: str, secret: str) -> SessionBody:
    return SessionBody(
        session.id, session.name, session.tenant, role, sorted(RIGHTS.get(role, ())), micro_moment(session.created),
        micro_moment(session.expires), csrf_token(secret),
    )  # fmt: skip


def _request_id(request: AnyRequest) -> str:
    return str(request.scope.get("authz_request_id", ""))


@post("/v1/session", summary="Sign on", status_code=201, responses=documented(413, 422), security=[{}], tags=["access"],
      request_max_body_size=MAX_SIGN_ON)  # fmt: skip
async def begin_session(request: AnyRequest, data: JSONBody[SignOnInput]) -> Response[SessionBody]:
    """Start a session with a token; the answer sets its cookie. A previous session of the cookie ends."""
    refuse_other_sites(request)
    plane = plane_of(request)
    made = await in_thread(
        sign_on_with_token, plane.store, plane.config.sign_on, data.token, client_address(request),
        _request_id(request), before=session_secret(request),
    )  # fmt: skip
    cookie = session_cookie(plane.config, made.secret)
    return Response(_body(made.session, made.session.role, made.secret), status_code=201, cookies=[cookie])


@get("/v1/session", summary="Who is signed on", responses=documented(), security=[{"session": []}], tags=["access"])
async def get_session(request: AnyRequest) -> SessionBody:
    """Return the session of the cookie, with its CSRF token."""
    plane, secret = plane_of(request), session_secret(request)
    caller, session = await in_thread(
        caller_of_session, plane.store, plane.config.sign_on, secret, client_address(request), _request_id(request)
    )
    return _body(session, caller.token.role, secret)


@delete("/v1/session", summary="Sign out", status_code=204, responses=documented(), tags=["access"])
async def delete_session(request: AnyRequest, caller: Asker) -> Response[None]:
    """End the session of the cookie."""
    if not caller.session:
        raise Unauthorized("found a token, expected the cookie of a session", code="signed_off")
    plane = plane_of(request)
    await in_thread(sign_out, plane.store, caller, caller.session)
    return Response(None, status_code=204, cookies=[no_session_cookie(plane.config)])


@get("/v1/sessions", summary="Sessions", responses=documented(), tags=["access"])
async def get_sessions(request: AnyRequest, caller: Asker) -> list[SessionItem]:
    """List the active sessions."""
    caller.need("admin")
    plane = plane_of(request)

    def read() -> list[SessionItem]:
        with plane.store.reading() as tx:
            return [_item(session) for session in list_sessions(tx, caller.sees, plane.store.now())]

    return await in_thread(read)


def _item(session: Session) -> SessionItem:
    return SessionItem(
        session.id, session.name, session.tenant, session.role, session.token, session.address,
        micro_moment(session.created), micro_moment(session.seen), micro_moment(session.expires),
    )  # fmt: skip


@delete(
    "/v1/sessions/{session_id:str}", summary="End a session", status_code=204, responses=documented(404),
    tags=["access"],
)  # fmt: skip
async def end_session(request: AnyRequest, caller: Asker, session_id: FromPath[str]) -> None:
    """End anybody's session at once. A second call is harmless."""
    await in_thread(sign_out, plane_of(request).store, caller, session_id)


router: Any = Router("/", route_handlers=[begin_session, get_session, delete_session, get_sessions, end_session])
