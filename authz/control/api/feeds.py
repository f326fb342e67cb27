"""`/v1/feeds`: what was fetched for the first layer, and what was wrong with it."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Router, get

from authz.control.api.common.asking import AnyRequest, Asker, in_thread, plane_of
from authz.control.api.common.problems import documented
from authz.control.model.problems import Forbidden
from authz.control.store.published.inputs import list_inputs
from authz.publisher.feeds.fetch.redirects import public
from authz.times import format_moment


class FeedBody(msgspec.Struct, frozen=True):
    """A feed. entries: of the last good copy; 0 and changed null: there is none yet.

    interval: seconds between two fetches. asked: when the server answered last. problem: of the last try, at `failed`.
    """

    path: str
    source: str
    url: str
    preset: str | None
    interval: float
    entries: int
    asked: str | None
    changed: str | None
    failed: str | None
    problem: str


@get("", summary="Feeds, and how fresh they are", responses=documented())
async def get_feeds(request: AnyRequest, caller: Asker) -> list[FeedBody]:
    """List the feeds of the policy that are fetched."""
    caller.need("read")
    if caller.sees is not None:
        raise Forbidden("a tenant sees its own applications only", code="other_tenant")
    plane = plane_of(request)

    def read() -> list[FeedBody]:
        with plane.store.reading() as tx:
            known = {copy.path: copy for copy in list_inputs(tx)}
        shown = []
        for feed in plane.feeds.copies.feeds():
            copy = known.get(feed.path)
            copy = copy if copy is not None and copy.url == public(feed.url) else None
            shown.append(FeedBody(
                feed.path, feed.source, public(feed.url), feed.preset, plane.feeds.copies.wanted(feed).interval,
                copy.entries if copy else 0, _moment(copy and copy.asked), _moment(copy and copy.changed),
                _moment(copy and copy.failed), copy.problem if copy else "",
            ))  # fmt: skip
        return shown

    return await in_thread(read)


def _moment(seconds: int | None) -> str | None:
    return format_moment(seconds) if seconds else None


router: Any = Router("/v1/feeds", route_handlers=[get_feeds], tags=["policy"])
