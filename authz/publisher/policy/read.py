"""Reading policy.yaml: from a file to checked applications and entries, or to all of its mistakes at once.

Publisher only. What entries name (feeds, hosts, databases) is read too, so that a wrong path is a mistake of the same
run; see `authz.publisher.policy.subjects`.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from authz.addresses import BITS
from authz.engine.model import ANY_APPLICATION, TOKEN, Application, DenyAnswer, Entry
from authz.errors import shorten
from authz.publisher.policy.schema import ApplicationSettings, PolicyDocument, WrittenEntry, WrittenNetworks
from authz.publisher.policy.subjects import SubjectOptions, gather
from authz.strict_yaml.document import Document, read_file
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from authz.addresses import Network
    from authz.publisher.index.build import EntryNetworks
    from authz.publisher.policy.subjects import ReadFeed
    from authz.publisher.progress import Progress

MIN_WINDOW = 300  # seconds
_INHERITED = ("mode", "default", "precedence", "match", "dry_run", "denylist_in_monitoring")
_NAMED = (
    ("hosts", "host"),
    ("countries", "country"),
    ("regions", "region"),
    ("continents", "continent"),
    ("asns", "asn"),
    ("sources", "source"),
)
SUBJECTS = ("networks", *(plural for plural, _ in _NAMED))


class Policy(NamedTuple):
    """A policy, checked and resolved.

    Attributes:
        applications: The first is `*`.
        networks: The subjects of `entries`, in the same order.
        protected: Networks that no application may deny.
        feeds: What was read for `sources`.
        warnings: For people, one a line.
    """

    applications: tuple[Application, ...]
    entries: tuple[Entry, ...]
    networks: tuple[EntryNetworks, ...]
    protected: tuple[Network, ...] = ()
    feeds: tuple[ReadFeed, ...] = ()
    warnings: tuple[str, ...] = ()


def read_policy(
    path: Path,
    *,
    lenient: bool = False,
    options: SubjectOptions = SubjectOptions(),  # noqa: B008  # it is frozen
    now: float | None = None,
    known: Mapping[str, int | None] = MappingProxyType({}),
    progress: Progress = lambda *_: None,
    folder: Path | None = None,
) -> Policy:
    """Read and check the policy at `path`.

    Args:
        path: The file.
        lenient: Take networks with host bits set for the network meant.
        options: How to read what entries name.
        now: Seconds since 1970; the window of an entry without `starts` begins then. None: such windows are not
            checked.
        known: The entries of the last build, by id, with the end of each: they may be about to end.
        progress: Is told how far it is.
        folder: What paths in it are relative to. None: the folder of the file.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The policy has mistakes, all of which it names.

    """
    document = read_file(PolicyDocument, path)
    written = document.content
    if written is None:
        document.checked()
        raise AssertionError  # checked() has raised
    applications = _applications(document, written)
    _check_limits(document, written)
    _check_host_bits(document, written.protected, lenient=lenient)
    _check_feeds(document, written)
    subjects = gather(document, written, folder or path.parent, options, progress)
    entries: dict[str, tuple[Entry, EntryNetworks]] = {}
    first_places: dict[str, WrittenEntry] = {}
    for number, entry in enumerate(written.entries):
        _check_entry(document, entry, written, lenient=lenient)
        made = _entry(entry)
        if now is not None and made.expires != known.get(made.id):
            _check_end(document, entry, now)
        if made.id in entries:
            _refuse_repeated(document, entry, made.id, first_places[made.id])
        first_places.setdefault(made.id, entry)
        entries[made.id] = made, subjects.networks_of(entry)
        progress("entries", number + 1, len(written.entries))
    document.checked()
    return Policy(
        applications,
        tuple(entry for entry, _ in entries.values()),
        tuple(networks for _, networks in entries.values()),
        tuple(network for subject in written.protected for network in subject.networks),
        subjects.feeds,
        subjects.warnings,
    )


def _refuse_repeated(
    document: Document[PolicyDocument], entry: WrittenEntry, entry_id: str, first: WrittenEntry
) -> None:
    hint = f"the first is in line {document.line_of(first)}"
    if entry.id:
        _mistake(document, entry, "id", f"found '{entry_id}' twice, expected each id once", hint)
    else:
        _mistake(document, entry, "", "found the same entry twice, expected each entry once", hint)


def read_applications(path: Path) -> tuple[Application, ...]:
    """Return the applications of a policy, the first of which is `*`. Nothing that entries name is read.

    Args:
        path: policy.yaml.

    Raises:
        InputError: The file cannot be read.
        InvalidDocument: The file has mistakes; the error has all of them.
    """
    document = read_file(PolicyDocument, path)
    applications = () if document.content is None else _applications(document, document.content)
    document.checked()
    return applications


def _applications(document: Document[PolicyDocument], written: PolicyDocument) -> tuple[Application, ...]:
    general = written.applications.get(ANY_APPLICATION, ApplicationSettings())
    if general.hosts:
        _mistake(
            document, general, "hosts", f"found hosts for '{ANY_APPLICATION}', expected them for a named application"
        )
    hosts: dict[str, str] = {}
    for name, settings in written.applications.items():
        if name != ANY_APPLICATION and not TOKEN.fullmatch(name):
            _mistake(
                document, settings, "", f"found the name '{shorten(name)}', expected letters, digits, '.', '_', '-'"
            )
        for host in settings.hosts:
            if hosts.setdefault(host, name) != name:
                _mistake(document, settings, "hosts", f"found '{host}', which names '{hosts[host]}' already")
    named = {name: settings for name, settings in written.applications.items() if name != ANY_APPLICATION}
    return (_application(ANY_APPLICATION, general, general), *(_application(n, s, general) for n, s in named.items()))


def _application(name: str, settings: ApplicationSettings, general: ApplicationSettings) -> Application:
    values = {}
    for field in _INHERITED:
        value = getattr(settings, field)
        value = getattr(general, field) if value is None else value
        if value is not None:
            values[field] = value
    deny = settings.deny or general.deny
    if deny is not None:
        values["deny"] = DenyAnswer(deny.status, deny.body, deny.content_type)
    return Application(name, hosts=settings.hosts, **values)


def _check_limits(document: Document[PolicyDocument], written: PolicyDocument) -> None:
    for version, bits in BITS.items():
        key = f"widest_ipv{version}"
        if not 0 <= getattr(written.limits, key) <= bits:
            document.mistake(f"limits.{key}", f"found {getattr(written.limits, key)}, expected 0 to {bits}")


def _check_feeds(document: Document[PolicyDocument], written: PolicyDocument) -> None:
    for feed in written.feeds:
        key = document.key_of(feed)
        for name in ("source", "path"):
            if not getattr(feed, name) and not document.spoiled(feed):
                document.mistake(f"{key}.{name}", "missing", "or give a `preset`" if name == "source" else "")


def _check_host_bits(document: Document[PolicyDocument], networks: Iterable[WrittenNetworks], *, lenient: bool) -> None:
    for subject in networks:
        if subject.problem and not lenient:
            document.mistake(
                document.key_of(subject), subject.problem.message, f"{subject.problem.hint} --lenient takes it"
            )


def _check_entry(
    document: Document[PolicyDocument], entry: WrittenEntry, written: PolicyDocument, *, lenient: bool
) -> None:
    for key, message, hint in _entry_problems(entry, written):
        _mistake(document, entry, key, message, hint)
    _check_host_bits(document, (*entry.networks, *entry.except_), lenient=lenient)
    for subject, message, hint in _wide_networks(entry, written):
        document.mistake(document.key_of(subject), message, hint)
    if document.spoiled(entry):
        return  # a list that looks empty may have had something wrong in it
    if not any(getattr(entry, subject) for subject in SUBJECTS):
        _mistake(document, entry, "", "names nobody", f"expected one or more of {', '.join(SUBJECTS)}")
    if entry.applications is not None and not entry.applications:
        hint = "leave the key out for all applications"
        _mistake(document, entry, "applications", "found an empty list, expected names", hint)


def _entry_problems(entry: WrittenEntry, written: PolicyDocument) -> Iterator[tuple[str, str, str]]:
    for name in entry.applications or ():
        if name not in written.applications:
            known = ", ".join(n for n in written.applications if n != ANY_APPLICATION) or "none"
            yield "applications", f"found '{name}', expected a name under applications", f"known: {known}"
    given = {feed.source for feed in written.feeds}
    for source in entry.sources:
        if source not in given:
            yield "sources", f"found '{source}', which no feed gives", f"given: {', '.join(sorted(given)) or 'none'}"
    yield from _window_problems(entry)


def _window_problems(entry: WrittenEntry) -> Iterator[tuple[str, str, str]]:
    if entry.starts is not None and entry.expires is not None:
        window = entry.expires - entry.starts
        if window < 0:
            ends = f"found an end before the start, which is {format_moment(entry.starts)}"
            yield "expires", f"{ends}, expected it after", "are the two swapped?"
        elif window < MIN_WINDOW:
            yield "expires", f"found a window of {window} seconds, expected at least {MIN_WINDOW}", ""


def _check_end(document: Document[PolicyDocument], entry: WrittenEntry, now: float) -> None:
    """Refuse a new entry that ends as good as now: without `starts`, its window begins with this build."""
    if entry.starts is not None or entry.expires is None or entry.expires >= now + MIN_WINDOW:
        return
    end = format_moment(entry.expires)
    left = int(entry.expires - now)
    when = f"found {end}, which is over" if left <= 0 else f"found {end}, which is {left} seconds from now"
    hint = "a new entry without `starts` begins now; remove it, or say when it started"
    _mistake(document, entry, "expires", f"{when}, expected at least {MIN_WINDOW} seconds from now", hint)


def _wide_networks(entry: WrittenEntry, written: PolicyDocument) -> Iterator[tuple[WrittenNetworks, str, str]]:
    widest = {4: written.limits.widest_ipv4, 6: written.limits.widest_ipv6}
    for subject in entry.networks:
        # A limit that is wrong itself is told where it stands, not at every network.
        wide = next((n for n in subject.networks if n.length < widest[n.version] <= BITS[n.version]), None)
        if wide:
            message = f"found {wide}, expected a network of /{widest[wide.version]} or longer"
            yield subject, message, f"limits.widest_ipv{wide.version} says so"


def _mistake(
    document: Document[PolicyDocument],
    part: WrittenEntry | ApplicationSettings,
    key: str,
    message: str,
    hint: str = "",
) -> None:
    place = document.key_of(part)
    document.mistake(f"{place}.{key}" if key else place, message, hint)


def _entry(entry: WrittenEntry) -> Entry:
    return Entry(
        id=entry.id or derived_id(entry),
        list=entry.list,
        action=entry.action,
        applications=frozenset(entry.applications or ()),
        starts=entry.starts,
        expires=entry.expires,
        reason=entry.reason,
        author=entry.author,
        subjects=tuple(f"{singular} {name}" for plural, singular in _NAMED for name in getattr(entry, plural)),
    )


def derived_id(entry: WrittenEntry) -> str:
    """Return the id of an entry that names none: `e-` and 12 hexadecimal digits of what it says.

    The same entry has the same id in every build, wherever it stands in the file; spelling and order of its networks
    do not count, nor do reason and author. A kind of subject that it does not name has no part in it, so that ids stay
    when a later version knows more kinds.
    """
    content = {
        "list": entry.list,
        "networks": sorted({str(n) for subject in entry.networks for n in subject.networks}),
        "except": sorted({str(n) for subject in entry.except_ for n in subject.networks}),
        "applications": sorted(set(entry.applications or ())),
        "action": entry.action,
        "window": [entry.starts, entry.expires],
    }
    content |= {name: sorted(set(named)) for name, _ in _NAMED if (named := getattr(entry, name))}
    return f"e-{hashlib.sha256(msgspec.json.encode(content)).hexdigest()[:12]}"
