"""Every page and every way to look at lists and events, over SQLite and over PostgreSQL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from support.console.addresses import PAGES, pages_of
from support.console.data import fill
from support.console.forms import Console
from support.processes import wait_for

from authz.control.store.entries.pages import SORTS

if TYPE_CHECKING:
    from support.control import Control

MORE = (
    "/busiest", "/attention/count", "/history.csv", "/lists?q=guess", "/lists?q=203.0.113.0/24", "/lists?ends=day",
    "/lists?ends=never", "/lists?author=admin", "/lists?source=api", "/lists?application=shop",
    "/events?decision=deny", "/events?address=203.0.113.9", "/events?address=203.0.113.0/24&status=403",
    "/events?country=DE", "/events?application=shop&since=2020-01-01T00:00", "/history?address=203.0.113.0/24",
    "/explain?address=2001:db8:bad::1&application=shop", "/find?q=203.0.113.9", "/map/at?network=203.0.0.0/8",
)  # fmt: skip


BY_LINES = {"Content-Type": "application/x-ndjson"}


def test_every_page_opens(plane: Control) -> None:
    fill(plane, bans=3, events=100)
    console = Console(plane)
    refused = {"/lists?q=10.0.0.2/10": 422}
    for path in (*PAGES, *pages_of(plane), *MORE):
        answer = console.get(path)
        expected = refused.get(path, 303 if path.startswith("/find") else 200)
        assert answer.status_code == expected, (path, answer.text[:500])


def test_pages_of_lists_and_events_follow_each_other_to_the_end(plane: Control) -> None:
    rows = [{"list": "deny", "networks": [f"192.0.2.{n}"], "applications": ["shop"] * (n % 2)} for n in range(60)]
    plane.ok("POST", "/v1/entries/bulk", rows)
    events = "\n".join(f'{{"client": "192.0.2.{n}", "application": "shop"}}' for n in range(120))
    plane.client.post("/v1/events", content=events, headers=BY_LINES | {"Authorization": f"Bearer {plane.token}"})
    console = Console(plane)
    entries = plane.ok("GET", "/v1/entries?limit=500")["items"]
    wait_for(lambda: 'rel="next"' in console.get("/events").text, "the events are kept")
    for sort in SORTS:
        for direction in ("", "-"):
            seen = followed(console, f"/lists?sort={direction}{sort}", r'name="pick" value="([^".]+)')
            assert sorted(seen) == sorted(entry["id"] for entry in entries), (direction, sort)
    assert len(followed(console, "/events", r'<td class="time"><time datetime="([^"]+)"')) == 120


def followed(console: Console, path: str, pattern: str) -> list[str]:
    """Return what all pages have, from one to the next."""
    rows: list[str] = []
    while True:
        page = console.get(path).text
        rows += re.findall(pattern, page)
        following = re.search(r'rel="next" href="([^"]+)"', page)
        if following is None:
            return rows
        path = unquote(following[1]).replace("&amp;", "&")
