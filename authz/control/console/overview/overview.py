"""How things stand: the first page."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get

from authz.control.console.render import see_other
from authz.control.console.session import Asker


@get("/")
async def show_overview(asked: Asker) -> Response[str]:
    """Show how things stand."""
    asked.caller.need("read")
    return see_other("/lists")


router: Any = Router("/", route_handlers=[show_overview])
