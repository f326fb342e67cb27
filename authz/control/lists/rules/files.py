"""Files that settings of the policy name: where they may be, and whether they can be read when they are named.

What is named already is not looked at again: another change of the settings must not wait for a database to come back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from authz.control.model.problems import FieldMistake
from authz.errors import InputError, InvalidDocument
from authz.publisher.feeds.geo.asn import read_asns
from authz.publisher.feeds.geo.places import GeoWanted, read_geo
from authz.publisher.feeds.read_feed import read_feed
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NOBODY = GeoWanted(frozenset(), frozenset(), frozenset())


class Folders(NamedTuple):
    """Where files of a policy may be.

    Attributes:
        base: What paths are relative to.
        allowed: Folders, relative to it or whole.
    """

    base: Path
    allowed: tuple[str, ...]

    def have(self, path: str) -> bool:
        """Return whether a path leads into one of the folders, links followed."""
        try:
            resolved = (self.base / path).resolve()
        except (OSError, ValueError):
            return False
        roots = [(self.base / folder).resolve() for folder in self.allowed]
        return any(resolved != root and resolved.is_relative_to(root) for root in roots)


def unreadable(settings: Mapping[str, Any], known: Mapping[str, Any], folders: Folders) -> Iterator[FieldMistake]:
    """Give the files of settings that are missing, damaged or of no known format. Takes a second for a database.

    known: the settings as they are. What is fetched is not looked for, and nothing where a file is out of the folders.
    """
    try:
        feeds = read(PolicyDocument, "policy", msgspec.json.encode({"version": 1, **settings}).decode()).checked().feeds
    except InvalidDocument:
        return  # saving it tells why
    before = set(files_of(known).values())
    new = {pointer: file for pointer, file in files_of(settings).items() if file not in before and file[0] != "fetched"}
    if not all(folders.have(path) for _, path in new.values()):
        return  # the same
    for pointer, (kind, path) in new.items():
        try:
            if kind == "country":
                read_geo([folders.base / path], _NOBODY)
            elif kind == "asn":
                read_asns([folders.base / path], frozenset())
            elif (feed := feeds[int(pointer.split("/")[2])]).source:
                read_feed(folders.base / path, feed.options)
        except InputError as error:
            yield FieldMistake(pointer, error.message.replace(f"{folders.base}/", ""))


def files_of(settings: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the files that settings name, by their pointers. A kind: `fetched` is written, the others are read."""
    files = {}
    for number, feed in enumerate(settings.get("feeds") or ()):
        if feed.get("path"):
            kind = "fetched" if feed.get("url") or feed.get("preset") else "feed"
            files[f"/feeds/{number}/path"] = (kind, str(feed["path"]))
    for kind, paths in (settings.get("geo") or {}).items():
        for number, path in enumerate(paths if isinstance(paths, list) else [paths]):
            files[f"/geo/{kind}/{number}" if isinstance(paths, list) else f"/geo/{kind}"] = (kind, str(path))
    return files
