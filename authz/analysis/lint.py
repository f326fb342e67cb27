"""What is probably a mistake in a snapshot: entries that do nothing, contradictions, and self-lockouts.

| code | severity | what |
|---|---|---|
| `denies_protected` | error | a protected network is denied, now or when a window opens |
| `denies_trusted_proxy` | error | a deny entry covers a trusted proxy: one's own load balancer would be denied |
| `expired` | warning | the window of the entry has closed |
| `empty` | warning | the entry covers no address: it has no networks, or exceptions remove all |
| `unknown_application` | warning | the entry names only applications that the snapshot does not have |
| `gray_ignored` | warning | the entry is on the gray list, and none of its applications is in mode safe_blocking |
| `shadowed` | warning | wherever the entry covers an address, and in every application, another one decides |
| `duplicate` | warning | another entry has the same settings and addresses |
| `wide_network` | warning | a network that is wider than one writes; they come from feeds, countries and ASNs |
| `allow_deny_overlap` | notice | an allow and a deny entry have addresses in common; precedence decides |
| `no_reason`, `no_author` | notice | nobody will know why the entry is there, or whom to ask |

An entry that has expired gets no other finding, and neither does one that is empty but for reason and author.
"""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np

from authz.addresses import Network
from authz.analysis.decisions import alike, named_applications
from authz.analysis.entry_pieces import EntryPieces
from authz.analysis.lockout import common, over_time, would_deny
from authz.analysis.space import cut_of
from authz.engine.decision.verdict import only_warns
from authz.engine.entries.opened_snapshot import POLICY_LAYER
from authz.engine.model import ANY_APPLICATION, Application, Match
from authz.times import format_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry

    Severity = Literal["error", "warning", "notice"]

SEVERITIES: Final[dict[str, Severity]] = {
    "denies_protected": "error",
    "denies_trusted_proxy": "error",
    "expired": "warning",
    "empty": "warning",
    "unknown_application": "warning",
    "gray_ignored": "warning",
    "shadowed": "warning",
    "duplicate": "warning",
    "wide_network": "warning",
    "allow_deny_overlap": "notice",
    "no_reason": "notice",
    "no_author": "notice",
}
WIDEST: Final[Mapping[int, int]] = {4: 12, 6: 32}  # prefix bits; the defaults of the policy's `limits`
MAX_OVERLAPS: Final = 1000  # pairs of an allow and a deny entry that are looked into


class Finding(NamedTuple):
    """One thing to look at.

    Attributes:
        code: A key of SEVERITIES.
        entry: Its id; None: the finding is about no entry.
        example: A network that shows it; "": none.
    """

    code: str
    entry: str | None
    message: str
    example: str = ""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return SEVERITIES[self.code]


def lint(
    loaded: OpenedSnapshot,
    *,
    now: float,
    trusted_proxies: Sequence[Network] = (),
    protected: Sequence[Network] = (),
    widest: Mapping[int, int] = WIDEST,
) -> list[Finding]:
    """Return the findings, the worst first, then in the order of the table above and of the entries.

    Args:
        loaded: The snapshot.
        now: Seconds since 1970.
        trusted_proxies: Those of the sidecar's configuration.
        protected: Networks that no application may deny.
        widest: Prefix bits by version; a wider network is a finding.
    """
    subject = _Subject(loaded, now)
    findings = [
        *_denied(loaded, protected, now),
        *_proxies(subject, trusted_proxies),
        *_expired(subject),
        *_without_effect(subject),
        *_shadowed(subject),
        *_duplicates(subject),
        *_wide(subject, widest),
        *_overlaps(subject),
        *_unexplained(subject),
    ]
    order = list(SEVERITIES)
    return sorted(findings, key=lambda finding: order.index(finding.code))


class _Subject:
    """A snapshot, and which of its entries are worth a look.

    Attributes:
        known: The applications that an entry may concern.
        live: The numbers of the entries that may still count.
    """

    def __init__(self, loaded: OpenedSnapshot, now: float) -> None:
        self.loaded = loaded
        self.entries: Sequence[Entry] = loaded.entries
        self.now = now
        self.pieces = EntryPieces(loaded)
        self.known = _applications(loaded)
        self.live = [number for number, entry in enumerate(self.entries) if not _over(entry, now)]
        named = {entry.applications for entry in self.entries}
        concerned = {names: [a for a in self.known if not names or a.name in names] for names in named}
        self.applications = [concerned[entry.applications] for entry in self.entries]
        self.empty = {number for number in self.live if not len(self.pieces.sets_of(number))}
        self.idle = {number for number in self.live if not self.applications[number] or self._gray_only(number)}
        self.duplicates = self._equal_entries()

    def _gray_only(self, number: int) -> bool:
        gray = self.entries[number].list == "gray"
        return gray and all(application.mode != "safe_blocking" for application in self.applications[number])

    def _equal_entries(self) -> dict[int, int]:
        """Return for each entry that says the same as one before it the number of that one."""
        first: dict[object, int] = {}
        equal = {}
        for number in self.live:
            if number not in self.empty:
                says = self.entries[number]._replace(id="", reason="", author="")
                known = first.setdefault((says, self.pieces.sets_of(number).tobytes()), number)
                if known != number:
                    equal[number] = known
        return equal

    @property
    def effective(self) -> Iterator[int]:
        """The entries that have addresses and an application that looks at them."""
        return (number for number in self.live if number not in self.empty and number not in self.idle)


def _applications(loaded: OpenedSnapshot) -> Sequence[Application]:
    """Return the applications of a snapshot.

    Those of a layer behind the policy have their settings in the policy. They are taken to be there, in the mode in
    which all lists count.
    """
    if loaded.layer == POLICY_LAYER or loaded.applications != (Application(ANY_APPLICATION),):
        return loaded.applications
    names = (ANY_APPLICATION, *sorted(loaded.mentioned))
    return [loaded.general._replace(name=name, mode="safe_blocking") for name in names]


def _over(entry: Entry, now: float) -> bool:
    return entry.expires is not None and entry.expires <= now


def _denied(loaded: OpenedSnapshot, protected: Sequence[Network], now: float) -> Iterator[Finding]:
    for denial in would_deny(loaded, protected, now):
        where = "every other application (*)" if denial.application == ANY_APPLICATION else denial.application
        when = "" if denial.since <= now else f" from {format_moment(denial.since)} on"
        what = f"{denial.network} is protected, and is denied in {where}{when}: {denial.reason}"
        yield Finding("denies_protected", denial.entry, what, str(denial.example))


def _proxies(subject: _Subject, proxies: Sequence[Network]) -> Iterator[Finding]:
    spaces = {version: cut_of(subject.loaded.index, version) for version in (4, 6)}
    denying = {number for number in subject.effective if _can_deny(subject, number)}
    for proxy in proxies:
        cut, sets = spaces[proxy.version]
        first, end = cut.within(proxy)
        reported: set[int] = set()
        numbers, places = np.unique(sets[first:end], return_index=True)
        for number, place in sorted(zip(numbers.tolist(), places.tolist(), strict=True), key=lambda pair: pair[1]):
            for entry, _ in subject.loaded.index.members(number):
                if entry in denying and entry not in reported:
                    reported.add(entry)
                    example = common(cut, first + place, proxy)
                    what = f"covers {'' if example == proxy else 'part of '}the trusted proxy {proxy}"
                    yield Finding("denies_trusted_proxy", subject.entries[entry].id, what, str(example))


def _can_deny(subject: _Subject, number: int) -> bool:
    entry = subject.entries[number]
    where = subject.applications[number]
    return entry.list == "deny" and any(not only_warns(application, entry) for application in where)


def _expired(subject: _Subject) -> Iterator[Finding]:
    for entry in subject.entries:
        if _over(entry, subject.now):
            yield Finding("expired", entry.id, f"expired at {format_moment(entry.expires)}")


def _without_effect(subject: _Subject) -> Iterator[Finding]:
    for number in subject.live:
        entry = subject.entries[number]
        if number in subject.empty:
            yield Finding("empty", entry.id, "covers no address: it has no networks, or exceptions remove all")
        elif not subject.applications[number]:
            names = ", ".join(sorted(entry.applications))
            what = f"names only unknown applications: {names}"
            yield Finding("unknown_application", entry.id, what)
        elif number in subject.idle:
            modes = ", ".join(f"{a.name} is in mode {a.mode}" for a in subject.applications[number])
            what = f"has no effect: the gray list counts only in mode safe_blocking; {modes}"
            yield Finding("gray_ignored", entry.id, what)


def _shadowed(subject: _Subject) -> Iterator[Finding]:
    waiting = {n for n in subject.effective if n not in subject.duplicates and subject.entries[n].action != "warn"}
    # What a duplicate decides counts for the first that says the same.
    numbers = {entry.id: subject.duplicates.get(number, number) for number, entry in enumerate(subject.entries)}
    named = named_applications(subject.loaded)
    different = {alike(application, named): application for application in subject.known}
    for application in subject.known:
        waiting -= {number for number in waiting if _denies_on_the_path(application, subject.entries[number])}
    for application in different.values():
        for matches in _matches_with(subject, waiting, application):  # which stops for those that no longer wait
            for _, verdict in over_time(application, matches, subject.now):
                deciding = [*(match.entry for match in verdict.warned), *([verdict.entry] if verdict.entry else [])]
                waiting -= {numbers[entry.id] for entry in deciding}
    for number in sorted(waiting):
        yield _shadow(subject, number)


def _denies_on_the_path(application: Application, entry: Entry) -> bool:
    """Return whether the entry may deny by another address of the forwarding chain, whatever the client is on."""
    return application.match == "path" and entry.list == "deny" and entry.concerns(application.name)


def _matches_with(subject: _Subject, waiting: set[int], application: Application) -> Iterator[list[Match]]:
    """Yield the match sets with an entry that concerns the application and still waits when it is its turn."""
    concerned = sorted(number for number in waiting if subject.entries[number].concerns(application.name))
    seen: set[int] = set()
    for entry in concerned:
        for number in subject.pieces.sets_of(entry).tolist():
            if entry not in waiting:
                break
            if number not in seen:
                seen.add(number)
                yield subject.loaded.matches(6, number)


def _shadow(subject: _Subject, number: int) -> Finding:
    entry = subject.entries[number]
    application = next(a for a in subject.applications[number] if entry.list != "gray" or a.mode == "safe_blocking")
    sets = subject.pieces.sets_of(number)
    _, example = subject.pieces.summary(sets[:1].tolist())
    begin = max(subject.now, entry.starts or 0)
    _, verdict = next(over_time(application, subject.loaded.matches(6, int(sets[0])), begin))
    other = f"{verdict.entry.id} ({verdict.entry.list})" if verdict.entry else "no entry"
    where = "any of its applications" if entry.applications else "any application"
    what = f"never decides in {where}: other entries decide for all of its addresses, such as {other}"
    return Finding("shadowed", entry.id, what, str(example))


def _duplicates(subject: _Subject) -> Iterator[Finding]:
    for number, first in subject.duplicates.items():
        entry = subject.entries[number]
        what = f"repeats {subject.entries[first].id}: the same settings and addresses"
        _, example = subject.pieces.summary(subject.pieces.sets_of(number).tolist())
        yield Finding("duplicate", entry.id, what, str(example))


def _wide(subject: _Subject, widest: Mapping[int, int]) -> Iterator[Finding]:
    for number in subject.effective:
        for version in (4, 6):
            sets, lengths = subject.pieces.lengths_of(number, version)
            if len(sets) and lengths.min() < widest[version]:
                place = int(lengths.argmin())
                ranges = next(r for r in subject.pieces.ranges([int(sets[place])]) if r.version == version)
                host_bits = (32 if version == 4 else 128) - int(lengths[place])
                network = Network(version, ranges.bounds(0)[0] >> host_bits << host_bits, int(lengths[place]))
                what = f"has a network of /{network.length}, expected /{widest[version]} or longer"
                yield Finding("wide_network", subject.entries[number].id, what, str(network))


def _overlaps(subject: _Subject) -> Iterator[Finding]:
    pairs: dict[tuple[int, int], list[int]] = {}  # the match sets of each pair of an allow and a deny entry
    meet = functools.cache(functools.partial(_meet, subject))
    more = False
    for number, allowing, denying in _mixed_sets(subject):
        for pair in itertools.product(allowing, denying):
            if not meet(*pair):
                continue
            if pair in pairs or len(pairs) < MAX_OVERLAPS:
                pairs.setdefault(pair, []).append(number)
            else:
                more = True
    for (allow, deny), sets in pairs.items():
        tally, example = subject.pieces.summary(sets)
        what = f"allows {tally} that {subject.entries[deny].id} denies; precedence: {_precedence(subject, allow, deny)}"
        yield Finding("allow_deny_overlap", subject.entries[allow].id, what, str(example))
    if more:
        what = f"more than {MAX_OVERLAPS} pairs of entries overlap; only the first are listed"
        yield Finding("allow_deny_overlap", None, what)


def _precedence(subject: _Subject, one: int, other: int) -> str:
    """Return which precedence the applications have for which both entries count."""
    names: dict[str, list[str]] = {}
    for application in _common_applications(subject, one, other):
        names.setdefault(application.precedence, []).append(application.name)
    return "; ".join(f"{precedence} in {', '.join(some)}" for precedence, some in names.items())


def _common_applications(subject: _Subject, allow: int, deny: int) -> list[Application]:
    names = {application.name for application in subject.applications[allow]}
    denying = subject.entries[deny]
    return [a for a in subject.applications[deny] if a.name in names and not only_warns(a, denying)]


def _mixed_sets(subject: _Subject) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield each match set that has entries of both lists, with those of the allow and those of the deny list."""
    lists = np.zeros(len(subject.entries), np.uint8)
    for number in subject.effective:
        entry = subject.entries[number]
        lists[number] = 1 if entry.list == "allow" else 2 if _can_deny(subject, number) else 0
    sets, of = subject.pieces.sets, lists[subject.pieces.entries]
    for number in np.intersect1d(sets[of == 1], sets[of == 2]).tolist():
        entries = [entry for entry, _ in subject.loaded.index.members(number)]
        yield number, [e for e in entries if lists[e] == 1], [e for e in entries if lists[e] == 2]


def _meet(subject: _Subject, one: int, other: int) -> bool:
    """Return whether there is an application and a time for which both count."""
    a, b = subject.entries[one], subject.entries[other]
    starts = max(a.starts or 0, b.starts or 0)
    ends = min(e.expires if e.expires is not None else float("inf") for e in (a, b))
    return starts < ends and bool(_common_applications(subject, one, other))


def _unexplained(subject: _Subject) -> Iterator[Finding]:
    checks: list[tuple[str, Callable[[Entry], str]]] = [
        ("no_reason", lambda entry: entry.reason),
        ("no_author", lambda entry: entry.author),
    ]
    for code, text_of in checks:
        for number in subject.live:
            entry = subject.entries[number]
            if not text_of(entry).strip():
                yield Finding(code, entry.id, f"has no {code.removeprefix('no_')}")
