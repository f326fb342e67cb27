"""What changes of lists need: the configuration, the store, signals, and the rules of now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from authz.control.model.records import SETTINGS
from authz.control.store.entries.documents import get_document
from authz.control.store.signals import Signals

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from authz.control.config import ControlConfig
    from authz.control.lists.rules.rules import Rules
    from authz.control.store.database import Store
    from authz.control.store.ledger.changes import Head


class ListContext:
    """What parts of the control plane are given. The control plane is one itself; it knows its parts, they not it."""

    def __init__(self, config: ControlConfig, store: Store) -> None:
        self.config = config
        self.store = store
        self.signals = Signals(store)
        self._settings: tuple[str, dict[str, Any]] = "", {}  # of the policy, by the hash of its changes

    def rules(self, tx: Connection, policy: Head | None = None) -> Rules:
        """Return the rules that changes follow now.

        policy: where the first layer stands, for who holds its lock: its settings are read once for each of its states.
        """
        known, settings = self._settings
        if policy is None or known != policy.hash:
            settings = msgspec.json.decode(get_document(tx, SETTINGS) or b"{}")
        if policy is not None:
            self._settings = policy.hash, settings
        return self.config.rules(settings)
