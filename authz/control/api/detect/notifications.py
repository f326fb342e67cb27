"""`/v1/notifications`: who is notified about what, and what became of each message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Router, get
from litestar.params import FromQuery, QueryParameter

from authz.control.api.common.asking import AnyRequest, Asker, Limit, in_thread, parsed_moment, plane_of
from authz.control.api.common.problems import documented
from authz.control.model.problems import Forbidden
from authz.control.notify.state import ChannelState, Delivery, list_channels, list_messages

if TYPE_CHECKING:
    from authz.control.access.callers import Caller


class NotificationsBody(msgspec.Struct, frozen=True):
    """Channels, and messages, the newest first."""

    channels: list[ChannelState]
    items: list[Delivery]


@get("", summary="Messages to people and programs", responses=documented())
async def get_notifications(
    request: AnyRequest, caller: Asker, channel: FromQuery[str | None] = None,
    before: Annotated[str | None, QueryParameter(description="Messages made before this time.")] = None,
    limit: Limit = 100,
) -> NotificationsBody:  # fmt: skip
    """List the channels and recent messages: sent, waiting or dropped, and why."""
    _need_main(caller)
    plane = plane_of(request)
    messages = await in_thread(list_messages, plane, channel, parsed_moment(before, "before"), limit)
    return NotificationsBody(await in_thread(list_channels, plane), messages)


def _need_main(caller: Caller) -> None:
    caller.need("read")
    if caller.sees is not None:
        raise Forbidden("channels are the main tenant's", code="tenant")


router: Any = Router("/v1/notifications", route_handlers=[get_notifications], tags=["notifications"])
