"""The addresses of all pages, those with something to show and those without."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.control import Control, Running

PAGES = (
    "/", "/attention", "/approvals", "/lists", "/lists?list=deny", "/lists?only=exceptions",
    "/lists?q=nothing%20like%20it", "/lists?q=10.0.0.2/10", "/add", "/add?list=allow", "/explain",
    "/explain?address=203.0.113.9&application=shop", "/events", "/events?live=yes", "/events?entry=none", "/history",
    "/difference", "/locked-out", "/locked-out?networks=203.0.113.0/24", "/map", "/map?layer=bans&of=203", "/triggers",
    "/triggers/new", "/events/setup", "/feeds", "/notifications", "/applications", "/applications/shop",
    "/applications/*", "/publications", "/people",
)  # fmt: skip


def pages_of(running: Running | Control) -> list[str]:
    """Return the pages of one entry, and of one change that waits, where one does."""
    entry = running.ok("GET", "/v1/entries?list=deny&limit=1")["items"][0]["id"]
    waiting = [f"/approvals/{approval['id']}" for approval in running.ok("GET", "/v1/approvals")[:1]]
    return [f"/entries/{entry}", f"/entries/{entry}/edit", f"/entries/{entry}/period", *waiting]
