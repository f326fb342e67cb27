"""How many addresses the entries of a layer with limited rights cover, kept with each change.

    layer  version  until       addresses
    bans   4        1795831200  256.0         of all entries that end in the hour before
    bans   4        never       65536.0

Whatever is over leaves by itself, an hour late at most: expiry writes nothing. An address that two entries cover counts
twice. Numbers are floating, as IPv6 has networks of 2^96 addresses: whole up to 2^53, and above to 16 digits.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, delete, func, select, text

from authz.addresses import BITS, parse_networks
from authz.control.model.records import FOREVER, MICROSECONDS, POLICY_LAYER
from authz.control.store.tables import covered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from authz.control.model.records import Entry, Written

HOUR: Final = 3600
_ADD: Final = text(
    "INSERT INTO covered (layer, version, until, addresses) VALUES (:layer, :version, :until, :addresses) "
    "ON CONFLICT (layer, version, until) DO UPDATE SET addresses = covered.addresses + excluded.addresses"
)
_SUM: Final = (
    select(covered.c.version, func.sum(covered.c.addresses))
    .where(covered.c.layer == bindparam("of"), covered.c.until > bindparam("now"))
    .group_by(covered.c.version)
)


class _Place(NamedTuple):
    layer: str
    version: int
    until: int


def addresses_by_version(entry: Written) -> dict[int, int]:
    """Return how many addresses the networks of an entry have, by version."""
    counts = {4: 0, 6: 0}
    for network in (network for written in entry.networks for network in parse_networks(written)):
        counts[network.version] += 1 << BITS[network.version] - network.length
    return counts


def note_covered(tx: Connection, versions: Iterable[tuple[Entry | None, Entry | None]], time: int) -> None:
    """Count what entries cover, before and after a change each. The head of their layer is locked. time: of record."""
    counts: Counter[_Place] = Counter()
    for before, after in versions:
        for entry, sign in ((before, -1), (after, 1)):
            if entry is not None and entry.layer != POLICY_LAYER:
                until = _until(entry.expires)
                for version, count in addresses_by_version(entry).items():
                    counts[_Place(entry.layer, version, until)] += sign * count
    live = [place for place, count in counts.items() if count and place.until > time // MICROSECONDS]
    if live:
        tx.execute(_ADD, [place._asdict() | {"addresses": float(counts[place])} for place in live])


def covered_by(tx: Connection, layer: str, now: float) -> Mapping[int, float]:
    """Return how many addresses a layer covers, by version. now: seconds since 1970."""
    counts = {4: 0.0, 6: 0.0}
    counts.update((row[0], row[1]) for row in tx.execute(_SUM, {"of": layer, "now": int(now)}))
    return counts


def forget_covered(tx: Connection, now: int) -> None:
    """Delete what is over. now: microseconds."""
    tx.execute(delete(covered).where(covered.c.until <= now // MICROSECONDS))


def _until(expires: int | None) -> int:
    return FOREVER if expires is None else -(-expires // HOUR) * HOUR
