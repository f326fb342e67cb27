"""What many decisions come to: counts by application, reason, list and entry, and who was denied most."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.addresses import Address
    from authz.engine.decision.outcome import Outcome
    from authz.engine.entries.opened_snapshot import Covering

_MAX_KEPT = 200_000  # different clients or networks that are counted; then the rare ones are forgotten
_COUNTERS = (
    "decisions",
    "reasons",
    "lists",
    "entries",
    "warnings",
    "clients",
    "networks",
    "changes",
    "changed_clients",
)
_RARE = frozenset({"clients", "networks", "changed_clients"})


class Summary:
    """Counts of decisions. Two of them add up by `add`.

    Attributes:
        decisions: By (application, decision).
        clients: Of denied requests.
        networks: Of denied requests: the one of the entry that decided.
        changes: By what became of a decision under the other snapshot.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.skipped = 0
        self.first_skipped = ""
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.lists: Counter[str] = Counter()
        self.entries: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.clients: Counter[str] = Counter()
        self.networks: Counter[str] = Counter()
        self.changes: Counter[tuple[str, str]] = Counter()
        self.changed_clients: Counter[str] = Counter()

    def count(self, outcome: Outcome, client: Address | None, covering: Sequence[Covering]) -> None:
        """Count one decision."""
        self.requests += 1
        self.decisions[outcome.application, outcome.decision] += 1
        self.reasons[outcome.reason] += 1
        self.lists[outcome.list] += 1
        self.warnings.update(outcome.warnings)
        if outcome.entry is not None:
            self.entries[outcome.entry] += 1
        if outcome.decision == "deny" and client is not None:
            _count_rare(self.clients, client.text)
            network = next((c.network for c in covering if c.entry.id == outcome.entry), None)
            if network is not None:
                _count_rare(self.networks, str(network))

    def skip(self, why: str) -> None:
        """Count a line that could not be read."""
        self.skipped += 1
        self.first_skipped = self.first_skipped or why

    def count_change(self, outcome: Outcome, other: Outcome, client: Address | None) -> None:
        """Count what the other snapshot would have decided."""
        if other.decision != outcome.decision:
            kind = "newly_denied" if other.decision == "deny" else "newly_allowed"
            self.changes[outcome.application, kind] += 1
            if client is not None:
                _count_rare(self.changed_clients, f"{client.text} {kind}")

    def add(self, other: Summary) -> None:
        """Add the counts of another summary."""
        self.requests += other.requests
        self.skipped += other.skipped
        self.first_skipped = self.first_skipped or other.first_skipped
        for name in _COUNTERS:
            counter = getattr(self, name)
            counter.update(getattr(other, name))
            if name in _RARE:
                _forget_rare(counter)

    def as_dict(self, top: int) -> dict[str, Any]:
        """Return the counts for JSON, the highest first.

        Args:
            top: How many clients, networks and entries.
        """
        return {
            "requests": self.requests,
            "skipped": self.skipped,
            "decisions": [
                {"application": application, "decision": decision, "requests": count}
                for (application, decision), count in sorted(self.decisions.items())
            ],
            "reasons": dict(self.reasons.most_common()),
            "lists": dict(self.lists.most_common()),
            "entries": dict(self.entries.most_common(top)),
            "warnings": dict(self.warnings.most_common(top)),
            "denied_clients": dict(self.clients.most_common(top)),
            "denied_networks": dict(self.networks.most_common(top)),
            "changes": [
                {"application": application, "change": change, "requests": count}
                for (application, change), count in sorted(self.changes.items())
            ],
            "changed_clients": dict(self.changed_clients.most_common(top)),
        }


def _count_rare(counter: Counter[str], key: str) -> None:
    counter[key] += 1
    _forget_rare(counter)


def _forget_rare(counter: Counter[str]) -> None:
    if len(counter) > _MAX_KEPT:
        kept = counter.most_common(_MAX_KEPT // 2)
        counter.clear()
        counter.update(dict(kept))
