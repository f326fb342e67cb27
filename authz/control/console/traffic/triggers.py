"""Triggers: what is counted and what came of it; holds; writing one, and trying it on yesterday's events."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from litestar import Response, Router, get, post
from litestar.params import FromPath
from msgspec import UNSET

from authz.control.api.common.asking import in_thread
from authz.control.api.detect import triggers as api
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.forms import words
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page, see_other
from authz.control.console.traffic.events import events_of_day
from authz.control.detect.triggers import state
from authz.control.model.problems import Conflict, Invalid, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = {
    "brute_force": "requests to given paths",
    "forced_browsing": "404 answers",
    "bola": "different values of one parameter of a path, such as {id}",
    "payloads": "different malicious payloads, as reported by a WAF",
    "rate": "requests",
    "api_abuse": "requests by bots",
}
PERIODS: Final = ("5m", "1h", "6h", "1d", "7d", "forever")
_WHERE: Final = ("application", "path", "method", "status")
_EMPTY: Final = {"kind": "brute_force", "over": "30", "within": "30s", "by": "address", "list": "deny", "period": "1h",
                 "dry_run": "yes"}  # fmt: skip


@get("/triggers")
async def show_triggers(asked: Asker) -> Response[str]:
    """Show triggers and holds."""
    triggers = await done_by(api.list_triggers, asked)
    holds = await done_by(api.get_holds, asked)
    return page(asked, "traffic/triggers.html", found=triggers, holds=holds.items, kinds=KINDS)


@get("/triggers/new")
async def new_trigger(asked: Asker) -> Response[str]:
    """Show the form of a new trigger; it begins as a dry run."""
    asked.caller.need("edit")
    return await _form(asked, _EMPTY, None)


@get("/triggers/{name:str}")
async def edit_trigger(asked: Asker, name: FromPath[str]) -> Response[str]:
    """Show the form of a trigger of the API. Raises Conflict for one of triggers.yaml."""
    asked.caller.need("edit")
    known = await _known(asked, name)
    if known.content is None:
        raise Conflict(f"triggers.yaml has '{name}'", code="owned_by_file", hint="change the file")
    return await _form(asked, values_of(known.content), known)


@post("/triggers", status_code=200)
async def save_trigger(asked: Asker) -> Response[str]:
    """Try a trigger on yesterday's events, or write it."""
    form = await asked.form()
    values = {name: str(form.get(name, "")).strip() for name in form}
    of, seen = values.get("of", ""), values.get("seen", "")
    known = await _known(asked, of) if of else None
    content = content_of(values, known.content if known and known.content else {})
    try:
        if values.get("do") == "try":
            data = api.TrialInput(trigger=content, from_=UNSET, to=UNSET)
            return await _form(asked, values, known, trial=await done_by(api.test_trigger, asked, data=data))
        if known is not None:
            await done_by(api.set_trigger, asked, name=of, data=content, if_match=f'"{of}.{seen}"')
        else:
            await done_by(api.add_trigger, asked, data=content)
    except Problem as error:
        return await _form(asked, values, known, problem=error)
    return see_other("/triggers?told=saved")


@post("/triggers/{name:str}", status_code=200)
async def act(asked: Asker, name: FromPath[str]) -> Response[str]:
    """Let a trigger go on that had stopped, or delete it."""
    form = await asked.form()
    if form.get("do") == "delete":
        await done_by(api.delete_trigger, asked, name=name, if_match=f'"{name}.{form.get("seen", "")}"')
        return see_other("/triggers?told=deleted")
    await done_by(api.resume_trigger, asked, name=name)
    return see_other("/triggers?told=resumed")


@post("/holds", status_code=200)
async def end_hold(asked: Asker) -> Response[str]:
    """Let triggers list a network again."""
    form = await asked.form()
    await done_by(api.delete_hold, asked, hold_id=str(form.get("id", "")))
    return see_other("/triggers?told=hold-ended")


async def _known(asked: Asked, name: str) -> state.TriggerState:
    known: state.TriggerState = await done_by(api.get_trigger, asked, name=name)
    return known


def content_of(values: Mapping[str, str], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trigger as triggers.yaml writes it. before: what the form does not show is kept from it."""
    content = copy.deepcopy(dict(before))
    content |= {"name": values.get("name", ""), "kind": values.get("kind", ""), "dry_run": "dry_run" in values}
    where = content.setdefault("where", {})
    for name in _WHERE:
        where.pop(name, None)
        if values.get(name):
            where[name] = words(values[name])
    count, then = content.setdefault("count", {}), content.setdefault("then", {})
    count |= {name: values.get(name, "") for name in ("over", "within", "by")}
    then |= {name: values.get(name, "") for name in ("list", "period")}
    if not where:
        del content["where"]
    return content


def values_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return what a form shows of a trigger."""
    where, count, then = content.get("where", {}), content.get("count", {}), content.get("then", {})
    values = {name: _words(where.get(name, "")) for name in _WHERE}
    values |= {name: str(count.get(name, _EMPTY.get(name, ""))) for name in ("over", "within", "by")}
    values |= {name: str(then.get(name, _EMPTY.get(name, ""))) for name in ("list", "period")}
    values |= {"name": str(content.get("name", "")), "kind": str(content.get("kind", ""))}
    return values | ({"dry_run": "yes"} if content.get("dry_run") else {})


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


async def _form(
    asked: Asked, values: Mapping[str, str], known: state.TriggerState | None, *, problem: Problem | None = None,
    trial: dict[str, Any] | None = None,
) -> Response[str]:  # fmt: skip
    told = problem.mistakes if isinstance(problem, Invalid) else ()
    mistakes = [(mistake.pointer.strip("/").replace("/", "."), mistake.detail) for mistake in told]
    came = await in_thread(events_of_day, asked)
    answered = came and await in_thread(events_of_day, asked, answered=True)
    return page(
        asked, "traffic/trigger.html", status=problem.status if problem else 200, values=values, known=known,
        kinds=KINDS, periods=PERIODS, problem=problem, mistakes=mistakes, trial=trial,
        came=came, answered=answered,
    )  # fmt: skip


router: Any = Router(
    "/", route_handlers=[show_triggers, new_trigger, edit_trigger, save_trigger, act, end_hold]
)  # fmt: skip
