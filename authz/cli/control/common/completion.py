"""What a shell is offered behind TAB: applications and ids of the control plane, where it answers at once."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import orjson

from authz.cli.control.common.client import ask, is_configured
from authz.errors import AuthzError

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK: Final = 2.0  # seconds: a person waits at the prompt
_MAX_COMPLETIONS: Final = 200  # of each kind


def complete_application(incomplete: str) -> list[str]:
    """Return names of applications."""
    names = (each["name"] for each in _asked("/v1/applications"))
    return [name for name in names if name.startswith(incomplete)][:_MAX_COMPLETIONS]


def complete_entry(incomplete: str) -> list[tuple[str, str]]:
    """Return ids of entries, each with whom it names."""
    return _named("/v1/entries", incomplete)


def complete_ban(incomplete: str) -> list[tuple[str, str]]:
    """Return ids of bans, each with whom it names, and their addresses."""
    if incomplete.startswith("b-"):
        return _named("/v1/bans", incomplete)
    bans = _named("/v1/bans", "")
    both = [*bans, *((address, ban) for ban, address in bans if ":" not in address)]  # a colon splits words in bash
    return [pair for pair in both if pair[0].startswith(incomplete)]


def _named(path: str, incomplete: str) -> list[tuple[str, str]]:
    """Return the first of a list by id, behind what is typed: a cursor is the id that a page ended with."""
    cursor = base64.urlsafe_b64encode(orjson.dumps(incomplete)).decode().rstrip("=")
    items = _asked(f"{path}?limit={_MAX_COMPLETIONS}&cursor={cursor}")
    return [(each["id"], next(iter(each["networks"]), "")) for each in items if each["id"].startswith(incomplete)]


def _asked(path: str) -> Iterator[dict[str, Any]]:
    """Give what the control plane lists; nothing if there is none, or where it does not answer."""
    if not is_configured():
        return
    try:
        answer = ask("GET", path, patience=QUICK)
    except AuthzError:
        return
    yield from answer["items"] if isinstance(answer, dict) else answer
