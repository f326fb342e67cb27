"""`/v1/tokens`, `/v1/tenants`: who may what."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Router, delete, get, post, put
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta

from authz.control.access.approvals import APPROVED_BY
from authz.control.api.common.asking import AnyRequest, Asker, in_thread, plane_of
from authz.control.api.common.bodies import Input, TokenBody, TokenInput, micro_moment
from authz.control.api.common.problems import documented
from authz.control.lists.rules.check import network_mistakes
from authz.control.lists.rules.periods import end_of
from authz.control.model.problems import FieldMistake, Forbidden, Invalid, Missing
from authz.control.model.records import MAIN_TENANT, MICROSECONDS
from authz.control.store.access import tokens as store_access
from authz.engine.model import TOKEN
from authz.times import format_moment


def _token_body(token: store_access.Token, secret: str | None = None) -> TokenBody:
    return TokenBody(
        token.id, token.name, token.role, token.tenant, token.networks, micro_moment(token.created),
        None if token.expires is None else format_moment(token.expires),
        None if token.revoked is None else micro_moment(token.revoked), token.person,
        UNSET if secret is None else secret,
    )  # fmt: skip


@post("/v1/tokens", summary="Make a token", status_code=201, responses=documented(404, 422), tags=["access"])
async def add_token(request: AnyRequest, caller: Asker, data: JSONBody[TokenInput]) -> TokenBody:
    """Create a token for the caller's tenant or, as the main tenant, for any. Its secret is in this answer only."""
    caller.need("admin")
    plane = plane_of(request)
    mistakes = list(network_mistakes(data.networks, "/networks"))
    names = (("/name", data.name), ("/person", data.person))
    mistakes += [FieldMistake(at, "found control characters, expected text") for at, text in names
                 if not text.isprintable()]  # fmt: skip
    if APPROVED_BY in data.name:
        mistakes.append(FieldMistake("/name", f"found '{APPROVED_BY}', which history says of two persons"))
    if mistakes:
        raise Invalid(mistakes)
    tenant = data.tenant or caller.tenant.name
    if caller.sees not in {None, tenant}:
        raise Forbidden(f"the tenant '{caller.tenant.name}' makes tokens of its own only", code="other_tenant")

    def write() -> TokenBody:
        now = plane.store.now()
        expires = end_of(data.period, data.expires, now / MICROSECONDS)
        with plane.store.writing() as tx:
            if store_access.get_tenant(tx, tenant) is None:
                raise Missing(f"there is no tenant '{tenant[:64]}'")
            token, secret = store_access.add_token(
                tx, tenant=tenant, name=data.name, role=data.role, networks=data.networks, expires=expires, now=now,
                person=data.person,
            )  # fmt: skip
            store_access.note(tx, caller.actor(), "token.add", token.id, now, f"{data.role} {data.name}")
        return _token_body(token, secret)

    return await in_thread(write)


@get("/v1/tokens", summary="Tokens", responses=documented(), tags=["access"])
async def get_tokens(request: AnyRequest, caller: Asker) -> list[TokenBody]:
    """List tokens, without their secrets."""
    caller.need("admin")
    plane = plane_of(request)

    def read() -> list[TokenBody]:
        with plane.store.writing() as tx:
            store_access.note(tx, caller.actor(), "token.list", caller.sees or "*", plane.store.now())
            return [_token_body(token) for token in store_access.list_tokens(tx, caller.sees)]

    return await in_thread(read)


@delete(
    "/v1/tokens/{token_id:str}", summary="Revoke a token", status_code=200, responses=documented(404), tags=["access"]
)
async def revoke_token(request: AnyRequest, caller: Asker, token_id: FromPath[str]) -> TokenBody:
    """Revoke a token at once. A second call is harmless."""
    caller.need("admin")
    plane = plane_of(request)

    def write() -> TokenBody:
        with plane.store.writing() as tx:
            token = store_access.get_token(tx, token_id)
            if token is None or caller.sees not in {None, token.tenant}:
                raise Missing("there is no such token")
            store_access.revoke_token(tx, token_id, plane.store.now())
            store_access.note(tx, caller.actor(), "token.revoke", token_id, plane.store.now())
            again = store_access.get_token(tx, token_id)
        return _token_body(again or token)

    return await in_thread(write)


class TenantInput(Input, frozen=True, kw_only=True):
    """Which applications are a tenant's own: names, or patterns such as team-a-*."""

    applications: Annotated[tuple[str, ...], Meta(min_length=1, max_length=1000)]


class TenantBody(msgspec.Struct, frozen=True):
    """A tenant."""

    name: str
    applications: tuple[str, ...]
    created: str


@put("/v1/tenants/{name:str}", summary="Make or change a tenant", responses=documented(422), tags=["access"])
async def put_tenant(
    request: AnyRequest, caller: Asker, name: FromPath[str], data: JSONBody[TenantInput]
) -> TenantBody:
    """Create a tenant, or change its applications. Only the main tenant may."""
    caller.need("admin")
    if caller.sees is not None:
        raise Forbidden(f"only the tenant '{MAIN_TENANT}' makes tenants", code="other_tenant")
    if not TOKEN.fullmatch(name):
        raise Invalid([FieldMistake("?name", "expected letters, digits, '.', '_' and '-', at most 64")])
    bad = [i for i, pattern in enumerate(data.applications) if not TOKEN.fullmatch(pattern.replace("*", "x") or "-")]
    if bad:
        raise Invalid(
            [FieldMistake(f"/applications/{i}", "expected a name, or a pattern such as team-a-*") for i in bad]
        )
    if name == MAIN_TENANT and "*" not in data.applications:
        raise Invalid([FieldMistake("/applications", f"expected '*' for the tenant '{MAIN_TENANT}'")])
    plane = plane_of(request)

    def write() -> TenantBody:
        with plane.store.writing() as tx:
            store_access.put_tenant(tx, name, data.applications, plane.store.now())
            store_access.note(tx, caller.actor(), "tenant.put", name, plane.store.now(), ", ".join(data.applications))
            tenant = store_access.get_tenant(tx, name)
        if tenant is None:
            raise AssertionError  # it was just written
        return TenantBody(tenant.name, tenant.applications, micro_moment(tenant.created))

    return await in_thread(write)


@get("/v1/tenants", summary="Tenants", responses=documented(), tags=["access"])
async def get_tenants(request: AnyRequest, caller: Asker) -> list[TenantBody]:
    """List the tenants that the caller may see."""
    caller.need("read")
    plane = plane_of(request)

    def read() -> list[TenantBody]:
        with plane.store.reading() as tx:
            tenants = store_access.list_tenants(tx)
        return [
            TenantBody(t.name, t.applications, micro_moment(t.created))
            for t in tenants
            if caller.sees in {None, t.name}
        ]

    return await in_thread(read)


router: Any = Router("/", route_handlers=[add_token, get_tokens, revoke_token, put_tenant, get_tenants])
