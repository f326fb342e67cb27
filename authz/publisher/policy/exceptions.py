"""Exceptions of entries that do not do what was meant: typing mistakes that nothing else would tell."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from authz.addresses import NetworkSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.addresses import Network
    from authz.publisher.policy.schema import PolicyDocument, WrittenEntry
    from authz.strict_yaml.document import Document


def idle_exceptions(document: Document[PolicyDocument], written: PolicyDocument) -> Iterator[str]:
    """Yield a warning for each exception that is in no network of its entry, and for each entry that names nobody.

    Only entries that name nothing but networks are looked at: what a feed or a country has changes with every build.
    """
    for entry in written.entries:
        if entry.except_ and not _names_more(entry):
            place = document.place_of(document.key_of(entry))
            yield from (f"{place}.{problem}" for problem in _problems(entry))


def _names_more(entry: WrittenEntry) -> bool:
    return bool(
        entry.hosts or entry.countries or entry.regions or entry.continents or entry.asns or entry.sources
    )  # fmt: skip


def _problems(entry: WrittenEntry) -> Iterator[str]:
    who = f"the entry '{entry.id}'" if entry.id else "the entry"
    named = [network for written in entry.networks for network in written.networks]
    everything = NetworkSet(named)
    for number, written in enumerate(entry.except_):
        if not any(_touches(everything, network) for network in written.networks):
            network = f"{written.networks[0]}{' and more' if len(written.networks) > 1 else ''}"
            yield f"except[{number}]: found {network}, which is in no network of {who}: the exception changes nothing"
    spared = NetworkSet(network for written in entry.except_ for network in written.networks)
    if all(_inside(spared, network) for network in named):
        yield f"except: covers all networks of {who}, which names nobody"


def _touches(some: NetworkSet, network: Network) -> bool:
    """Return whether some address of the network is in the set."""
    bounds = some.bounds[network.version]
    before = bisect_right(bounds, network.value)
    return before & 1 == 1 or (before < len(bounds) and bounds[before] <= network.last)


def _inside(some: NetworkSet, network: Network) -> bool:
    """Return whether every address of the network is in the set."""
    bounds = some.bounds[network.version]
    before = bisect_right(bounds, network.value)
    return before & 1 == 1 and network.last < bounds[before]
