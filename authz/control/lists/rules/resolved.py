"""Whom an entry means that names nobody by networks: found out before it is taken, by what the layer is built from.

Databases and feeds are read as they are for the next file of the first layer; host names mean what they did when they
were last asked for. A database takes a second to read: the last answers are kept, and `foresee` reads once for many.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from authz.control.lists.rules.check import named_subjects
from authz.control.model.problems import FieldMistake, Invalid
from authz.control.model.records import HOSTS
from authz.errors import BadValue, InvalidDocument
from authz.publisher.feeds.hosts import HostOptions
from authz.publisher.policy.schema import PolicyDocument, WrittenEntry
from authz.publisher.policy.subjects import SubjectOptions, Subjects, gather
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from authz.control.lists.rules.check import Named
    from authz.control.model.records import Written
    from authz.publisher.index.prefixes import Prefixes

MAX_READS: Final = 32  # of databases and feeds, in one change
_KEPT: Final = 64


class Resolver:
    """Finds networks out, for the time of one change.

    Args:
        settings: Of the policy: `feeds` and `geo`.
        folder: What their paths are relative to; None: nothing is found.

    """

    def __init__(self, settings: Mapping[str, Any], folder: Path | None) -> None:
        self._settings = {key: settings[key] for key in ("feeds", "geo") if settings.get(key)}
        self._folder = folder
        self._read: list[tuple[Named, Subjects | Invalid]] = []

    def foresee(self, entries: Iterable[Written]) -> None:
        """Read once what many entries name, or in few parts, where some of it cannot be read."""
        named: set[tuple[str, str | int]] = set()
        for entry in entries:
            with contextlib.suppress(BadValue, ValueError):  # adding it says what is wrong
                named |= named_subjects(entry)
        parts = [sorted(named, key=str)] if named else []
        while parts and len(self._read) < MAX_READS:
            part = parts.pop(0)  # the largest
            if isinstance(self._subjects(frozenset(part)), Invalid) and len(part) > 1:
                parts += [part[: len(part) // 2], part[len(part) // 2 :]]

    def networks_of(self, entry: Written) -> dict[int, Prefixes]:
        """Return, by version, what the subjects of an entry mean that are no networks. Raises Invalid."""
        named = named_subjects(entry)
        if not named or self._folder is None:
            return {}
        whole = next((s for known, s in self._read if named <= known and isinstance(s, Subjects)), None)
        subjects = whole or self._subjects(named)
        if isinstance(subjects, Invalid):
            raise subjects
        return subjects.networks_of(WrittenEntry(list="deny", **_by_kind(named))).networks

    def _subjects(self, named: Named) -> Subjects | Invalid:
        if self._folder is None:
            return Subjects()
        if len(self._read) >= MAX_READS:
            told = f"names what was not read with the others, and databases are read {MAX_READS} times in one change"
            return Invalid([FieldMistake("", told)], code="unresolvable")
        entry = {"list": "deny", **_by_kind(named)}
        content = msgspec.json.encode({"version": 1, "entries": [entry], **self._settings}, order="deterministic")
        subjects = _gathered(self._folder, content.decode(), _stamps(self._folder, self._settings))
        self._read.append((named, subjects))
        return subjects


@lru_cache(_KEPT)
def _gathered(folder: Path, content: str, _stamps: tuple[object, ...]) -> Subjects | Invalid:
    try:
        document = read(PolicyDocument, "policy", content)
        written = document.checked()
        sources = {source for entry in written.entries for source in entry.sources}
        feeds = tuple(
            feed for feed in written.feeds
            if feed.source in sources and (not feed.url or (folder / feed.path).is_file())  # or not fetched yet
        )  # fmt: skip
        options = SubjectOptions(HostOptions(cache=folder / HOSTS, offline=True), allow_unresolved=True)
        subjects = gather(document, msgspec.structs.replace(written, feeds=feeds), folder, options, lambda *_: None)
        document.checked()
    except InvalidDocument as error:
        told = [mistake.message.replace(f"{folder}/", "") for mistake in error.mistakes]  # tenants read it, too
        return Invalid([FieldMistake("", message) for message in told], code="unresolvable")
    return subjects


def _stamps(folder: Path, settings: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what changes when a file does."""
    paths = [folder / HOSTS, *(folder / feed["path"] for feed in settings.get("feeds", ()) if feed.get("path"))]
    for named in (settings.get("geo") or {}).values():
        paths += [folder / path for path in ([named] if isinstance(named, str) else named)]
    return tuple(_stamp(path) for path in paths)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _by_kind(named: Named) -> dict[str, Any]:
    kinds: dict[str, list[str | int]] = {}
    for kind, value in sorted(named, key=str):
        kinds.setdefault(kind, []).append(value)
    return {kind: tuple(values) for kind, values in kinds.items()}
