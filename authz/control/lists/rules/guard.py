"""The lock-out guard and four eyes: what a change may not do by accident, and what one person may not do alone."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from authz.addresses import BITS, Network, NetworkSet, network_of, parse_networks, try_parse_address
from authz.control.model.problems import Conflict
from authz.control.model.records import POLICY_LAYER, SUBJECTS, Written
from authz.errors import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from authz.publisher.index.prefixes import Prefixes


class FourEyes(msgspec.Struct, frozen=True, kw_only=True):
    """When a change waits for a second person.

    Attributes:
        addresses: Where it denies more than that many addresses (IPv6: counted by /64); None: never.
        allow: Where it adds to the allow list, or takes from it.
    """

    addresses: int | None = None
    allow: bool = False


class LockOut(NamedTuple):
    """Whom a change would lock out.

    Attributes:
        kept: They are of this network.
        by: The network that one of its subjects stands for; None: it names them by networks.
        forceable: Whether `force` may do it all the same.
    """

    kept: Network
    by: Network | None
    whom: str
    forceable: bool


def locked_out(
    entry: Written, layer: str, protected: Iterable[Network], own_address: str | None, resolved: Mapping[int, Prefixes]
) -> Iterator[LockOut]:
    """Give whom an entry would deny that must not be denied.

    In a layer with limited rights a protected network cannot be forced, nor be on the gray list: every sidecar would
    refuse the file. resolved: by version, the networks of its subjects that are none.
    """
    if not keeps_out(entry, layer):
        return
    own_address = own_address if denies(entry) else None
    excepted = _exceptions(entry)
    own = try_parse_address(own_address) if own_address else None
    guarded = [(kept, f"the protected network {kept}", layer == POLICY_LAYER) for kept in protected]
    if own is not None:
        guarded.append((network_of(own, BITS[own.version]), f"your own address {own.text}", True))
    covered = NetworkSet(n for text in entry.networks for n in parse_networks(text))
    spans = {
        version: [*spans_without(covered, excepted, version)] for version in {kept.version for kept, _, _ in guarded}
    }
    for kept, whom, forceable in guarded:
        place = bisect_right(spans[kept.version], kept.value, key=itemgetter(1))  # the first that ends behind its begin
        if place < len(spans[kept.version]) and spans[kept.version][place][0] <= kept.last:
            yield LockOut(kept, None, whom, forceable)
    for kept, whom, forceable in guarded:
        for network in resolved[kept.version].overlapping(kept) if kept.version in resolved else ():
            if not inside(_narrower(network, kept), excepted):
                yield LockOut(kept, network, whom, forceable)
                break


def check_lock_out(
    entry: Written, layer: str, protected: Iterable[Network], own_address: str | None,
    resolved: Mapping[int, Prefixes], *, force: bool,
) -> bool:  # fmt: skip
    """Return whether the change was forced; raises Conflict (`lock_out`) where it must not be done."""
    lockouts = list(locked_out(entry, layer, protected, own_address, resolved))
    refused = [lockout for lockout in lockouts if not (force and lockout.forceable)]
    if refused:
        first = refused[0]
        hint = "give force: true, if you mean it" if first.forceable else "take it out of protected first"
        subject, network = _named_by(entry, first)
        detail = f"'{subject}' would deny {first.whom}"
        raise Conflict(detail, code="lock_out", hint=hint, extra={"network": network})
    return bool(lockouts)


def _named_by(entry: Written, lockout: LockOut) -> tuple[str, str]:
    """Return what names them, as it is written, and the network by which."""
    if lockout.by is not None:
        return _others(entry), str(lockout.by)
    excepted = _exceptions(entry)
    text = next(
        text for text in entry.networks for network in parse_networks(text)
        if network.overlaps(lockout.kept) and not inside(_narrower(network, lockout.kept), excepted)
    )  # fmt: skip
    return text, text


def _exceptions(entry: Written) -> NetworkSet:
    return NetworkSet(network for text in entry.except_ for network in parse_networks(text))


def approval_reason(entry: Written, rules: FourEyes, before: Written | None = None, others: int = 0) -> str:
    """Return why a change needs a second person; empty: it does not.

    before: the entry as it is. others: how many addresses the same request denies besides.
    """
    if rules.allow and "allow" in {entry.list, before.list if before is not None else ""}:
        return "it touches the allow list"
    if rules.addresses is not None and denies(entry):
        count = others + addresses_of(entry)
        if count > rules.addresses:
            beside = " with the others of its request" if others else ""
            return f"it denies {count:,} addresses{beside}, more than {rules.addresses:,}"
        if any(getattr(entry, name) for name in ("countries", "regions", "continents", "asns", "sources")):
            return "it denies a country, a network operator or a source type"
    return ""


def addresses_of(entry: Written) -> int:
    """Return how many addresses the networks of an entry have, its exceptions taken out; IPv6 is counted by /64."""
    covered = NetworkSet(n for text in entry.networks for n in parse_networks(text))
    excepted = _exceptions(entry)
    four = sum(end - first for first, end in spans_without(covered, excepted, 4))
    six = counted_to = 0  # of /64: several may be in one
    for first, end in spans_without(covered, excepted, 6):
        begin, after = max(first >> 64, counted_to), (end - 1 >> 64) + 1
        six += max(after - begin, 0)
        counted_to = after
    return four + six


def spans_without(networks: NetworkSet, others: NetworkSet, version: int) -> Iterator[tuple[int, int]]:
    """Give the spans (first, end) of the addresses that a set has and another has not, in order."""
    has, lacks = networks.bounds[version], others.bounds[version]
    for first, end in pairwise(sorted({*has, *lacks})):
        if bisect_right(has, first) & 1 and not bisect_right(lacks, first) & 1:
            yield first, end


def _others(entry: Written) -> str:
    """Return the subjects of an entry that are no networks, for people."""
    return shorten(", ".join(str(value) for name in SUBJECTS if name != "networks" for value in getattr(entry, name)))


def denies(entry: Written) -> bool:
    """Return whether an entry keeps anybody out."""
    return entry.list == "deny" and entry.action == "block"


def denies_no_more(before: Written, after: Written, now: float) -> bool:
    """Return whether an entry denies the addresses that it denied before, or nobody.

    now: seconds since 1970: one that is over denies nobody by then.
    """
    same = (before.networks, before.except_) == (after.networks, after.except_)
    over = before.expires is not None and before.expires <= now
    return not denies(after) or (denies(before) and same and not over)


def keeps_out(entry: Written, layer: str) -> bool:
    """Return whether an entry may not name what is protected: one of a later layer also where it marks as gray."""
    return denies(entry) or (layer != POLICY_LAYER and entry.list == "gray" and entry.action == "block")


def names_others(entry: Written) -> bool:
    """Return whether an entry names anybody otherwise than by networks."""
    return any(getattr(entry, name) for name in SUBJECTS if name != "networks")


def _narrower(one: Network, other: Network) -> Network:
    return one if one.length > other.length else other


def inside(network: Network, networks: NetworkSet) -> bool:
    """Return whether a set of networks has every address of a network."""
    bounds = networks.bounds[network.version]
    place = bisect_right(bounds, network.value)
    return place & 1 == 1 and network.last < bounds[place]
