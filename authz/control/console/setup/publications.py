"""What is published, and which sidecars have it."""

from __future__ import annotations

from typing import Any

from litestar import Response, Router, get

from authz.control.api import layers as api
from authz.control.api.common.asking import in_thread
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.session import Asker
from authz.control.console.look.render import page
from authz.control.console.overview.attention import away_sidecars

SHOWN = 40


@get("/publications")
async def show_publications(asked: Asker) -> Response[str]:
    """Show signed files and sidecars."""
    published = await done_by(api.get_publications, asked, limit=SHOWN)
    offers = {layer.name: asked.plane.offers.get(layer.name) for layer in asked.plane.config.layers}
    away = await in_thread(away_sidecars, asked)
    return page(asked, "setup/publications.html", found=published, offers=offers, away=away)


router: Any = Router("/", route_handlers=[show_publications])
