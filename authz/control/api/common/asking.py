"""What handlers share: who asks, repeated requests, cursors, ETags, times, and waiting until a change is everywhere."""

from __future__ import annotations

import base64
import functools
import time
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import anyio.to_thread
import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, QueryParameter

from authz.addresses import Network, parse_network, try_parse_address
from authz.control.access.callers import Caller, authenticate
from authz.control.access.sessions import caller_of_session, check_csrf
from authz.control.api.common.cookies import session_secret
from authz.control.lists.rules.periods import moment
from authz.control.model.problems import FieldMistake, Invalid, Problem
from authz.control.model.records import MICROSECONDS
from authz.control.plane import ControlPlane, Idempotent, fingerprint
from authz.errors import AddressError, BadValue, shorten

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from authz.control.access.roles import Right
    from authz.control.model.records import Method

T = TypeVar("T")
AnyRequest = Request[Any, Any, Any]
Asker = NamedDependency[Caller]
Wait = Literal["published", "enforced"]
LONGEST_WAIT = 60.0  # seconds
WaitFor = Annotated[Wait | None, QueryParameter(name="wait", description="Answer when it is published, or enforced.")]
Timeout = Annotated[
    float, QueryParameter(name="timeout", ge=0, le=LONGEST_WAIT, description="Seconds that `wait` waits at most.")
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key", min_length=1, max_length=200, description="A repeated request does nothing."
    ),
]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="The ETag of the version that is meant.")]
Covering = Annotated[
    str | None, QueryParameter(description="An address or network: what covers it, or lies in it.", max_length=100)
]
Limit = Annotated[int, QueryParameter(name="limit", ge=1, le=1000)]
Cursor = Annotated[str | None, QueryParameter(name="cursor", max_length=1000)]
_CALLER = "authz_caller"  # of a request's scope
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS: dict[str, Method] = {"cli": "cli", "console": "manual"}


async def in_thread(call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Run what asks the store, beside the event loop."""
    return await anyio.to_thread.run_sync(functools.partial(call, *arguments, **named))


def plane_of(request: AnyRequest) -> ControlPlane:
    """Return the control plane that the application serves."""
    plane: ControlPlane = request.app.state.plane
    return plane


async def know_first(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Find out who asks before anything of the body is read or parsed: nobody has us work without a token.

    Raises Unauthorized, Forbidden and TooMany, and Problem for a NUL, which no database keeps.
    """
    if "\0" in connection.scope["path"] or b"%00" in connection.scope["query_string"]:
        raise Problem("found a NUL in the address, expected text", code="bad_parameter")
    if isinstance(connection, Request) and "caller" in handler.parsed_fn_signature.parameters:
        connection.scope[_CALLER] = await _who_asks(connection)  # type: ignore[literal-required]  # a key of ours


async def provide_caller(request: AnyRequest) -> Caller:
    """Return who asks: by a token, or by a session's cookie. Raises Unauthorized, Forbidden and TooMany."""
    known: Caller | None = request.scope.get(_CALLER)  # type: ignore[assignment]  # a key of ours
    return known or await _who_asks(request)


def needing(right: Right) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]:
    """Return a guard that refuses who has not a right, before the body is read."""

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        caller: Caller = connection.scope[_CALLER]  # type: ignore[literal-required]  # `know_first` comes before
        caller.need(right)

    return guard


async def _who_asks(request: AnyRequest) -> Caller:
    if "authorization" not in request.headers and session_secret(request):
        caller = await session_caller(request)
        if request.method not in SAFE_METHODS:
            check_csrf(session_secret(request), request.headers.get("x-csrf-token"))
        return caller
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return await caller_of(request, secret.strip() if scheme.lower() == "bearer" else "")


async def caller_of(request: AnyRequest, secret: str) -> Caller:
    """Return who has a token."""
    plane = plane_of(request)
    method = _METHODS.get(request.headers.get("authz-method", ""), "api")
    caller = await in_thread(
        authenticate, plane.store, secret, client_address(request), request.scope.get("authz_request_id", ""), method
    )
    plane.rate.take(caller.token.id, time.monotonic())
    return caller


async def session_caller(request: AnyRequest) -> Caller:
    """Return who has the session of the cookie. What may change things also has to show the CSRF token."""
    plane = plane_of(request)
    secret = session_secret(request)
    request_id = request.scope.get("authz_request_id", "")
    caller, _ = await in_thread(
        caller_of_session, plane.store, plane.config.sign_on, secret, client_address(request), request_id
    )
    plane.rate.take(caller.token.id, time.monotonic())
    return caller


def client_address(request: AnyRequest) -> str | None:
    """Return where a request comes from: the peer, or what a trusted proxy says, read from the right."""
    if request.client is None:
        return None
    known = try_parse_address(request.client.host)
    proxies = plane_of(request).config.proxies()
    forwarded = ",".join(request.headers.getall("x-forwarded-for", []))
    for element in reversed(forwarded.split(",")[-32:]):
        if known is None or known not in proxies or not element.strip():
            break
        before = try_parse_address(element.strip())
        known = before or known
        if before is None:
            break
    return known.text if known is not None else None


async def idempotent_of(request: AnyRequest, key: str | None) -> Idempotent | None:
    """Return the key of a request that may be repeated."""
    if key is None:
        return None
    body = await request.body()
    return Idempotent(key, fingerprint(request.method, request.url.path, request.url.query, body))


def parsed_moment(text: str | None, name: str) -> int | None:
    """Return a time of record in microseconds. A time with fractions keeps them. Raises Invalid."""
    if text is None:
        return None
    try:
        seconds = moment(text, f"?{name}")
    except Invalid as error:
        error.status = 400
        raise
    head, dot, tail = text.partition(".")
    digits = "".join(c for c in tail.split("+")[0].split("-")[0] if c.isdigit()) if dot and head else ""
    return seconds * MICROSECONDS + (int(digits[:6].ljust(6, "0")) if digits else 0)


def parsed_network(text: str | None, name: str = "address") -> Network | None:
    """Return an address or network of a query. Raises Invalid."""
    if text is None:
        return None
    try:
        return parse_network(text)
    except AddressError as error:
        problem = Invalid([FieldMistake(f"?{name}", error.message)])
        problem.status = 400
        raise problem from error


def write_cursor(place: Any) -> str:
    """Return where the next page begins, as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def read_cursor(text: str | None, decoder: msgspec.json.Decoder[T]) -> T | None:
    """Return what `write_cursor` was given. Raises Problem (`bad_cursor`)."""
    if text is None:
        return None
    try:
        place = decoder.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not all(map(_can_be_kept, place if isinstance(place, tuple) else (place,))):
            raise BadValue("a number or text that no store keeps")
    except (BadValue, ValueError, msgspec.DecodeError) as error:
        raise Problem(f"found the cursor '{shorten(text)}', expected one of an answer", code="bad_cursor") from error
    return place


def _can_be_kept(value: object) -> bool:
    """Return whether a database can have a value."""
    return "\0" not in value if isinstance(value, str) else isinstance(value, int) and -(2**63) <= value < 2**63
