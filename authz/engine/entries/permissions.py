"""What the key of a later layer may do: checked when its files are accepted. Pure: the time is given.

A later layer is signed by a key that is online, so the sidecar's configuration limits its rights:

    may: {lists: [deny, gray], longest: 7d, widest_ipv4: 24, widest_ipv6: 56, total_ipv4: 9, applications: [shop]}

1.  Each entry is on one of `lists`, ends at most `longest` from now, and names applications that a pattern fits. One
    without an end is refused, and one for all applications where patterns are given.
2.  No network is wider than `widest_ipv4` or `widest_ipv6`.
3.  There are at most `entries`. As many addresses as the widest network has count as an entry, wherever they are: so a
    crafted file cannot say /24 and mean everything. All of them together have at most as many addresses as a network of
    `total_ipv4` or `total_ipv6` bits: 65,536 times /24 is a /8, too. At most 1,000 cover the same address, and none has
    more than 16 KiB: each request of its client would go through all of them.
4.  Nothing denies, or marks as gray, an address that the policy protects.

What breaks one of them refuses the layer as a whole. An entry that is over breaks none. Neither does one that was there
before the policy came to protect its address: it is *overruled*, it has no effect, and the other entries go on.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from fnmatch import fnmatchcase
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, NetworkSet, format_address
from authz.engine.entries.manifest import entry_of
from authz.errors import Refusal, SnapshotRefused
from authz.snapshot.ban_ids import NEVER
from authz.snapshot.cooperative import in_turns
from authz.times import format_duration, format_moment

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Sequence

    from authz.addresses import Network
    from authz.engine.entries.opened_snapshot import OpenedSnapshot
    from authz.engine.model import Entry

_TURN: Final = 32  # entries, rows or pieces that are looked at in one turn; some 0.1 ms
MAX_ENTRY: Final = 16 << 10  # bytes: each decision by an entry reads it
MAX_COVERING: Final = 1_000  # entries of a file that cover the same address
MAX_APPLICATIONS: Final = 10_000  # that the entries of a file name; each is made ready in the event loop
CLOCK_SLACK: Final = 300  # seconds that the publisher's clock may be ahead of ours


class May(NamedTuple):
    """What a layer may do.

    Attributes:
        lists: The lists that its entries may be on.
        longest: Seconds from now to the end of an entry; None: an entry may never end.
        widest_ipv4: The prefix bits that an IPv4 network has at least.
        widest_ipv6: The same for IPv6.
        applications: Patterns such as `team-a-*`, of which one fits each application named; None: any, and all.
        entries: How many it may have.
        total_ipv4: All its networks together have at most as many addresses as one of so many prefix bits.
        total_ipv6: The same for IPv6.

    """

    lists: frozenset[str] = frozenset({"deny", "gray"})
    longest: float | None = 7 * 24 * 3600
    widest_ipv4: int = 24
    widest_ipv6: int = 56
    applications: tuple[str, ...] | None = None
    entries: int = 2_000_000
    total_ipv4: int = 9
    total_ipv6: int = 24

    def widest(self, version: int) -> int:
        """Return the prefix bits that a network of this version has at least."""
        return self.widest_ipv4 if version == 4 else self.widest_ipv6

    def total(self, version: int) -> int:
        """Return the prefix bits of a network that has as many addresses of this version as the layer may cover."""
        return self.total_ipv4 if version == 4 else self.total_ipv6


class Violation(NamedTuple):
    """A limit that is broken.

    Attributes:
        entry: Its id; "" where it is the number of all.
        limit: The key of `may`.
    """

    code: Refusal
    entry: str
    limit: str
    found: str
    expected: str

    def refusal(self) -> SnapshotRefused:
        """Return the refusal of the layer."""
        what = f"entry '{self.entry}': {self.limit}" if self.entry else self.limit
        return SnapshotRefused(self.code, what, found=self.found, expected=self.expected)


class Denial(NamedTuple):
    """An entry that would deny an address that the policy protects.

    Attributes:
        address: Its version, and its number.
    """

    entry: Entry
    address: tuple[int, int]

    def older(self, since: float) -> bool:
        """Return whether the entry says that it was there before this time, in seconds since 1970."""
        return self.entry.added is not None and self.entry.added < since

    def __str__(self) -> str:
        return format_address(*self.address)


def first_violation(
    files: Sequence[OpenedSnapshot], may: May, protected: Iterable[Network], now: float, *, since: float = -math.inf
) -> Violation | None:
    """Return the first limit that the files of a layer break, None if they keep to all.

    Args:
        files: All files of the layer.
        may: Its limits.
        protected: Networks that the policy protects.
        now: Seconds since 1970.
        since: When that policy was made; what an older entry denies of them is no violation.

    Raises:
        SnapshotRefused: `bad_section`, for an index that contradicts itself: it could hide what it covers.

    """
    return next(_violations(files, may, NetworkSet(protected), now, since), None)


def overruled(files: Iterable[OpenedSnapshot], protected: Iterable[Network], now: float) -> Iterator[Denial]:
    """Yield the entries of an accepted layer that would deny what the policy protects, each once a file.

    They have no effect there: see `authz.engine.entries.ruleset`.

    Args:
        files: All files of the layer.
        protected: Networks that the policy protects.
        now: Seconds since 1970.

    """
    networks = NetworkSet(protected)
    for file in files:
        known = set[str]()
        for denial in _denials(file, networks, now):
            if denial.entry.id not in known:
                known.add(denial.entry.id)
                yield denial


def _violations(
    files: Sequence[OpenedSnapshot], may: May, protected: NetworkSet, now: float, since: float
) -> Iterator[Violation]:
    yield from _too_many(sum(_count(file) for file in files), may)
    for file in files:
        if (count := len(file.mentioned)) > MAX_APPLICATIONS:
            expected = f"at most {MAX_APPLICATIONS} in a file"
            yield Violation(Refusal.NOT_PERMITTED_APPLICATION, "", "applications", str(count), expected)
        _check_readable(file)
        for entry in in_turns(file.entries, _TURN // 2):  # never all at once: 2 million have 500 MB
            yield from _of_entry(entry, may, now)
        yield from _of_singles(file, may, now)
        yield from _of_networks(file, may, now)
        yield from _over_one_address(file)
        for denial in _denials(file, protected, now):
            if not denial.older(since):
                expected = "no address that the policy protects"
                yield Violation(Refusal.NOT_PERMITTED_PROTECTED, denial.entry.id, "protected", str(denial), expected)
    covered = [_covered(file, version, may) for file in files for version in (4, 6)]
    yield from _too_many(sum(space.networks for space in covered), may)
    for version in (4, 6):
        most = 1 << BITS[version] - may.total(version)
        count = sum(space.addresses for space in covered if space.version == version)
        if count > most:  # most files need no second look, at what is not over
            head, *parts = files  # whose tombstones cancel nothing of its own
            count = _live(head, version, now) + sum(_live(part, version, now, head.tombstones) for part in parts)
        if count > most:
            expected = f"at most as many as a /{may.total(version)} has"
            yield Violation(Refusal.NOT_PERMITTED_TOTAL, "", f"total_ipv{version}", f"{count} addresses", expected)


def _check_readable(file: OpenedSnapshot) -> None:
    """Refuse what could not be read in a decision, or not soon. Raises SnapshotRefused."""
    if file.longest_entry > MAX_ENTRY:
        found, expected = f"one of {file.longest_entry} bytes", f"at most {MAX_ENTRY} in a layer behind the policy"
        raise SnapshotRefused(Refusal.TOO_LARGE, "entries", found=found, expected=expected)
    for problem in file.index.problems(len(file.entries)):
        raise SnapshotRefused(Refusal.BAD_SECTION, problem)


def _count(file: OpenedSnapshot) -> int:
    return len(file.entries) + (len(file.singles) if file.singles else 0)


def _too_many(count: int, may: May) -> Iterator[Violation]:
    if count > may.entries:
        yield Violation(Refusal.NOT_PERMITTED_ENTRIES, "", "entries", str(count), f"at most {may.entries}")


def _of_entry(entry: Entry, may: May, now: float) -> Iterator[Violation]:
    if entry.expires is not None and entry.expires <= now:
        return
    yield from _of_content(entry, entry.id, may)
    if may.longest is None or (entry.expires is not None and entry.expires <= now + may.longest + CLOCK_SLACK):
        return
    code = Refusal.NOT_PERMITTED_ENDLESS if entry.expires is None else Refusal.NOT_PERMITTED_PERIOD
    found, expected = format_moment(entry.expires, "no end"), f"an end at most {format_duration(may.longest)} from now"
    yield Violation(code, entry.id, "longest", found, expected)


def _of_content(entry: Entry, name: str, may: May) -> Iterator[Violation]:
    """Yield what is wrong with what an entry, or the template of many, says. name: the id of the entry."""
    if entry.list not in may.lists:
        expected = " or ".join(sorted(may.lists)) or "none"
        yield Violation(Refusal.NOT_PERMITTED_LIST, name, "lists", entry.list, expected)
    if may.applications is None:
        return
    expected = ", ".join(may.applications) or "none"
    if not entry.applications:
        yield Violation(Refusal.NOT_PERMITTED_APPLICATION, name, "applications", "all applications", expected)
    for application in sorted(entry.applications):
        if not any(fnmatchcase(application, pattern) for pattern in may.applications):
            yield Violation(Refusal.NOT_PERMITTED_APPLICATION, name, "applications", application, expected)


def _of_singles(file: OpenedSnapshot, may: May, now: float) -> Iterator[Violation]:
    """Yield what is wrong with single addresses: looks at each of them only where something is."""
    singles = file.singles
    if singles is None:
        return
    templates = (entry_of(message, named=False) for message in in_turns(singles.templates, _TURN))
    wrong = {number for number, entry in enumerate(templates) if next(_of_content(entry, "", may), None)}
    latest = NEVER if may.longest is None else now + may.longest + CLOCK_SLACK
    if wrong or singles.last_expiry > latest:
        for row in in_turns(range(1, len(singles) + 1), _TURN):
            _, _, expires, _, template, _ = singles.row(row)
            if template in wrong or expires is None or expires > latest:
                yield from _of_entry(entry_of(singles.entry(row)), may, now)


def _of_networks(file: OpenedSnapshot, may: May, now: float) -> Iterator[Violation]:
    """Yield networks that are too wide."""
    for version in (4, 6):
        widest, seen = may.widest(version), set[int]()  # match sets
        for first, _, number in _pieces(file, version):
            if number not in seen:
                seen.add(number)
                wide = [(place, length) for place, length in file.index.members(number) if length < widest]
                for entry, length in ((file.entries[place], length) for place, length in wide):
                    if entry.expires is None or entry.expires > now:
                        found = f"/{length} at {format_address(version, first)}"
                        key, expected = f"widest_ipv{version}", f"/{widest} or narrower"
                        yield Violation(Refusal.NOT_PERMITTED_WIDTH, entry.id, key, found, expected)


def _denials(file: OpenedSnapshot, protected: NetworkSet, now: float) -> Iterator[Denial]:
    """Yield what would deny a protected address; looks at each piece of the index only where something does."""
    for version, bounds in protected.bounds.items():
        ranges = list(zip(bounds[::2], bounds[1::2], strict=True))
        if file.singles is not None:
            for first, end in ranges:
                for row in file.singles.rows_in(version, first, end - 1):
                    entry = entry_of(file.singles.entry(row))
                    if _denies(entry, now):
                        yield Denial(entry, file.singles.address(row))
        numbers = set[int]().union(*(file.index.sets_within(version, first, end - 1) for first, end in ranges))
        denying = {number: [e for e in _members(file, number) if _denies(e, now)] for number in numbers}
        if any(denying.values()):
            for first, end, number in _pieces(file, version):
                place = _first_common(bounds, first, end) if denying.get(number) else None
                if place is not None:
                    yield from (Denial(entry, (version, place)) for entry in denying[number])


def _members(file: OpenedSnapshot, number: int) -> Iterator[Entry]:
    return (file.entries[entry] for entry, _ in file.index.members(number))


def _denies(entry: Entry, now: float) -> bool:
    """Return whether an entry may deny somebody, now or later."""
    return entry.list != "allow" and entry.action == "block" and (entry.expires is None or entry.expires > now)


class _Covered(NamedTuple):
    """What the networks of a file cover.

    Attributes:
        networks: How many of the widest ones are touched.
    """

    version: int
    addresses: int
    networks: int


def _covered(file: OpenedSnapshot, version: int, may: May) -> _Covered:
    """Return what the pieces of a file cover, and its single addresses, wherever they are."""
    addresses, used, shift, last = 0, 0, BITS[version] - may.widest(version), -1
    for first, end, _ in _pieces(file, version):
        used += max(0, (end - 1 >> shift) - max(first >> shift, last + 1) + 1)
        last = end - 1 >> shift
        addresses += end - first
    if file.singles is not None:
        addresses += len(file.singles.v4 if version == 4 else file.singles.v6_highs)
    return _Covered(version, addresses, used)


def _live(file: OpenedSnapshot, version: int, now: float, ended: Container[int] = ()) -> int:
    """Return how many addresses a file covers by entries that are not over. ended: its bans that are."""
    known: dict[int, bool] = {}
    addresses = 0
    for first, end, number in _pieces(file, version):
        if number not in known:
            ends = [entry.expires for entry in _members(file, number)]
            known[number] = any(expires is None or expires > now for expires in ends)
        addresses += end - first if known[number] else 0
    if file.singles is not None:
        addresses += sum(end > now and number not in ended for end, number in in_turns(file.singles.ends(version), 512))
    return addresses


def _over_one_address(file: OpenedSnapshot) -> Iterator[Violation]:
    """Yield where too many entries cover the same address."""
    if file.index.most_members() > MAX_COVERING or (file.singles and file.singles.repeated(MAX_COVERING)):
        found, expected = "more over the same address", f"at most {MAX_COVERING} of a file"
        yield Violation(Refusal.NOT_PERMITTED_ENTRIES, "", "entries", found, expected)


def _pieces(file: OpenedSnapshot, version: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first address, the one after the last, number of the match set) of each piece that something covers."""
    arrays = file.index.arrays
    if version == 4:
        starts: Iterable[int] = arrays["v4.starts"]
    else:
        starts = (high << 64 | low for high, low in zip(arrays["v6.starts_high"], arrays["v6.starts_low"], strict=True))
    ends = pairwise(chain(starts, [1 << BITS[version]]))
    for (first, end), number in in_turns(zip(ends, arrays[f"v{version}.sets"], strict=True), _TURN):
        if number:
            yield first, end, number


def _first_common(bounds: Sequence[int], first: int, end: int) -> int | None:
    """Return the first address of a range that is in a set of networks. bounds: as in NetworkSet. end: not in it."""
    place = bisect_right(bounds, first)
    if place & 1:
        return first
    return bounds[place] if place < len(bounds) and bounds[place] < end else None
