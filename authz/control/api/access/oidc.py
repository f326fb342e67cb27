"""`/v1/session/oidc`: signing on by an identity provider. A browser is sent there, and comes back to `/callback`."""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import anyio
import anyio.to_thread
import msgspec
from litestar import Request, Response, Router, get
from litestar.params import FromQuery

from authz.control.access.flow import LIFE, Flow
from authz.control.access.sessions import sign_on
from authz.control.api.common.asking import AnyRequest, client_address, plane_of
from authz.control.api.common.cookies import own_cookie, own_path, session_cookie, session_secret, shown_cookie
from authz.control.api.common.problems import as_problem, documented, handle
from authz.control.model.problems import Forbidden, Missing
from authz.control.model.records import MICROSECONDS
from authz.control.store.access.tokens import get_tenant

if TYPE_CHECKING:
    from authz.control.access.oidc import Relying
    from authz.control.plane import ControlPlane

COOKIE: Final = "authz_oidc"
_THREADS: Final = anyio.CapacityLimiter(4)  # anybody may begin, and a slow provider must not take those of others


@get("/v1/session/oidc", summary="Sign on by the identity provider", status_code=303, responses=documented(404),
     security=[{}])  # fmt: skip
async def begin_oidc(request: AnyRequest, to: FromQuery[str] = "/") -> Response[None]:
    """Redirect a browser to the identity provider. to: the page of the console to return to."""
    plane = plane_of(request)
    begin = functools.partial(_relying(plane).begin, own_path(to), plane.store.now() // MICROSECONDS)
    url, flow = await anyio.to_thread.run_sync(begin, limiter=_THREADS)
    packed = base64.urlsafe_b64encode(msgspec.msgpack.encode(flow)).decode()
    cookie = own_cookie(plane.config, COOKIE, packed, LIFE)
    return Response(None, status_code=303, headers={"Location": url, "Cache-Control": "no-store"}, cookies=[cookie])


@get("/v1/session/oidc/callback", summary="Back from the identity provider", status_code=303,
     responses=documented(404), security=[{}])  # fmt: skip
async def end_oidc(request: AnyRequest) -> Response[None]:
    """Check the provider's answer, start a session, and redirect to the requested page."""
    plane = plane_of(request)
    relying = _relying(plane)
    flow = _flow(shown_cookie(request, COOKIE))
    query = {name: str(value) for name, value in request.query_params.items()}

    def finish() -> str:
        person = relying.finish(flow, query, plane.store.now() // MICROSECONDS)
        with plane.store.reading() as tx:
            if get_tenant(tx, person.tenant) is None:
                raise Forbidden(f"there is no tenant '{person.tenant}'", code="no_role")
        made = sign_on(
            plane.store, plane.config.sign_on, person, client_address(request),
            str(request.scope.get("authz_request_id", "")), before=session_secret(request),
        )  # fmt: skip
        return made.secret

    secret = await anyio.to_thread.run_sync(finish, limiter=_THREADS)
    cookies = [session_cookie(plane.config, secret), own_cookie(plane.config, COOKIE, "", 0)]
    headers = {"Location": flow.to if flow is not None else "/", "Cache-Control": "no-store"}
    return Response(None, status_code=303, headers=headers, cookies=cookies)


def _relying(plane: ControlPlane) -> Relying:
    if plane.oidc is None:
        raise Missing("this control plane has no identity provider", hint="sign_on.oidc of control.yaml")
    return plane.oidc


def _flow(packed: str) -> Flow | None:
    try:
        flow = msgspec.msgpack.decode(base64.urlsafe_b64decode(packed), type=Flow)
    except (ValueError, msgspec.DecodeError):
        return None
    return flow if own_path(flow.to) == flow.to else None


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer what went wrong: to a person with the page that signs on, which says it, to a program as JSON."""
    if "text/html" not in request.headers.get("accept", ""):
        return handle(request, error)
    location = f"/sign-in?{urlencode({'why': as_problem(error).code})}"
    return Response(None, status_code=303, headers={"Location": location, "Cache-Control": "no-store"})


router: Any = Router(
    "/", route_handlers=[begin_oidc, end_oidc], tags=["access"], exception_handlers={Exception: _refuse}
)
