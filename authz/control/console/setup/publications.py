"""What is published, and which sidecars have it."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get

from authz.control.api import layers as api
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.session import Asker
from authz.control.console.look.render import page

SHOWN = 40


@get("/publications")
async def show_publications(asked: Asker) -> Response[str]:
    """Show signed files and sidecars."""
    published = await done_by(api.get_publications, asked, limit=SHOWN)
    offers = {layer.name: asked.plane.offers.get(layer.name) for layer in asked.plane.config.layers}
    return page(asked, "setup/publications.html", found=published, offers=offers)


router: Any = Router("/", route_handlers=[show_publications])
