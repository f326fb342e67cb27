"""Applications: their modes, defaults and precedence; and the switch from dry run to enforcing."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Response, Router, get, post
from litestar.params import FromPath

from authz.control.api import applications as api
from authz.control.api.common.asking import in_thread
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.changing import Made, afterwards, notice_by, written
from authz.control.console.common.forms import words
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page, see_other
from authz.control.lists.explain import application_settings
from authz.control.model.problems import Invalid, Missing, Problem
from authz.control.model.records import APPLICATION, POLICY_LAYER
from authz.control.store.entries.documents import find_documents
from authz.engine.model import ANY_APPLICATION, Application

MODES: Final = {
    "off": "The deny list denies. The gray list and attack signals are ignored.",
    "monitoring": "The same as off. The name says what it is for.",
    "safe_blocking": "Clients on the gray list are denied if the request shows an attack.",
    "block": "Every request that shows an attack is denied as well.",
}
PRECEDENCES: Final = ("allow_first", "deny_first", "most_specific")
DEFAULTS: Final = ("allow", "deny")
MATCHES: Final = ("client", "path")


@get("/applications")
async def show_applications(asked: Asker) -> Response[str]:
    """Show all applications with the settings that hold for each."""
    asked.caller.need("read")
    applications = await done_by(api.get_applications, asked)
    effective = await in_thread(_effective, asked, [application.name for application in applications])
    notice = await in_thread(notice_by, asked, asked.request.query_params.get("done", ""))
    return page(asked, "setup/applications.html", applications=applications, effective=effective, modes=MODES,
                notice=notice)  # fmt: skip


def _effective(asked: Asked, names: list[str]) -> dict[str, Application]:
    with asked.plane.store.reading() as tx:
        documents = find_documents(tx, APPLICATION)
    return {name: application_settings(documents, name) for name in {*names, ANY_APPLICATION}}


@get("/applications/{name:str}")
async def show_one(asked: Asker, name: FromPath[str]) -> Response[str]:
    """Show the form of an application; one that is not there yet begins empty."""
    asked.caller.need("read")
    if not asked.caller.owns(name):
        raise Missing(f"there is no application '{name[:64]}'")
    return await _form(asked, name, None)


@post("/applications", status_code=200)
async def open_form(asked: Asker) -> Response[str]:
    """Go to the form of a new application."""
    name = str((await asked.form()).get("name", "")).strip()
    return see_other(f"/applications/{name}" if name.replace("-", "").replace("_", "").replace(".", "").isalnum()
                     and name.isascii() else "/applications")  # fmt: skip


@post("/applications/{name:str}", status_code=200)
async def save(asked: Asker, name: FromPath[str]) -> Response[str]:
    """Give an application its settings, or take it away."""
    if not asked.caller.owns(name):  # a refusal would show the form with what the other tenant has
        raise Missing(f"there is no application '{name[:64]}'")
    form = await asked.form()
    reason = str(form.get("reason", ""))
    try:
        if form.get("do") == "delete":
            answer = await done_by(api.remove_application, asked, name=name, reason=reason)
        else:
            settings = settings_of({key: str(form.get(key, "")) for key in form})
            answer = await done_by(api.set_application, asked, name=name, data=settings, reason=reason)
    except Problem as error:
        return await _form(asked, name, error)
    serials = msgspec.json.decode(answer)["serials"]
    return afterwards("/applications", written([Made(layer, serial, serial) for layer, serial in serials.items()]))


def settings_of(form: dict[str, str]) -> dict[str, Any]:
    """Return the settings that a form gives; what is left to `*` is left out."""
    settings: dict[str, Any] = {
        name: form[name] for name in ("mode", "default", "precedence", "match") if form.get(name)
    }  # fmt: skip
    for name in ("dry_run", "denylist_in_monitoring"):
        if form.get(name) in {"yes", "no"}:
            settings[name] = form[name] == "yes"
    if form.get("hosts", "").strip():
        settings["hosts"] = words(form["hosts"])
    deny = {name: form[f"deny_{name}"] for name in ("status", "body", "content_type") if form.get(f"deny_{name}")}
    if deny:
        settings["deny"] = deny | ({"status": int(deny["status"])} if deny.get("status", "").isdigit() else {})
    return settings


async def _form(asked: Asked, name: str, problem: Problem | None) -> Response[str]:
    own, effective = await in_thread(_read_one, asked, name)
    mistakes: dict[str, str] = {}
    for m in problem.mistakes if isinstance(problem, Invalid) else ():
        field = m.pointer.strip("/").replace("/", "_")
        mistakes.setdefault("hosts" if field.startswith("hosts_") else field, m.detail)
    may = asked.caller.may("admin") and POLICY_LAYER in asked.plane.config.limits()
    return page(
        asked, "setup/application.html", status=problem.status if problem else 200, name=name, own=own,
        effective=effective, modes=MODES, precedences=PRECEDENCES, defaults=DEFAULTS, matches=MATCHES,
        problem=problem, mistakes=mistakes, may=may,
    )  # fmt: skip


def _read_one(asked: Asked, name: str) -> tuple[dict[str, Any], Application]:
    with asked.plane.store.reading() as tx:
        documents = find_documents(tx, APPLICATION)
    return msgspec.json.decode(documents.get(name) or b"{}"), application_settings(documents, name)


router: Any = Router("/", route_handlers=[show_applications, show_one, open_form, save])
