"""Files that settings of the policy name: read once before they are saved, so that a mistake is told to who makes it.

What is named already is not looked at again: another change of the settings must not wait for a database to come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.lists.documents import files_of
from authz.control.model.problems import FieldMistake
from authz.errors import InputError, InvalidDocument
from authz.publisher.feeds.geo.asn import read_asns
from authz.publisher.feeds.geo.places import GeoWanted, read_geo
from authz.publisher.feeds.read_feed import read_feed
from authz.publisher.policy.schema import PolicyDocument
from authz.strict_yaml.document import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from authz.control.lists.documents import Folders

_NOBODY = GeoWanted(frozenset(), frozenset(), frozenset())


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
