"""When the policy protects more than before: entries that keep out what is protected now.

An entry of a later layer that does so would have every sidecar refuse the whole file of its layer. So it ends in the
same change as protects the network; who makes that change is told first, by a refusal.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import NetworkSet, parse_networks
from authz.control.lists.rules.guard import inside, keeps_out, locked_out
from authz.control.model.problems import Conflict
from authz.control.model.records import POLICY_LAYER
from authz.control.store.entries.find import Filter, each_entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

    from authz.addresses import Network
    from authz.control.lists.batch import Batch
    from authz.control.model.records import Entry

MAX_ENDED: Final = 10_000  # entries that protecting a network may end
MAX_TOLD: Final = 20  # ids in a refusal


class Touching(NamedTuple):
    """An entry that keeps out what is protected."""

    entry: Entry
    whom: str


def touching(tx: Connection, protected: Iterable[Network], now: int) -> Iterator[Touching]:
    """Give the entries that name addresses of these networks and keep them out, each once. now: seconds.

    Only what entries name by networks is looked at: all that a later layer can say. What the first layer denies by
    countries or feeds is found when it is built.
    """
    seen = set[str]()
    for network in protected:
        for entry in each_entry(tx, Filter(network=network, unexpired_at=now)):
            if entry.id in seen or not keeps_out(entry, entry.layer):
                continue
            lockout = next(locked_out(entry, entry.layer, [network], None, {}), None)
            if lockout is not None:
                seen.add(entry.id)
                yield Touching(entry, lockout.whom)


def newly_protected(before: Iterable[str], after: Iterable[str]) -> list[Network]:
    """Return the networks of `after` that those of `before` do not have. Both as they are written in a policy."""
    known = NetworkSet(network for text in before for network in parse_networks(text))
    return [network for text in after for network in parse_networks(text) if not inside(network, known)]


def protect(batch: Batch, networks: Iterable[Network], *, force: bool, bans_only: bool = False) -> None:
    """Let networks be protected that were not before: bans that keep them out end with that.

    Entries of the first layer are reported as well (unless `bans_only`), and stay if that is forced.

    Raises:
        Conflict: There are such entries and it is not forced (`lock_out`, with their ids), or too many (`too_many`).

    """
    all_matching = (
        match for match in touching(batch.tx, networks, int(batch.seconds))
        if batch.holds(match.entry) and not (bans_only and match.entry.layer == POLICY_LAYER)
    )  # fmt: skip
    matching = list(islice(all_matching, MAX_ENDED + 1))
    if len(matching) > MAX_ENDED:
        raise Conflict(f"over {MAX_ENDED:,} entries keep out what would be protected, expected fewer", code="too_many")
    if matching and not force:
        first = matching[0]
        more = f", and {len(matching) - 1} more" if len(matching) > 1 else ""
        raise Conflict(
            f"the entry '{first.entry.id}' keeps out {first.whom}{more}", code="lock_out",
            hint="delete them, or force it: bans among them end then",
            extra={"entries": [match.entry.id for match in matching[:MAX_TOLD]], "count": len(matching)},
        )  # fmt: skip
    for match in matching:
        if match.entry.layer != POLICY_LAYER:
            batch.put(match.entry, None, f"{match.whom} is protected now", forced=True)
