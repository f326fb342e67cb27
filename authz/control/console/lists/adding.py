"""Adding and changing an entry: the form, what it would do while it is written, and ranges as networks."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get, post
from litestar.params import FromPath, FromQuery

from authz.addresses import parse_networks
from authz.control.api.applications import get_applications
from authz.control.api.common.asking import in_thread
from authz.control.api.common.bodies import BanInput, EntryInput, EntryPatch
from authz.control.api.common.operations import AddBan, AddEntry, ChangeEntry, Operation
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.changing import afterwards, carry_out, need_for
from authz.control.console.common.forms import (
    EMPTY,
    OTHER,
    PRESETS,
    UNTIL,
    FormState,
    entry_input,
    form_of,
    let_through,
    lines,
    mistakes_of,
    period_of,
    values_of,
    words,
)
from authz.control.console.common.session import Asked, Asker
from authz.control.console.common.trying import try_entry
from authz.control.console.lists.reading import Known, entry_of, known_of
from authz.control.console.look.render import page
from authz.control.lists.rules.periods import FOREVER
from authz.control.model.problems import Forbidden, Problem
from authz.control.model.records import SUBJECTS, Entry
from authz.errors import AddressError

MAX_NETWORKS = 64  # of a range that are shown


@get("/add")
async def add_page(asked: Asker, address: FromQuery[str] = "", reason: FromQuery[str] = "") -> Response[str]:
    """Show the form of a new entry. What the address of the page says is filled in."""
    asked.caller.need("ban")
    query = asked.request.query_params
    given = {"networks": address, "reason": reason, "list": query.get("list", "deny")}
    given["applications"] = query.get("applications", "")
    if query.get("until"):
        given |= {"period": UNTIL, "until": query["until"]}
    elif given["list"] == "allow":
        given["period"] = FOREVER  # one who is let in for an hour would soon be locked out
    return await _form(asked, FormState({**EMPTY.values, **given}, {}))


@post("/add", status_code=200)
async def add(asked: Asker) -> Response[str]:
    """Add an entry."""
    values = values_of(await asked.form())
    try:
        operation = _addition(asked, entry_input(values))
        need_for(asked.caller, operation)
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return await _form(asked, mistakes_of(error, values), status=error.status)
    return afterwards("/lists", done, approval)


def _addition(asked: Asked, data: EntryInput) -> Operation:
    """Return the operation: an entry; the short form for a person who may only ban."""
    if asked.caller.may("edit"):
        return AddEntry(data)
    others = any(getattr(data, name) for name in (*SUBJECTS[1:], "except_")) or data.starts is not None
    if others or len(data.networks) != 1 or data.list == "allow" or data.action != "block":
        raise Forbidden("the role may ban one address or network at a time, and nothing else", code="role")
    return AddBan(BanInput(
        address=data.networks[0], applications=data.applications, period=data.period, expires=data.expires,
        reason=data.reason, list=data.list, force=data.force,
    ))  # fmt: skip


@get("/entries/{entry_id:str}/edit")
async def edit_page(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Show the form that changes an entry."""
    asked.caller.need("edit")
    entry = await in_thread(entry_of, asked, entry_id)
    return await _form(asked, form_of(entry), entry=entry)


@post("/entries/{entry_id:str}/edit", status_code=200)
async def edit(asked: Asker, entry_id: FromPath[str]) -> Response[str]:
    """Change an entry, if nobody else has since the form was shown."""
    asked.caller.need("edit")
    form = await asked.form()
    values, seen = values_of(form), str(form.get("seen", ""))
    entry = await in_thread(entry_of, asked, entry_id)
    try:
        data = _patch(entry_input(values), take_over=values["take_over"] == "yes")
        operation = ChangeEntry(entry_id, data, f'"{entry_id}.{seen}"', may_edit=True)
        done, approval = await in_thread(carry_out, asked.plane, asked.caller, [operation])
    except Problem as error:
        return await _form(asked, mistakes_of(error, values), status=error.status, entry=entry)
    return afterwards(f"/entries/{entry_id}", done, approval)


def _patch(data: EntryInput, *, take_over: bool) -> EntryPatch:
    names = (*SUBJECTS, "except_", "list", "applications", "action", "starts", "reason", "force")
    when = {"period": data.period} if data.expires is None else {"expires": data.expires}
    return EntryPatch(**{name: getattr(data, name) for name in names}, take_over=take_over, **when)


@post("/add/preview", status_code=200)
async def show_preview(asked: Asker) -> Response[str]:
    """Show what an entry would do, while it is written."""
    form = await asked.form()
    values = values_of(form)
    try:
        data = entry_input(_as_begun(values))
        named = any(getattr(data, name) for name in SUBJECTS)
        tried = await in_thread(try_entry, asked, data, str(form.get("of", ""))) if named else None
        state = FormState(values, {}) if tried is None or tried.preview.refusal is None else mistakes_of(
            tried.preview.refusal, values
        )  # fmt: skip
    except Problem as error:
        tried, state = None, mistakes_of(error, values)
    wanted = words(values["applications"])
    known = [application.name for application in await done_by(get_applications, asked)] if wanted else []
    return page(asked, "lists/preview.html", tried=tried, form=state, through=_through(state),
                new_applications=sorted({*wanted}.difference(known)), applications=known)  # fmt: skip


def _as_begun(values: dict[str, str]) -> dict[str, str]:
    """Return a form without a period that is still to be written: in a field that is empty nothing is wrong so far."""
    written = {OTHER: values["other"].strip(), UNTIL: values["until"]}.get(values["period"], "given")
    return values if written else values | {"period": ""}


def _through(form: FormState) -> str:
    """Return the form that puts exceptions on the allow list, where the entry that is changed can have none."""
    if form.problem is None or form.problem.code != "not_permitted" or not form.wrong("except"):
        return ""
    return let_through(lines(form.value("except")), period_of(_as_begun({**form.values})), form.value("applications"))


@get("/ranges")
async def show_range(asked: Asker) -> Response[str]:
    """Show a range as the fewest networks."""
    given = asked.request.query_params
    first, last = given.get("from", "").strip(), given.get("to", "").strip()
    mistake, networks = "", []
    if first and last:
        try:
            networks = [str(network) for network in parse_networks(f"{first}-{last}")]
        except AddressError as error:
            mistake = error.message
    return page(asked, "lists/range.html", networks=networks[:MAX_NETWORKS], more=max(len(networks) - MAX_NETWORKS, 0),
                count=len(networks), mistake=mistake)  # fmt: skip


async def _form(asked: Asked, form: FormState, *, status: int = 200, entry: Entry | None = None) -> Response[str]:
    known: Known = await in_thread(known_of, asked)
    return page(asked, "lists/adding.html", status=status, form=form, known=known, presets=PRESETS, entry=entry,
                shown=_shown(form))  # fmt: skip


def _shown(form: FormState) -> str:
    """Return which kind of subject the form opens with: the first with something wrong, or something in it."""
    kinds = {"networks": ("networks",), "range": ("from", "to"), "countries": ("countries", "regions"),
             "asns": ("asns",), "sources": ("sources",), "hosts": ("hosts",)}  # fmt: skip
    for has in (form.wrong, form.value):
        for kind, names in kinds.items():
            if any(has(name) for name in names):
                return kind
    return "networks"


router: Any = Router("/", route_handlers=[add_page, add, edit_page, edit, show_preview, show_range])
