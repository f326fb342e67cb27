"""Who may what: tokens, tenants, and the sessions of people."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get, post

from authz.control.access.roles import RIGHTS, ROLES
from authz.control.api.access import sessions as api_sessions
from authz.control.api.access import tokens as api
from authz.control.api.common.bodies import TokenBody, TokenInput
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.forms import lines, words
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page, see_other
from authz.control.model.problems import FieldMistake, Invalid, Problem

PERIODS = {"30d": "30 days", "90d": "90 days", "365d": "1 year", "forever": "forever"}


@get("/people")
async def show_people(asked: Asker) -> Response[str]:
    """Show tokens, tenants and sessions."""
    return await _page(asked)


@post("/people/tokens", status_code=200)
async def add_token(asked: Asker) -> Response[str]:
    """Make a token. Its secret is on the page that answers, and nowhere else."""
    form = await asked.form()
    values = {name: str(form.get(name, "")).strip() for name in ("name", "role", "tenant", "networks", "period")}
    try:
        if not 1 <= len(values["name"]) <= 100:
            raise Invalid([FieldMistake("/name", "expected 1 to 100 characters")])
        if values["role"] not in ROLES:
            raise Invalid([FieldMistake("/role", "expected one of the roles")])
        data = TokenInput(
            name=values["name"], role=values["role"],
            tenant=values["tenant"] or None, networks=tuple(lines(values["networks"])), period=values["period"] or None,
        )  # fmt: skip
        made = await done_by(api.add_token, asked, data=data)
    except Problem as error:
        return await _page(asked, problem=error, values=values)
    return await _page(asked, made=made)


@post("/people/tokens/revoke", status_code=200)
async def revoke_token(asked: Asker) -> Response[str]:
    """End a token at once."""
    form = await asked.form()
    await done_by(api.revoke_token, asked, token_id=str(form.get("id", "")))
    return see_other("/people?told=revoked")


@post("/people/sessions/end", status_code=200)
async def end_session(asked: Asker) -> Response[str]:
    """End a session at once."""
    form = await asked.form()
    await done_by(api_sessions.end_session, asked, session_id=str(form.get("id", "")))
    return see_other("/people?told=session-ended")


@post("/people/tenants", status_code=200)
async def put_tenant(asked: Asker) -> Response[str]:
    """Make a tenant, or give it other applications."""
    form = await asked.form()
    values = {name: str(form.get(name, "")).strip() for name in ("tenant_name", "applications")}
    data = api.TenantInput(applications=tuple(words(values["applications"])))
    try:
        if not data.applications:
            raise Invalid([FieldMistake("/applications", "expected names, or patterns such as team-a-*")])
        await done_by(api.put_tenant, asked, name=values["tenant_name"], data=data)
    except Problem as error:
        return await _page(asked, problem=error, values=values)
    return see_other("/people?told=saved")


async def _page(
    asked: Asked, *, made: TokenBody | None = None, problem: Problem | None = None, values: dict[str, str] | None = None
) -> Response[str]:
    tokens = await done_by(api.get_tokens, asked)
    tenants = await done_by(api.get_tenants, asked)
    sessions = await done_by(api_sessions.get_sessions, asked)
    return page(
        asked, "setup/people.html", status=problem.status if problem else 200, tokens=tokens, tenants=tenants,
        sessions=sessions, roles={role: ", ".join(sorted(RIGHTS[role])) for role in ROLES}, made=made, problem=problem,
        values=values or {}, periods=PERIODS, mistakes=_mistakes(problem),
    )  # fmt: skip


def _mistakes(problem: Problem | None) -> dict[str, str]:
    """Return what is wrong with each field, by the first part of its pointer; `?name` is a tenant's."""
    told = problem.mistakes if isinstance(problem, Invalid) else ()
    return {
        "tenant_name" if pointer == "?name" else pointer.strip("/").partition("/")[0]: detail
        for pointer, detail in reversed(told)
    }


router: Any = Router(
    "/", route_handlers=[show_people, add_token, revoke_token, end_session, put_tenant]
)  # fmt: skip
