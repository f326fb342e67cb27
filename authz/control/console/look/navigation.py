"""The links beside every page. What a caller may not see is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from authz.control.access.roles import Right
    from authz.control.console.common.session import Asked


class Page(NamedTuple):
    """A page: where, its name, what one must be allowed.

    Attributes:
        main: Only the main tenant has it.
    """

    path: str
    label: str
    right: Right = "read"
    main: bool = False


class Link(NamedTuple):
    """A link as it is shown."""

    href: str
    label: str
    current: bool


PAGES: Final[dict[str, tuple[Page, ...]]] = {
    "Now": (
        Page("/", "Overview"),
        Page("/attention", "Attention"),
        Page("/approvals", "Approvals"),
    ),
    "Lists": (
        Page("/lists", "All lists"),
        Page("/lists?list=deny", "Deny"),
        Page("/lists?list=allow", "Allow"),
        Page("/lists?list=gray", "Gray"),
        Page("/lists?only=exceptions", "Exceptions"),
    ),
    "Look into": (
        Page("/explain", "Explain"),
        Page("/events", "Events"),
        Page("/history", "History"),
        Page("/difference", "Difference"),
        Page("/locked-out", "Who is locked out?"),
        Page("/map", "Map", main=True),
    ),
    "Automatic": (
        Page("/triggers", "Triggers"),
        Page("/feeds", "Feeds", main=True),
        Page("/notifications", "Notifications", main=True),
    ),
    "Setup": (
        Page("/applications", "Applications"),
        Page("/publications", "Publications, sidecars"),
        Page("/people", "Tokens, tenants", "admin"),
    ),
}


# Pages that are not in the menu, by the beginning of their path: which one they belong to.
_UNDER: Final = {
    "/approvals/": "/approvals", "/applications/": "/applications", "/triggers/": "/triggers", "/events/": "/events",
    "/entries/": "/lists",
}  # fmt: skip


def navigation(asked: Asked) -> list[tuple[str, list[Link]]]:
    """Return the links by group."""
    here = _here(asked)
    return [
        (group, links)
        for group, pages in PAGES.items()
        if (links := [_link(page, here) for page in pages if _may_see(asked, page)])
    ]


def _may_see(asked: Asked, page: Page) -> bool:
    return asked.caller.may(page.right) and not (page.main and asked.caller.sees is not None)


def _here(asked: Asked) -> str:
    path, given = asked.request.url.path, asked.request.query_params
    if path == "/lists":
        for name in ("only", "list"):
            if given.get(name):
                return f"{path}?{name}={given[name]}"
        return path
    return next((page for begin, page in _UNDER.items() if path.startswith(begin)), path)


def _link(page: Page, here: str) -> Link:
    return Link(page.path, page.label, current=page.path == here)
