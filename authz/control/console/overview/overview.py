"""How things stand: decisions of the last day, who is denied most, the lists, sidecars, and what needs attention."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from litestar import Response, Router, get

from authz.control.api import layers as api
from authz.control.api.common.asking import in_thread
from authz.control.api.layers import SidecarBody
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.session import Asked, Asker
from authz.control.console.lists.reading import names_of
from authz.control.console.look.render import page
from authz.control.console.overview.attention import Item, attention_of, away_sidecars
from authz.control.model.records import MICROSECONDS, Change, Entry
from authz.control.store.entries.pages import count_lists
from authz.control.store.events.search import WantedEvents, count_by_country, count_by_time, events_came
from authz.control.store.events.top import MAX_EVENTS, Busiest, find_busiest
from authz.control.store.events.writing import DAY
from authz.control.store.ledger.history import Wanted, find_changes

STEP: Final = 30  # minutes of a point of the chart
RECENT: Final = 6  # changes
TOP: Final = 6  # of who is denied most


class Standing(NamedTuple):
    """What the page shows.

    Attributes:
        chart: Times (seconds), allowed, denied; of the last day.
    """

    lists: dict[str, int]
    chart: tuple[list[int], list[int], list[int]]
    changes: list[Change]
    attention: list[Item]

    @property
    def allowed(self) -> int:
        """How many requests were allowed."""
        return sum(self.chart[1])

    @property
    def denied(self) -> int:
        """How many were denied."""
        return sum(self.chart[2])


@get("/")
async def show_overview(asked: Asker) -> Response[str]:
    """Show how things stand."""
    asked.caller.need("read")
    standing = await in_thread(_read, asked)
    points = msgspec.json.encode(standing.chart).decode()
    published = await done_by(api.get_publications, asked, limit=1)
    away = {sidecar.name for sidecar in await in_thread(away_sidecars, asked)}
    return page(asked, "overview/overview.html", standing=standing, points=points, away=len(away),
                sidecars=by_name(published.sidecars), problems=published.problems)  # fmt: skip


def by_name(sidecars: list[SidecarBody]) -> list[tuple[str, list[SidecarBody]]]:
    """Return sidecars with the layers of each, those first that refuse one or are behind."""
    layers_of: dict[str, list[SidecarBody]] = {}
    for sidecar in sidecars:
        layers_of.setdefault(sidecar.name, []).append(sidecar)
    return sorted(
        layers_of.items(), key=lambda item: (not any(layer.refusal or layer.behind for layer in item[1]), item[0])
    )


def _read(asked: Asked) -> Standing:
    plane, sees, now = asked.plane, asked.caller.sees, asked.plane.store.now()
    with plane.store.reading() as tx:
        lists = count_lists(tx, sees, now // MICROSECONDS)
        counts = count_by_time(tx, now - DAY, now, STEP, patterns=asked.patterns)
        changes = find_changes(tx, Wanted(tenant=sees), limit=RECENT)
    return Standing(lists, chart_of(counts, now), changes, attention_of(asked))


def chart_of(counts: list[tuple[int, str, int]], now: int) -> tuple[list[int], list[int], list[int]]:
    """Return counts as columns, with zeros where nothing was. now: microseconds."""
    width = STEP * 60
    last = now // MICROSECONDS // width * width
    times = list(range(last - DAY // MICROSECONDS + width, last + width, width))
    counted = {(time, decision): many for time, decision, many in counts}
    allowed = [counted.get((time, "allow"), 0) + counted.get((time, ""), 0) for time in times]
    return times, allowed, [counted.get((time, "deny"), 0) for time in times]


@get("/busiest")
async def show_busiest(asked: Asker) -> Response[str]:
    """Show who is denied most, and by what."""
    asked.caller.need("read")
    now = asked.plane.store.now()
    wanted = WantedEvents(decision="deny", begin=now - DAY, end=now, patterns=asked.patterns)
    busiest, names, countries, came = await in_thread(_busiest, asked, wanted)
    return page(asked, "overview/busiest.html", busiest=busiest, names=names, countries=countries, came=came,
                most=MAX_EVENTS)  # fmt: skip


def _busiest(
    asked: Asked, wanted: WantedEvents
) -> tuple[Busiest, dict[str, Entry], list[tuple[str, int]], bool]:  # fmt: skip
    now = asked.plane.store.now()
    with asked.plane.store.reading() as tx:
        busiest = find_busiest(tx, wanted, shown=TOP)
        counts = count_by_country(tx, now - DAY, now, patterns=asked.patterns)
        names = names_of(asked, tx, (name for name, _ in busiest.entries))
        came = events_came(tx, now - DAY, now, asked.patterns)
    denied = [(count.country, count.denied) for count in counts if count.country and count.denied]
    return busiest, names, denied[:TOP], came


router: Any = Router("/", route_handlers=[show_overview, show_busiest])
