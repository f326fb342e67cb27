"""Why an address is allowed or denied, now or as of any time: which entries cover it, who put them there, and why.

What an entry names by networks is asked of the store as it was then. Countries, networks of an operator, feeds and host
names are known from the signed file of the first layer that was offered then, where it is still kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from authz.addresses import NetworkSet, network_of, parse_networks
from authz.control.model.records import APPLICATION, MICROSECONDS
from authz.control.store.entries.documents import find_documents
from authz.control.store.entries.find import Filter, find_entries, get_entries
from authz.control.store.ledger.history import Wanted, find_changes
from authz.engine.decision.explain import part_of
from authz.engine.decision.verdict import Verdict, decide
from authz.engine.model import ANY_APPLICATION, Application, DenyAnswer, Match
from authz.engine.model import Entry as EngineEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from authz.addresses import Address, Network
    from authz.control.model.records import Change, Entry
    from authz.engine.entries.opened_snapshot import OpenedSnapshot

MAX_SHOWN = 1000


class Covering(NamedTuple):
    """An entry that covers the address.

    Attributes:
        entry: None if only the signed file has it.
        change: That put it there.
    """

    id: str
    list: str
    network: Network
    verdict: str
    entry: Entry | None
    change: Change | None


class Explanation(NamedTuple):
    """A decision, and all that led to it.

    Attributes:
        complete: Whether the signed file of then could be asked, too.
    """

    application: Application
    verdict: Verdict
    covering: list[Covering]
    complete: bool


def explain(
    tx: Connection, address: Address, application: str | None, at: int, *, tenant: str | None,
    policy: OpenedSnapshot | None,
) -> Explanation:  # fmt: skip
    """Explain a decision. at: microseconds. tenant: whose entries may be seen; None: all. policy: as offered then."""
    settings = application_settings(find_documents(tx, APPLICATION, at=at), application)
    network = network_of(address, 32 if address.version == 4 else 128)
    entries = find_entries(tx, Filter(tenant=tenant, network=network, at=at), limit=MAX_SHOWN)
    matched = [(entry, _longest(entry, address)) for entry in entries if not _excepted(entry, address)]
    known = {entry.id for entry, _ in matched}
    matches = {entry.id: _match(_engine_entry(entry), of) for entry, of in matched}
    others = (
        [] if policy is None else [c for c in policy.covering(address) if c.entry.subjects and c.entry.id not in known]
    )
    matches |= {other.entry.id: _match(other.entry, other.network) for other in others}
    now = at / MICROSECONDS
    verdict = decide(settings, matches.values(), attack=False, now=now)
    covering = [
        Covering(entry.id, entry.list, of, why(settings, matches[entry.id].entry, verdict, now), entry, put)
        for entry, of in matched
        for put in (_put_by(tx, entry, at),)
    ]
    named = get_entries(tx, (other.entry.id for other in others), at=at)  # by country, source or name
    covering += [
        Covering(other.entry.id, other.entry.list, other.network, why(settings, other.entry, verdict, now), entry,
                 None if entry is None else _put_by(tx, entry, at))
        for other in others
        for entry in (named.get(other.entry.id),)
    ]  # fmt: skip
    return Explanation(settings, verdict, sorted(covering, key=lambda c: -c.network.length), policy is not None)


def why(application: Application, entry: EngineEntry, verdict: Verdict, now: float) -> str:
    """Return what became of an entry in a decision."""
    return part_of(application, entry, now, decides=verdict.entry is not None and entry.id == verdict.entry.id)


def application_settings(documents: dict[str, str], name: str | None) -> Application:
    """Return the settings of an application; what it does not say itself comes from `*`."""
    general = msgspec.json.decode(documents.get(ANY_APPLICATION) or b"{}")
    own = msgspec.json.decode(documents.get(name or "") or b"{}")
    values = {key: value for key, value in (general | own).items() if value is not None and key != "hosts"}
    deny = values.pop("deny", None)
    if deny is not None:
        values["deny"] = DenyAnswer(**deny)
    return Application(name or ANY_APPLICATION, hosts=tuple(own.get("hosts", ())), **values)


def _put_by(tx: Connection, entry: Entry, at: int) -> Change | None:
    return next(iter(find_changes(tx, Wanted(subject=entry.id, end=at + 1), limit=1)), None)


def _longest(entry: Entry, address: Address) -> Network:
    covering = (n for n in _networks(entry.networks) if address in NetworkSet([n]))
    return max(covering, key=lambda network: network.length)


def _excepted(entry: Entry, address: Address) -> bool:
    return address in NetworkSet(_networks(entry.except_))


def _networks(written: Iterable[str]) -> Iterable[Network]:
    return (network for text in written for network in parse_networks(text))


def _match(entry: EngineEntry, network: Network) -> Match:
    return Match(entry, network.length + (96 if network.version == 4 else 0))


def _engine_entry(entry: Entry) -> EngineEntry:
    return EngineEntry(
        id=entry.id, list=entry.list, action=entry.action, applications=frozenset(entry.applications),
        starts=entry.starts, expires=entry.expires, reason=entry.reason, author=entry.author,
    )  # fmt: skip
