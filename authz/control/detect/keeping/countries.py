"""In which countries clients are: by the geo database of the policy, else by that of triggers.yaml.

Events are stored with the country, so that charts need no database, and the past stays as it was seen. A database is
read where it is named first, and again where its file changes.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from authz.control.detect.counting.address_table import AddressTable
from authz.control.model.records import SETTINGS
from authz.control.store.entries.documents import get_document
from authz.errors import InputError
from authz.publisher.feeds.geo.places import GeoWanted, read_geo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.addresses import Address
    from authz.control.store.database import Store

LOOK: Final = 30.0  # seconds from one look at the settings and the files to the next
_LOG = logging.getLogger("authz.control.detect")
_Files = tuple[tuple[Path, int], ...]  # each with the time of its last change


class Countries:
    """The countries of clients.

    Args:
        store: Has the settings of the policy.
        folder: What paths of the policy are relative to.
        others: Databases for where the policy names none.

    """

    def __init__(self, store: Store, folder: Path, others: Sequence[Path] = ()) -> None:
        self._store = store
        self._folder = folder
        self._others = tuple(others)
        self._files: _Files = ()
        self._codes: list[str] = [""]
        self._table = AddressTable({})
        self._looked = float("-inf")

    def find(self, client: Address) -> str:
        """Return the code of a client's country (ISO 3166-1), such as KP; "" where none is known."""
        return self._codes[self._table.find(client)]

    def refresh(self, now: float) -> None:
        """Read what has changed since the last look. now: seconds. Raises NotReady; a file's error is logged."""
        if now - self._looked < LOOK:
            return
        with self._store.reading() as tx:
            settings = msgspec.json.decode(get_document(tx, SETTINGS) or b"{}")
        self._looked = now
        try:
            files = tuple((path, path.stat().st_mtime_ns) for path in self._paths(settings))
            if files != self._files:
                self._read([path for path, _ in files])
                self._files = files
        except (InputError, OSError) as error:
            _LOG.warning("countries of events stay as they were: %s", error)

    def _paths(self, settings: dict[str, Any]) -> Sequence[Path]:
        named = (settings.get("geo") or {}).get("country") or ()
        paths = [named] if isinstance(named, str) else named
        return [self._folder / path for path in paths] or self._others

    def _read(self, paths: Sequence[Path]) -> None:
        if not paths:
            self._codes, self._table = [""], AddressTable({})
            return
        known = read_geo(paths, GeoWanted()).databases
        codes = sorted({code for database in known for code in database.countries})
        networks = read_geo(paths, GeoWanted(frozenset(codes))).countries
        self._codes = ["", *codes]
        self._table = AddressTable({number: networks[code] for number, code in enumerate(codes, start=1)})
        _LOG.info("events have the country, of %d countries", len(codes))
