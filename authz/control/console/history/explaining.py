"""Why an address is allowed or denied, now or at any time."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from litestar import Response, Router, get

from authz.addresses import Address, parse_address, try_parse_address
from authz.control.api.common.asking import in_thread, parsed_moment
from authz.control.console.common.forms import let_through, utc
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import known_of, seconds_of
from authz.control.console.look.render import page, see_other
from authz.control.lists.explain import Covering, Explanation, explain
from authz.control.model.problems import Invalid, Missing
from authz.control.model.records import POLICY_LAYER
from authz.control.store.entries.find import get_entry
from authz.engine.model import ANY_APPLICATION
from authz.errors import AddressError, shorten
from authz.times import format_moment


@get("/explain")
async def show_explanation(asked: Asker) -> Response[str]:
    """Explain a decision."""
    given = asked.request.query_params
    values = {name: given.get(name, "").strip() for name in ("address", "application", "at")}
    values["at"] = utc(values["at"])
    explanation, mistakes = None, {}
    if values["address"]:
        try:
            address = parse_address(values["address"])
            at = parsed_moment(values["at"] or None, "at")
            explanation = await in_thread(_explain, asked, address, values["application"] or None, at)
        except AddressError as error:
            mistakes = {"address": error.message}
        except Invalid as error:
            mistakes = {"at": error.mistakes[0].detail}
    known = await in_thread(known_of, asked)
    at = None if mistakes else parsed_moment(values["at"] or None, "at")
    deciding = next((c for c in explanation.covering if c.verdict == "decides"), None) if explanation else None
    return page(
        asked, "history/explaining.html", status=422 if mistakes else 200, values=values, found=explanation, at=at,
        mistakes=mistakes, known=known, seconds=seconds_of(asked, at), by=deciding and deciding.entry,
        through="" if at or not explanation else _through(asked, values["address"], explanation, deciding),
    )  # fmt: skip


def _through(asked: Asked, address: str, explanation: Explanation, deciding: Covering | None) -> str:
    """Return the form that lets one address of what is denied through; empty: it is denied alone, or may not be."""
    if deciding is None or deciding.entry is None or deciding.list != "deny" or not asked.caller.may("edit"):
        return ""
    network, entry = deciding.network, deciding.entry
    alone = network.length == (32 if network.version == 4 else 128)
    if alone or explanation.application.precedence == "deny_first":  # there the allow list does not help
        return ""
    when = {} if entry.expires is None else {"expires": format_moment(entry.expires)}
    return let_through([address], when, " ".join(entry.applications))


def _explain(asked: Asked, address: Address, application: str | None, at: int | None) -> Explanation:
    if application not in {None, ANY_APPLICATION} and not asked.caller.owns(application):
        raise Missing(f"there is no application '{shorten(application)}'")
    plane, when = asked.plane, at or asked.plane.store.now()
    with plane.store.reading() as tx:
        policy = plane.opened.at(tx, POLICY_LAYER, when) if asked.caller.sees is None else None
        return explain(tx, address, application, when, tenant=asked.caller.sees, policy=policy)


@get("/find")
async def find(asked: Asker) -> Response[str]:
    """Go where a text leads: an address is explained, an entry's id opened, anything else looked for in the lists."""
    text = asked.request.query_params.get("q", "").strip()
    if try_parse_address(text) is not None:
        return see_other(f"/explain?{urlencode({'address': text})}")
    if text and await in_thread(_is_entry, asked, text):
        return see_other(f"/entries/{quote(text, safe='')}")
    return see_other(f"/lists?{urlencode({'q': text})}" if text else "/lists")


def _is_entry(asked: Asked, text: str) -> bool:
    with asked.plane.store.reading() as tx:
        entry = get_entry(tx, text)
    return entry is not None and asked.caller.sees in {None, entry.tenant}


router: Any = Router("/", route_handlers=[show_explanation, find])
