"""What a person should look at: sidecars behind, files refused, approvals, triggers that stopped, and holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from litestar import Response, Router, get

from authz.control.access.approvals import WAITING, list_approvals
from authz.control.api.common.asking import in_thread
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.refusals import refusal_text
from authz.control.console.look.render import html, page
from authz.control.model.records import MICROSECONDS
from authz.control.publish.sidecars import CONNECTED
from authz.control.store.detection.holds import list_holds
from authz.control.store.detection.triggers import stopped
from authz.control.store.published.publications import Sidecar, counted, list_sidecars

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE: Final = 15 * MICROSECONDS  # a sidecar may be behind for so long: a file takes its way
MISSED: Final = 86400 * MICROSECONDS  # a sidecar that was not seen for longer is forgotten


class Item(NamedTuple):
    """One thing to look at.

    Attributes:
        weight: `note`: good to know, nothing is wrong.
        href: Where to act.
    """

    weight: Literal["bad", "warn", "note"]
    title: str
    detail: str
    href: str


def attention_of(asked: Asked) -> list[Item]:
    """Return what needs attention, the worst first. Reads the store."""
    items = [
        *_publishing(asked), *_inputs(asked), *_sidecars(asked), *_breakers(asked), *_warnings(asked),
        *_approvals(asked), *_holds(asked),
    ]  # fmt: skip
    return sorted(items, key=lambda item: ("bad", "warn", "note").index(item.weight))


def _publishing(asked: Asked) -> Iterator[Item]:
    for layer, problem in asked.plane.publisher.problems.items():
        detail = f"{problem.code}: {problem.message}" if asked.caller.sees is None else problem.code
        yield Item("bad", f"The layer {layer} is not published", detail, "/publications")


def _inputs(asked: Asked) -> Iterator[Item]:
    if asked.caller.sees is not None:  # messages name files of this machine
        return
    for rounds in asked.plane.inputs:
        if rounds.problem:
            yield Item("bad", f"Failing: {rounds.name}", rounds.problem, "/feeds")


def _known_sidecars(asked: Asked) -> list[Sidecar]:
    now = asked.plane.store.now()
    with asked.plane.store.reading() as tx:
        return counted(list_sidecars(tx, now - MISSED)) if asked.caller.sees is None else []


def _is_away(asked: Asked, sidecar: Sidecar) -> bool:
    return asked.plane.store.now() - sidecar.seen > CONNECTED * MICROSECONDS


def away_sidecars(asked: Asked) -> list[Sidecar]:
    """Return what sidecars served of each layer that were seen within a day, and are not connected. Reads the store."""
    return [sidecar for sidecar in _known_sidecars(asked) if _is_away(asked, sidecar)]


def _sidecars(asked: Asked) -> Iterator[Item]:
    now, known = asked.plane.store.now(), _known_sidecars(asked)
    away: dict[str, list[str]] = {}
    for sidecar in known:
        if _is_away(asked, sidecar):
            away.setdefault(sidecar.name, []).append(sidecar.layer)
    for name, layers in away.items():
        detail = f"It no longer asks for {' and '.join(layers)}; it decides by the version that it has."
        yield Item("bad", f"The sidecar {name} is disconnected", detail, "/publications")
    for sidecar in known:
        if _is_away(asked, sidecar):
            continue
        if sidecar.refusal:
            yield Item("bad", f"The sidecar {sidecar.name} refuses {sidecar.layer}",
                       refusal_text(sidecar.refusal), "/publications")  # fmt: skip
        elif _is_behind(asked, sidecar, now):
            yield Item("warn", f"The sidecar {sidecar.name} is behind", f"It serves {sidecar.layer} {sidecar.serial}.",
                       "/publications")  # fmt: skip


def _is_behind(asked: Asked, sidecar: Sidecar, now: int) -> bool:
    offer = asked.plane.offers.get(sidecar.layer)
    newer = offer is not None and sidecar.serial < offer.publication.serial
    return newer and offer is not None and now - offer.publication.created > PATIENCE


def _breakers(asked: Asked) -> Iterator[Item]:
    if asked.caller.sees is not None:
        return  # triggers are the main tenant's
    with asked.plane.store.reading() as tx:
        names = sorted(stopped(tx))
    for name in names:
        yield Item("bad", f"The trigger {name} has stopped", "It listed more clients than its breaker allows. "
                   "Check what it listed, then resume it.", "/triggers")  # fmt: skip


def _warnings(asked: Asked) -> Iterator[Item]:
    if asked.caller.sees is not None:  # feeds and host names are of the policy, which is the main tenant's
        return
    for layer, warnings in asked.plane.publisher.warnings.items():
        for warning in warnings:
            yield Item("warn", f"Signing the layer {layer} gave a warning", warning, "/feeds")


def _approvals(asked: Asked) -> Iterator[Item]:
    with asked.plane.store.reading() as tx:
        waiting = list_approvals(tx, asked.caller.sees, WAITING)
    if waiting:
        names = ", ".join(sorted({approval.actor for approval in waiting})[:3])
        yield Item("warn", f"{len(waiting)} waiting for approval", f"Requested by {names}", "/approvals")


def _holds(asked: Asked) -> Iterator[Item]:
    with asked.plane.store.reading() as tx:
        held: list[Any] = [*list_holds(tx, asked.plane.store.clock(), asked.caller.sees)]
    if held:
        names = [row.network.removesuffix("/32").removesuffix("/128") for row in held[:3]]
        networks = ", ".join(names) + (" …" if len(held) > 3 else "")
        title = "Triggers leave 1 network alone" if len(held) == 1 else f"Triggers leave {len(held):,} networks alone"
        yield Item("note", title, f"A person deleted what triggers had listed: {networks}", "/triggers")


@get("/attention")
async def show_attention(asked: Asker) -> Response[str]:
    """Show what needs attention."""
    asked.caller.need("read")
    return page(asked, "overview/attention.html", items=await in_thread(attention_of, asked))


@get("/attention/count")
async def count_attention(asked: Asker) -> Response[str]:
    """Give how many things need attention, for the menu; nothing if none does."""
    asked.caller.need("read")
    count = sum(item.weight != "note" for item in await in_thread(attention_of, asked))
    return html(f'<span class="count">{count}</span>' if count else "")


router: Any = Router("/", route_handlers=[show_attention, count_attention])
