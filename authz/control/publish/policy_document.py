"""Between the store and policy.yaml, both ways, without loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.model.records import APPLICATION, SETTINGS, SUBJECTS
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from authz.control.model.records import Entry

SETTINGS_KEYS = ("feeds", "geo", "limits", "protected")


def policy_document(entries: Iterable[Entry], documents: Mapping[str, str]) -> dict[str, Any]:
    """Return what policy.yaml says. documents: by their whole names, as JSON."""
    applications = {
        name.removeprefix(APPLICATION): msgspec.json.decode(content)
        for name, content in documents.items()
        if name.startswith(APPLICATION)
    }
    written = [_entry(entry) for entry in entries]
    for entry in written:  # an application that only an entry names
        for name in entry.get("applications", ()):
            applications.setdefault(name, {})
    settings = msgspec.json.decode(documents.get(SETTINGS) or b"{}")
    content: dict[str, Any] = {"version": 1}
    if applications:
        content["applications"] = applications
    if written:
        content["entries"] = written
    content |= {key: settings[key] for key in SETTINGS_KEYS if settings.get(key)}
    return content


def without_missing(content: dict[str, Any], folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Leave out the feeds that have an address and were never fetched, and say so.

    Otherwise one address with a typing error would keep every other change of the layer from being published. A feed
    that was fetched once has its last good copy, and is never left out.
    """
    feeds, warnings = list[dict[str, Any]](), list[str]()
    for written in content.get("feeds", ()):
        feed = read(PolicyDocument, "policy", msgspec.json.encode({"version": 1, "feeds": [written]}).decode())
        (known,) = feed.checked().feeds
        if known.url and not (folder / known.path).is_file():
            warnings.append(f"{known.path}: not fetched yet, so nobody is '{known.source}' by it")
        else:
            feeds.append(written | {"source": known.source})
    if not warnings:
        return content, []
    given = {feed["source"] for feed in feeds}
    entries = []
    for entry in content.get("entries", ()):
        left = entry | {"sources": [source for source in entry.get("sources", ()) if source in given]}
        if any(left.get(name) for name in SUBJECTS):
            entries.append({key: value for key, value in left.items() if key != "sources" or value})
    return content | {"feeds": feeds, "entries": entries}, warnings


def _entry(entry: Entry) -> dict[str, Any]:
    content: dict[str, Any] = {"id": entry.id, "list": entry.list}
    for name in SUBJECTS:
        if getattr(entry, name):
            content[name] = list(getattr(entry, name))
    if entry.except_:
        content["except"] = list(entry.except_)
    if entry.applications:
        content["applications"] = list(entry.applications)
    if entry.action != "block":
        content["action"] = entry.action
    for name in ("starts", "expires"):
        if getattr(entry, name) is not None:
            content[name] = format_moment(getattr(entry, name))
    for name in ("reason", "author"):
        if getattr(entry, name):
            content[name] = getattr(entry, name)
    return content
