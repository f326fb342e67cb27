"""The links beside every page. What a caller may not see is not there; what waits has a count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from authz.control.access.roles import Right
    from authz.control.console.session import Asked


class Page(NamedTuple):
    """A page: where, its name, what one must be allowed."""

    path: str
    label: str
    right: Right = "read"


class Link(NamedTuple):
    """A link as it is shown."""

    href: str
    label: str
    current: bool
    waiting: int = 0


PAGES: Final[dict[str, tuple[Page, ...]]] = {
    "Now": (Page("/", "Overview"),),
    "Lists": (
        Page("/lists", "All lists"),
        Page("/lists?list=deny", "Deny"),
        Page("/lists?list=allow", "Allow"),
        Page("/lists?list=gray", "Gray"),
    ),
    "Look into": (
        Page("/explain", "Explain"),
        Page("/history", "History"),
    ),
}


def navigation(asked: Asked) -> list[tuple[str, list[Link]]]:
    """Return the links by group."""
    path, chosen = asked.request.url.path, asked.request.query_params.get("list", "")
    here = f"{path}?list={chosen}" if path == "/lists" and chosen else path
    return [
        (group, links)
        for group, pages in PAGES.items()
        if (links := [_link(page, here) for page in pages if asked.caller.may(page.right)])
    ]


def _link(page: Page, here: str) -> Link:
    return Link(page.path, page.label, current=page.path == here)
