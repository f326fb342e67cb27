"""`/v1/counts`: how many entries each list has, now or as of a time."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
from litestar import Router, get
from litestar.params import QueryParameter

from authz.control.api.common.asking import AnyRequest, Asker, in_thread, parsed_moment, plane_of
from authz.control.api.common.bodies import micro_moment
from authz.control.api.common.problems import documented
from authz.control.store.entries.counts import Counts, count_at


class ListCount(msgspec.Struct, frozen=True):
    """Entries of a tenant on a list, in a layer."""

    tenant: str
    layer: str
    list: str
    entries: int


class ListCountsBody(msgspec.Struct, frozen=True):
    """How many entries were recorded and had not expired. lists: of all that the caller sees; items: each of it."""

    at: str
    total: int
    lists: dict[str, int]
    items: list[ListCount]


@get("", summary="How many entries, now or as of a time", responses=documented())
async def get_counts(
    request: AnyRequest, caller: Asker,
    at: Annotated[str | None, QueryParameter(description="As of this time; default now.")] = None,
) -> ListCountsBody:  # fmt: skip
    """Count entries by list, tenant and layer.

    The cost depends on the changes of one day, not on the length of history.
    """
    caller.need("read")
    plane = plane_of(request)
    recorded = parsed_moment(at, "at") or plane.store.now()

    def read() -> Counts:
        with plane.store.reading() as tx:
            return count_at(tx, recorded)

    counts = {group: n for group, n in (await in_thread(read)).items() if caller.sees in {None, group.tenant}}
    lists = Counter[str]()
    for group, n in counts.items():
        lists[group.list] += n
    items = [ListCount(*group, n) for group, n in sorted(counts.items())]
    return ListCountsBody(micro_moment(recorded), lists.total(), dict(sorted(lists.items())), items)


router: Any = Router("/v1/counts", route_handlers=[get_counts], tags=["entries"])
