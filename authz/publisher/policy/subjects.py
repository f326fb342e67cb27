"""From what entries name to networks: feeds, host names, countries, ASNs (publisher only).

Everything is read once, whatever the number of entries that name it. What cannot be had is a mistake of the policy, at
the key that names it: a feed that was not read must not become a list that is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from authz.addresses import Address, Network
from authz.errors import InputError
from authz.publisher.feeds.clean.last_good import find_last_good, keep_content
from authz.publisher.feeds.clean.shrink_guard import check_shrink
from authz.publisher.feeds.geo.asn import AsnResult, read_asns
from authz.publisher.feeds.geo.places import GeoResult, GeoWanted, read_geo
from authz.publisher.feeds.hosts import HostOptions, Resolved, resolve_hosts
from authz.publisher.feeds.read_feed import read_feed
from authz.publisher.index.build import EntryNetworks
from authz.publisher.index.prefixes import Prefixes
from authz.publisher.policy.exceptions import idle_exceptions
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from authz.publisher.feeds.feed import Feed
    from authz.publisher.policy.schema import PolicyDocument, WrittenEntry, WrittenFeed, WrittenNetworks
    from authz.publisher.progress import Progress
    from authz.strict_yaml.document import Document


MAX_WARNINGS = 5  # skipped lines and bogons that are named for one feed


class SubjectOptions(NamedTuple):
    """How the subjects of entries are read.

    Attributes:
        hosts: How names are resolved.
        allow_unresolved: A name without an address is a warning, not a mistake.
        before: Entries that each feed had in the last build, by (source, path); several, in the order of the policy, if
            it takes more than one part of a file by `where`.
        last_good: The folder for the last good content of feeds.
    """

    hosts: HostOptions = HostOptions()
    allow_unresolved: bool = False
    before: Mapping[tuple[str, str], Sequence[int]] = {}
    last_good: Path | None = None


class ReadFeed(NamedTuple):
    """A feed of the policy that was read.

    Attributes:
        source: The source type that it gives.
        path: As in the policy.
        feed: What was read.
        kept_since: Where it is broken, and older content was taken: when that was last good, in seconds since 1970.
        problem: What is wrong with it then.
    """

    source: str
    path: str
    feed: Feed
    kept_since: int | None = None
    problem: str = ""


class Subjects(NamedTuple):
    """All that the entries of a policy name.

    Attributes:
        warnings: For people, one a line.
    """

    feeds: tuple[ReadFeed, ...] = ()
    hosts: Mapping[str, Resolved] = {}
    geo: GeoResult | None = None
    asns: AsnResult | None = None
    warnings: tuple[str, ...] = ()

    def networks_of(self, entry: WrittenEntry) -> EntryNetworks:
        """Return the networks of an entry, and its exceptions."""
        parts = [Prefixes.split(_flat(entry.networks)), Prefixes.split(self._host_networks(entry))]
        parts += [read.feed.networks for read in self.feeds if read.source in entry.sources]
        if self.geo is not None:
            for named, networks in (
                (entry.countries, self.geo.countries),
                (entry.regions, self.geo.regions),
                (entry.continents, self.geo.continents),
            ):
                parts += [networks[code] for code in named if code in networks]
        if self.asns is not None:
            parts += [self.asns.networks[number] for number in entry.asns if number in self.asns.networks]
        by_version = {v: Prefixes.concatenate([part[v] for part in parts if v in part]) for v in (4, 6)}
        return EntryNetworks(by_version, Prefixes.split(_flat(entry.except_)))

    def _host_networks(self, entry: WrittenEntry) -> Iterator[Network]:
        for name in entry.hosts:
            for address in self.hosts[name].addresses if name in self.hosts else ():
                yield _network(address)


def gather(
    document: Document[PolicyDocument],
    written: PolicyDocument,
    folder: Path,
    options: SubjectOptions,
    progress: Progress,
) -> Subjects:
    """Read all that the entries name.

    Args:
        document: Mistakes are noted in it.
        written: Its content.
        folder: What paths are relative to.
        options: How names and feeds are read.
        progress: Told of each step.
    """
    warnings = [*_unused_feeds(document, written), *idle_exceptions(document, written)]
    return Subjects(
        feeds=tuple(_read_feeds(document, written, folder, options, progress, warnings)),
        hosts=_resolve(document, written, options, warnings),
        geo=_read_geo(document, written, folder),
        asns=_read_asns(document, written, folder),
        warnings=tuple(warnings),
    )


def _unused_feeds(document: Document[PolicyDocument], written: PolicyDocument) -> Iterator[str]:
    named = {source for entry in written.entries for source in entry.sources}
    for feed in written.feeds:
        if feed.source not in named:
            place = document.place_of(f"{document.key_of(feed)}.source")
            yield f"{place}: no entry names the source type '{feed.source}': the feed does nothing"


def _read_feeds(
    document: Document[PolicyDocument], written: PolicyDocument, folder: Path, options: SubjectOptions,
    progress: Progress, warnings: list[str],
) -> Iterator[ReadFeed]:  # fmt: skip
    known: dict[Any, Feed] = {}
    counts = {name: iter(several) for name, several in options.before.items()}
    for number, feed in enumerate(written.feeds):
        before = next(counts.get((feed.source, feed.path), iter(())), None)
        once = (feed.path, feed.format, tuple(sorted(feed.where.items())), feed.min_count, feed.bogons)
        if not (feed.source and feed.path):
            continue  # that is a mistake already
        try:
            if once not in known:
                known[once] = read_feed(folder / feed.path, feed.options)
                warnings += _feed_warnings(feed, known[once])
            check_shrink(feed.path, known[once].taken, before, feed.max_shrink)
            if known[once].is_empty:
                warnings.append(f"{feed.path}: the feed has no entries")
            if feed.on_broken == "keep" and options.last_good is not None:
                keep_content(options.last_good, feed.path, folder / feed.path)
        except InputError as error:
            kept = _kept(feed, options.last_good, error)
            if kept is None:
                document.mistake(f"{document.key_of(feed)}.path", error.message, _fetch_hint(feed, error))
            else:
                since = format_moment(kept.kept_since)
                warnings.append(f"{feed.path}: broken, so its last good content of {since} is kept: {kept.problem}")
                yield kept
        else:
            yield ReadFeed(feed.source, feed.path, known[once])
        progress("feeds", number + 1, len(written.feeds))


def _kept(feed: WrittenFeed, folder: Path | None, error: InputError) -> ReadFeed | None:
    """Return the last good content of a broken feed; None if the policy does not want it, or there is none."""
    last = find_last_good(folder, feed.path) if feed.on_broken == "keep" else None
    if last is None:
        return None
    try:
        content = read_feed(last.path, feed.options)
    except InputError:
        return None
    return ReadFeed(feed.source, feed.path, content, last.since, error.message.removeprefix(f"{feed.path}: "))


def _fetch_hint(feed: WrittenFeed, error: InputError) -> str:
    parts = [error.hint]
    if feed.on_broken == "keep":
        parts.append("there is no last good content of it to keep, or none that can be read")
    if feed.url:
        parts.append("`authz feeds fetch` gets it")
    return "; ".join(filter(None, parts))


def _feed_warnings(written: WrittenFeed, feed: Feed) -> Iterator[str]:
    named = [f"{written.path}:{line.line}: skipped: {line.why}" for line in feed.skipped[:MAX_WARNINGS]]
    named += [f"{written.path}:{b.line}: dropped {b.network}: {b.what}" for b in feed.bogons[:MAX_WARNINGS]]
    yield from named
    more = len(feed.skipped) + len(feed.bogons) - len(named)
    if more > 0:
        yield f"{written.path}: {more} more lines skipped or dropped"


def _resolve(
    document: Document[PolicyDocument], written: PolicyDocument, options: SubjectOptions, warnings: list[str]
) -> dict[str, Resolved]:
    names = {name for entry in written.entries for name in entry.hosts}
    try:
        resolved = resolve_hosts(names, options.hosts)
    except InputError as error:
        document.mistake("entries", error.message, error.hint)
        return {}
    for entry in written.entries:
        for name in entry.hosts:
            host = resolved[name]
            if not host.addresses and options.allow_unresolved:
                warnings.append(f"'{name}' does not resolve: {host.problem}")
            elif not host.addresses:
                key = f"{document.key_of(entry)}.hosts"
                document.mistake(key, f"'{name}' does not resolve: {host.problem}", "--allow-unresolved takes it")
            elif host.problem:
                warnings.append(f"'{name}': {host.problem}; took the answer of {host.age} seconds ago")
    return resolved


def _read_geo(document: Document[PolicyDocument], written: PolicyDocument, folder: Path) -> GeoResult | None:
    wanted = GeoWanted(
        frozenset(code for entry in written.entries for code in entry.countries),
        frozenset(code for entry in written.entries for code in entry.regions),
        frozenset(code for entry in written.entries for code in entry.continents),
    )
    if not any(wanted):
        return None
    if not written.geo.country:
        for kind in ("countries", "regions", "continents"):
            _no_database(document, written, kind, "geo.country", "geo: {country: geo/country.mmdb}")
        return None
    try:
        return read_geo([folder / path for path in written.geo.country], wanted)
    except InputError as error:
        document.mistake("geo.country", error.message, error.hint)
        return None


def _no_database(
    document: Document[PolicyDocument], written: PolicyDocument, kind: str, key: str, example: str
) -> None:
    for entry in written.entries:
        named = ", ".join(str(name) for name in getattr(entry, kind))
        if named:
            place = f"{document.key_of(entry)}.{kind}"
            document.mistake(place, f"found {named}, and {key} is missing, expected a database", f"such as {example}")


def _read_asns(document: Document[PolicyDocument], written: PolicyDocument, folder: Path) -> AsnResult | None:
    wanted = frozenset(number for entry in written.entries for number in entry.asns)
    if not wanted:
        return None
    if not written.geo.asn:
        _no_database(document, written, "asns", "geo.asn", "geo: {asn: geo/asn.csv}")
        return None
    try:
        return read_asns([folder / path for path in written.geo.asn], wanted)
    except InputError as error:
        document.mistake("geo.asn", error.message, error.hint)
        return None


def _flat(many: Iterable[WrittenNetworks]) -> Iterator[Network]:
    return (network for subject in many for network in subject.networks)


def _network(address: Address) -> Network:
    return Network(address.version, address.value, 32 if address.version == 4 else 128)
