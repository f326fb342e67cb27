"""Who is notified about what: channels of control.yaml, what waits for them, and a message to try one."""

from __future__ import annotations

from typing import Any, NamedTuple

from litestar import Response, Router, get, post

from authz.control.api.common.asking import in_thread
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page
from authz.control.model.problems import Forbidden
from authz.control.notify.outbox import count_waiting
from authz.control.notify.trial import try_channel
from authz.errors import InputError


class ChannelShown(NamedTuple):
    """A channel, without what is secret of it: an address may hold a token."""

    name: str
    kind: str
    topics: tuple[str, ...]
    gather: float


@get("/notifications")
async def show_channels(asked: Asker) -> Response[str]:
    """Show channels."""
    return await _page(asked, "", "")


@post("/notifications", status_code=200)
async def try_one(asked: Asker) -> Response[str]:
    """Send a message to a channel now."""
    asked.caller.need("admin")
    _need_main(asked)
    name = str((await asked.form()).get("name", ""))
    try:
        told = await in_thread(try_channel, asked.plane.config.notify, name)
    except InputError as error:
        return await _page(asked, "", error.message)
    return await _page(asked, told, "")


async def _page(asked: Asked, told: str, mistake: str) -> Response[str]:
    asked.caller.need("read")
    _need_main(asked)
    waiting = await in_thread(_waiting, asked)
    return page(asked, "setup/channels.html", channels=_channels(asked), waiting=waiting, told=told,
                mistake=mistake)  # fmt: skip


def _channels(asked: Asked) -> list[ChannelShown]:
    return [
        ChannelShown(channel.name, channel.kind, channel.topics, channel.gather)
        for channel in asked.plane.config.notify.channels
    ]


def _waiting(asked: Asked) -> int:
    with asked.plane.store.reading() as tx:
        return count_waiting(tx)


def _need_main(asked: Asked) -> None:
    if asked.caller.sees is not None:
        raise Forbidden("channels are the main tenant's", code="other_tenant")


router: Any = Router("/", route_handlers=[show_channels, try_one])
