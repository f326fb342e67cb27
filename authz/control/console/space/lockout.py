"""Who is locked out? Networks that matter (offices, partners, monitors), and what denies them now."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from litestar import Response, Router, get

from authz.addresses import Network, parse_networks
from authz.analysis.lockout import Denial, would_deny
from authz.control.api.common.asking import in_thread
from authz.control.console.common.forms import lines
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page
from authz.control.lists.rules.check import network_mistakes
from authz.control.model.records import MICROSECONDS, POLICY_LAYER, Entry
from authz.control.store.entries.find import Filter, find_entries

MAX_NETWORKS: Final = 100
SHOWN: Final = 10  # entries of a network


class Standing(NamedTuple):
    """What denies a network, or parts of it.

    Attributes:
        entries: Of the lists.
        denials: By the published first layer, too.
    """

    network: Network
    entries: list[Entry]
    allowing: list[Entry]
    denials: list[Denial]

    @property
    def clear(self) -> bool:
        """Whether nothing denies any of it."""
        return not self.entries and not self.denials


@get("/locked-out")
async def show_locked_out(asked: Asker) -> Response[str]:
    """Show what denies some networks; without any, the protected ones."""
    asked.caller.need("read")
    text = asked.request.query_params.get("networks", "").strip()
    mistakes = [mistake.detail for mistake in network_mistakes(tuple(lines(text)), "/networks")]
    networks = [] if mistakes else [network for line in lines(text) for network in parse_networks(line)]
    protected = await in_thread(_protected, asked)
    asked_for = networks or ([] if mistakes else protected)
    standings = await in_thread(standing_of, asked, asked_for[:MAX_NETWORKS])
    return page(asked, "space/lockout.html", status=422 if mistakes else 200, text=text, mistakes=mistakes,
                found=standings, of_protected=not networks and not mistakes, more=max(len(asked_for) - MAX_NETWORKS, 0),
                seconds=asked.plane.store.now() / MICROSECONDS)  # fmt: skip


def _protected(asked: Asked) -> list[Network]:
    with asked.plane.store.reading() as tx:
        return list(asked.plane.rules(tx).protected)


def standing_of(asked: Asked, networks: list[Network]) -> list[Standing]:
    """Return what denies each network."""
    plane, now = asked.plane, asked.plane.store.now()
    standings = []
    with plane.store.reading() as tx:
        policy = plane.opened.at(tx, POLICY_LAYER, now) if asked.caller.sees is None else None
        denials = would_deny(policy, networks, now / MICROSECONDS) if policy is not None and networks else []
        for network in networks:
            denying = _entries(asked, tx, network, "deny")
            known = {entry.id for entry in denying}
            others = [denial for denial in denials if denial.network == network and denial.entry not in known]
            standings.append(Standing(network, denying, _entries(asked, tx, network, "allow"), others))
    return standings


def _entries(asked: Asked, tx: Any, network: Network, list_: str) -> list[Entry]:
    now = asked.plane.store.now() // MICROSECONDS
    wanted = Filter(tenant=asked.caller.sees, list=list_, network=network, unexpired_at=now)
    return [entry for entry in find_entries(tx, wanted, limit=SHOWN) if entry.action == "block" and entry.active(now)]


router: Any = Router("/", route_handlers=[show_locked_out])
