"""The loading half of `authz serve` in this process: one file, one layer, one decider."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from authz.engine.decision.decider import Decider
from authz.engine.request.request import Request
from authz.engine.settings import Settings
from authz.serve.layers.accept import Acceptor, Rules
from authz.serve.layers.config import LayerConfig
from authz.serve.layers.file import FileSource
from authz.serve.layers.layer import Layer
from authz.serve.layers.memory import Memory
from authz.serve.layers.swap import Swap
from authz.serve.observe.metrics import Metrics
from authz.snapshot.layout import MAX_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.engine.entries.ruleset import Ruleset
    from authz.snapshot.signing.keys import PublicKey

NOW = 1_795_000_000.0  # seconds since 1970; decisions in these tests do not depend on it


class Standing(NamedTuple):
    """What a refused snapshot must leave as it is."""

    ruleset: Ruleset | None
    decisions: Sequence[tuple[str, str, int | None]]
    disk: dict[str, str]


class Loading:
    """Loads `folder/lists.snapshot` and keeps its state in `folder/state/authz.json`, as a restart would find it."""

    def __init__(self, folder: Path, keys: Sequence[PublicKey], threshold: int = 1) -> None:
        self.folder = folder
        self.path = folder / "lists.snapshot"
        self.state = folder / "state" / "authz.json"
        self.state.parent.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics()
        self.decider = Decider(Settings())
        config = LayerConfig(name="policy", path=str(self.path), trusted_keys=(), max_age=math.inf)
        acceptor = Acceptor(Rules("policy", keys, threshold, MAX_FILE), Memory(self.state))
        swap = Swap(self.decider)
        swap.keep(["policy"])
        self.layer = Layer(config, FileSource(self.path, config.poll), acceptor, swap, self.metrics)

    def put(self, data: bytes) -> None:
        """Replace the file as a publisher does."""
        beside = self.folder / "new"
        beside.write_bytes(data)
        beside.replace(self.path)

    def load(self, *, force: bool = False) -> str:
        """Load the file where it changed and return `ok` or the code of the refusal."""
        asyncio.run(self.layer.load_if_changed(force=force))
        return self.layer.refusal.code if self.layer.refusal else "ok"

    def standing(self) -> Standing:
        """Return what serves, what it answers, and what is on the disk but for the snapshot itself."""
        decisions = []
        for peer in ("192.0.2.1", "203.0.113.7", "198.51.100.1", "2001:db8:bad::1"):
            outcome, _ = self.decider.check(Request(peer), NOW)
            decisions.append((outcome.decision, outcome.reason, outcome.serial))
        disk = {}
        for root, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                path = Path(root, name)
                if path != self.path:
                    disk[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        return Standing(self.decider.ruleset, decisions, disk)
