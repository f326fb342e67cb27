"""The pages of the admin listener."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING

from support.sidecar.running import (
    get,
    run,
    running,
)

from authz.serve.admin.pages import Admin

if TYPE_CHECKING:
    import pytest
    from support.publishing.publisher import Publisher

    from authz.serve.http1.messages import Answer, HeadParts

CROWDED = """\
version: 1
applications: {"*": {mode: block, default: allow}}
entries:
""" + "".join(f"  - {{id: e{number}, list: deny, networks: [198.18.0.0/20]}}\n" for number in range(250))


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


def test_pages_that_are_asked_for_in_one_go_leave_their_turns_to_decisions(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece of 4 kB had 60 requests for /explain, which were all answered in one turn of the event loop."""
    publisher.publish()
    pages = 0
    by_turn: list[int] = []
    handle = Admin.handle

    def counted(self: Admin, head: HeadParts) -> Answer:
        nonlocal pages
        pages += 1
        return handle(self, head)

    monkeypatch.setattr(Admin, "handle", counted)

    async def count_turns() -> None:
        while True:
            before = pages
            await asyncio.sleep(0)
            by_turn.append(pages - before)

    async def live() -> None:
        async with running(publisher.folder) as started:
            counting = asyncio.create_task(count_turns())
            _, greedy = await asyncio.open_connection("127.0.0.1", started.sidecar.ports["admin"])
            reader, polite = await asyncio.open_connection("127.0.0.1", started.sidecar.ports["http"])
            greedy.write(b"HEAD /explain?address=192.0.2.7 HTTP/1.1\r\n\r\n" * 1000)
            for _ in range(5):
                polite.write(b"GET /v1/auth/shop HTTP/1.1\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert 0 < pages < 500
            counting.cancel()
            for writer in (greedy, polite):
                writer.close()

    run(live())
    assert max(by_turn) == 1


def test_explain_shows_so_many_entries_as_hold_up_nobody_and_counts_the_rest(publisher: Publisher) -> None:
    publisher.publish(CROWDED)

    async def live() -> None:
        async with running(publisher.folder) as started:
            content = json.loads((await started.page("/explain?address=198.18.0.1")).body)
        assert (len(content["covering"]), content["more"]) == (200, 50)
        assert content["decision"]["decision"] == "deny"

    run(live())
