"""Feeds and databases of the policy: how old they are, what is in them; and the settings themselves, as YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml
from litestar import Response, Router, get, post

from authz.control.api import applications as api
from authz.control.api.common.asking import in_thread
from authz.control.console.common.asking_api import done_by
from authz.control.console.common.changing import Made, Notice, afterwards, notice_by, written
from authz.control.console.common.session import Asked, Asker
from authz.control.console.look.render import page
from authz.control.model.problems import FieldMistake, Invalid, Problem
from authz.control.model.records import MICROSECONDS, POLICY_LAYER
from authz.control.publish.opened import FeedTaken
from authz.publisher.feeds.fetch.fetch import WantedFeed, load_state
from authz.publisher.policy.schema import WrittenFeed

EXAMPLE = """\
feeds:
  - {source: tor, path: feeds/tor-exit-nodes.lst}
geo: {country: geo/country.mmdb, asn: geo/asn.csv}
protected: [192.0.2.0/24]
"""


class FeedState(NamedTuple):
    """A feed, or a database.

    Attributes:
        changed: Of the file (microseconds); None: there is none.
        entries: Networks that the newest signed file took from it, or as fetched last.
        kept_since: It is broken, and older content, of then (seconds), is used meanwhile.
    """

    kind: str
    path: str
    url: str
    changed: int | None
    size: int
    entries: int | None
    problem: str
    kept_since: int | None = None


@get("/feeds")
async def show_feeds(asked: Asker) -> Response[str]:
    """Show feeds, databases and the settings."""
    settings = await done_by(api.get_policy, asked)
    done = asked.request.query_params.get("done", "")
    return await _page(asked, settings, _as_yaml(settings), None, await in_thread(notice_by, asked, done))


@post("/feeds", status_code=200)
async def save(asked: Asker) -> Response[str]:
    """Replace the settings."""
    form = await asked.form()
    text = str(form.get("settings", ""))
    try:
        force = form.get("force") == "yes"
        reason = str(form.get("reason", ""))
        answer = await done_by(api.set_policy, asked, data=_from_yaml(text), reason=reason, force=force)
    except Problem as error:
        return await _page(asked, await done_by(api.get_policy, asked), text, error)
    serials = msgspec.json.decode(answer)["serials"]
    return afterwards("/feeds", written([Made(layer, serial, serial) for layer, serial in serials.items()]))


async def _page(
    asked: Asked, settings: dict[str, Any], text: str, problem: Problem | None, notice: Notice | None = None
) -> Response[str]:
    states = await in_thread(_states, asked, settings)
    return page(asked, "setup/feeds.html", status=problem.status if problem else 200, states=states, text=text,
                problem=problem, example=EXAMPLE, notice=notice)  # fmt: skip


def _states(asked: Asked, settings: dict[str, Any]) -> list[FeedState]:
    folder = Path(asked.plane.config.data)
    with asked.plane.store.reading() as tx:
        taken = asked.plane.opened.feeds_at(tx, POLICY_LAYER, asked.plane.store.now())
    states = []
    for content in settings.get("feeds", ()):
        feed = msgspec.convert(content, WrittenFeed)
        state = _state(feed.source, feed.path, folder, feed.url, _fetched(feed, folder))
        states.append(_as_taken(state, taken.get((feed.source, feed.path))))
    for kind, paths in settings.get("geo", {}).items():
        known = [paths] if isinstance(paths, str) else paths or ()
        states += [_state(f"database: {kind}", path, folder, "", None) for path in known]
    return states


def _fetched(feed: WrittenFeed, folder: Path) -> int | None:
    state = load_state(WantedFeed(feed.url, folder / feed.path)) if feed.url else None
    return None if state is None else state.entries


def _as_taken(state: FeedState, taken: FeedTaken | None) -> FeedState:
    """Return what is known of a feed with what the newest signed file says of it."""
    if taken is None:
        return state
    return state._replace(entries=taken.entries, kept_since=taken.kept_since, problem=state.problem or taken.problem)


def _state(kind: str, path: str, folder: Path, url: str, entries: int | None) -> FeedState:
    try:
        status = (folder / path).stat()
    except OSError as error:
        return FeedState(kind, path, url, None, 0, None, error.strerror or "cannot be read")
    return FeedState(kind, path, url, int(status.st_mtime * MICROSECONDS), status.st_size, entries, "")


def _as_yaml(settings: dict[str, Any]) -> str:
    return yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=100) if settings else ""


def _from_yaml(text: str) -> dict[str, Any]:
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):  # a few of them make gigabytes
            raise Invalid([FieldMistake("/settings", "found an alias (*name), expected its value")])
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Invalid([FieldMistake("/settings", " ".join(str(error).split()))]) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise Invalid([FieldMistake("/settings", "expected keys: feeds, geo, limits, protected")])
    return document


router: Any = Router("/", route_handlers=[show_feeds, save])
