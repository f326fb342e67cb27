"""What changes of lists need: the configuration, the store, signals, and the rules of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from authz.control.model.records import SETTINGS
from authz.control.store.entries.documents import get_document
from authz.control.store.signals import Signals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.config import ControlConfig
    from authz.control.lists.rules.rules import Rules
    from authz.control.store.database import Store


class ListContext:
    """What parts of the control plane are given. The control plane is one itself; it knows its parts, they not it."""

    def __init__(self, config: ControlConfig, store: Store) -> None:
        self.config = config
        self.store = store
        self.signals = Signals(store)

    def rules(self, tx: Connection) -> Rules:
        """Return the rules that changes follow now."""
        return self.config.rules(msgspec.json.decode(get_document(tx, SETTINGS) or b"{}"))
