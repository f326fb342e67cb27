"""The layers that decide together, the first of which has the settings. Never changed after it was made.

A reload makes a new ruleset and swaps one reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from authz.addresses import Address
    from authz.engine.model import Application
    from authz.engine.opened_snapshot import Covering, OpenedSnapshot
    from authz.engine.verdict import Match

SetNumber = tuple[int, int]  # version, number of a match set in the index of that version


class Ruleset:
    """What decides. layers: the first is the policy: it alone has the settings of applications."""

    def __init__(self, layers: Sequence[OpenedSnapshot]) -> None:
        (self.policy,) = self.layers = tuple(layers)
        self.applications = self.policy.applications
        self.index = self.policy.index

    @property
    def serial(self) -> int:
        """The serial of the policy."""
        return self.policy.serial

    @property
    def general(self) -> Application:
        """The settings of `*`."""
        return self.policy.general

    def application(self, name: str | None, host: str) -> Application | None:
        """Return the application of this name or, where the proxy names none, of this host; None: unknown."""
        return self.policy.application(name, host)

    def covering(self, address: Address) -> list[Covering]:
        """Return the entries that cover the address, the longest prefix first."""
        return self.policy.covering(address)

    def matches(self, version: int, set_number: int) -> list[Match]:
        """Return a match set as the decision takes it. version: of the address that was looked up."""
        return self.policy.matches(version, set_number)

    def sets_of(self, addresses: Iterable[Address]) -> frozenset[SetNumber]:
        """Return the match sets of some addresses, without the empty one."""
        numbers = ((address.version, self.index.find(address.version, address.value)) for address in addresses)
        return frozenset(number for number in numbers if number[1])

    def with_denied(self, matches: list[Match], others: Iterable[SetNumber]) -> list[Match]:
        """Return the client's matches, and those of other match sets that are on the deny list; an entry once."""
        best = {match.entry.id: match for match in matches}
        for version, number in others:
            for match in self.matches(version, number):
                known = best.get(match.entry.id)
                if match.entry.list == "deny" and (known is None or known.length < match.length):
                    best[match.entry.id] = match
        return list(best.values())
