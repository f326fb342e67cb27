"""The pages of the admin listener."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from support.sidecar.running import (
    get,
    run,
    running,
)

if TYPE_CHECKING:
    from support.publishing.publisher import Publisher


def test_the_admin_pages(publisher: Publisher) -> None:
    publisher.publish(serial=3, created=1_800_000_000)

    async def live() -> None:
        async with running(publisher.folder) as started:
            assert (await started.page("/livez")).body == b"ok\n"
            content = (await started.snapshot())["loaded"]
            digest = content.pop("digest")
            assert re.fullmatch("[0-9a-f]{64}", digest)
            assert content == {
                "serial": 3,
                "created": "2027-01-15T08:00:00Z",
                "signed_by": [publisher.key().keyid],
                "bytes": (publisher.folder / "lists.snapshot").stat().st_size,
                "entries": 3,
                "applications": ["*", "shop", "admin"],
                "pieces": content["pieces"],
                "match_sets": content["match_sets"],
                "stale": False,
            }
            assert (await started.page("/nothing")).status == 404
            posted = await asyncio.to_thread(get, started.sidecar.ports["admin"], "/livez", None, "POST")
            assert posted.status == 405
            assert (await started.page("/metrics")).headers["content-type"].startswith("text/plain; version=0.0.4")

    run(live())
