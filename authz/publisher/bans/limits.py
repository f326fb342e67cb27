"""What sidecars would refuse of a bans file, found before it is signed: else no later ban would hold either."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.addresses import BITS, parse_network
from authz.errors import AddressError, InputError, SnapshotRefused
from authz.publisher.bans.contents import BansDocument, format_period
from authz.snapshot.heading import read_heading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from authz.addresses import Network
    from authz.publisher.bans.record import Ban

MAX_OVER_ONE: Final = 1000  # bans over one address, as in authz.engine.entries.permissions, which takes long to load
MAX_ENTRY: Final = 16 << 10  # bytes of a ban that is an entry, as there
CLOCK_SLACK: Final = 300  # seconds that a ban may be longer than it may, as there: clocks differ
MIN_PERIOD: Final = 300  # seconds, as for an entry of a policy
_BESIDES: Final = 256  # bytes of an entry besides its texts


class Excess(NamedTuple):
    """A limit that a ban exceeds.

    Attributes:
        option: Of `authz ban`, which has the value.
        key: Of the ban in the file, which has it there.
    """

    option: str
    key: str
    found: str
    expected: str
    hint: str = ""


def excess_of(document: BansDocument, ban: Ban, now: int, slack: int = 0) -> Excess | None:
    """Return the limit of its layer that a ban exceeds.

    Args:
        document: The bans file, with the limits.
        ban: The ban.
        now: Seconds since 1970.
        slack: Seconds that it may be longer.
    """
    may = document.may
    widest = may.widest(ban.network.version)
    if ban.network.length < widest:
        expected = f"at most a /{widest}: the layer may not ban wider networks"
        return Excess("NETWORK", "network", str(ban.network), expected)
    if ban.list not in may.lists:
        return Excess("--list", "list", ban.list, f"{' or '.join(may.lists)}: the layer has no other")
    fits = [any(fnmatchcase(name, pattern) for pattern in may.applications) for name in sorted(ban.applications)]
    if may.applications and not (fits and all(fits)):
        reached = sorted(ban.applications)[fits.index(False)] if fits else "all applications"
        expected = f"{' or '.join(may.applications)}: the layer has no other"
        return Excess("--application", "applications", reached, expected)
    period = None if ban.expires is None else ban.expires - now
    if may.longest is not None and (period is None or period > may.longest + slack):
        return Excess(
            "--for", "expires", format_period(period),
            f"at most {format_period(may.longest)}, the longest that the layer allows",
            "for longer, write an entry of the policy",
        )  # fmt: skip
    size = len("".join((ban.reason, ban.author, *ban.applications)).encode()) + _BESIDES
    if size > MAX_ENTRY:
        return Excess("--reason", "reason", f"{size} bytes with all texts", f"at most {MAX_ENTRY}")
    return None


def check_new(document: BansDocument, made: Ban, now: int) -> None:
    """Refuse a ban that sidecars would refuse, whatever else is banned.

    Args:
        document: The bans file, with the limits of its layer.
        made: The ban that is new, or changed.
        now: Seconds since 1970.

    Raises:
        InputError: It exceeds a limit. The error says what the layer may do.
    """
    period = None if made.expires is None else made.expires - now
    if period is not None and period < MIN_PERIOD:
        raise InputError(f"--for: found {format_period(period)}, expected at least {format_period(MIN_PERIOD)}")
    excess = excess_of(document, made, now)
    if excess is not None:
        where = "" if excess.option == "NETWORK" else f"{excess.option}: "
        raise InputError(f"{where}found {excess.found}, expected {excess.expected}", hint=excess.hint)


def check_all(path: Path, document: BansDocument, bans: Sequence[Ban], now: int, *, made: Ban | None = None) -> None:
    """Refuse bans with which sidecars would refuse the file: a person may have written them into it.

    Args:
        path: The bans file.
        document: What stands in it.
        bans: All that shall be.
        now: Seconds since 1970.
        made: The one of them that is new, or changed; None: none is.

    Raises:
        InputError: One of them exceeds a limit, or all together do. The error names the ban.
    """
    for ban in bans:
        excess = None if ban is made else excess_of(document, ban, now, CLOCK_SLACK)
        if excess is not None:
            raise InputError(
                f"{path}: the ban {ban.id} of {ban.network}: {excess.key}: found {excess.found}, expected "
                f"{excess.expected}: sidecars would refuse this and every other ban",
                hint=f"mend it in the file, or end it: `authz unban {ban.id}`; is the clock of this machine right?",
            )
    if len(bans) > MAX_OVER_ONE and (over := _most_over_one(ban.network for ban in bans)) > MAX_OVER_ONE:
        raise InputError(f"{path}: found {over:,} bans over one address, expected at most {MAX_OVER_ONE:,}",
                         hint="a ban without --application is for all of them")  # fmt: skip
    for version in {ban.network.version for ban in bans}:
        of = f" with {made.network}" if made and made.network.version == version else ""
        _check_total(document, version, bans, of)
    _check_protected(path, document, made, bans)


def _most_over_one(networks: Iterable[Network]) -> int:
    """Return how many of the networks cover the same address at most. Two of them never overlap in part."""
    most = 0
    around: list[Network] = []
    for network in sorted(networks):
        while around and not around[-1].overlaps(network):
            around.pop()
        around.append(network)
        most = max(most, len(around))
    return most


def _check_total(document: BansDocument, version: int, bans: Sequence[Ban], of: str) -> None:
    """Refuse bans of more addresses than the layer may have. of: what the error says of them. Raises InputError."""
    total = document.may.total(version)
    networks = {ban.network for ban in bans if ban.network.version == version}
    count = sum(1 << BITS[version] - network.length for network in networks)
    if count > 1 << BITS[version] - total:
        raise InputError(
            f"found {count:,} banned addresses{of}, expected at most as many as a /{total} has",
            hint=f"raise may.total_ipv{version} here and in the layer of every sidecar (0: no limit), or deny the "
            "network in the policy",
        )


def _check_protected(path: Path, document: BansDocument, made: Ban | None, bans: Sequence[Ban]) -> None:
    """Refuse bans of what the policy protects. Raises InputError.

    Not those that were there before the policy protected their addresses: sidecars let them have no effect. A policy
    that cannot be read refuses none: a ban needs nothing but its own file and key.
    """
    if not document.policy:
        return
    try:
        policy = read_heading(path.parent / document.policy)
        protected = list(map(parse_network, policy.protected))
    except (SnapshotRefused, AddressError):
        return
    known = {ban.id for ban in document.bans}
    for ban in bans:
        if ban.action != "block" or (ban is not made and ban.added < policy.created):
            continue
        for network in protected:
            if network.overlaps(ban.network):
                raise InputError(
                    f"found {ban.network}, expected no address of {network}, which the policy protects: "
                    "sidecars would refuse this and every other ban",
                    hint=f"`authz unban {ban.id}` ends the ban that is there" if ban.id in known else "",
                )


def unknown_applications(path: Path, document: BansDocument, ban: Ban) -> str:
    """Return a warning if the policy does not know an application of a ban: the name may be misspelt; else "".

    Args:
        path: The bans file.
        document: What stands in it. A policy that it does not name, that cannot be read, or that has no applications,
            knows all.
        ban: The ban.
    """
    if not document.policy or not ban.applications:
        return ""
    try:
        known = sorted({*read_heading(path.parent / document.policy).applications} - {"*"})
    except SnapshotRefused:
        return ""
    unknown = sorted(ban.applications.difference(known))
    if not unknown or not known:
        return ""
    return (
        f"the policy has no application {', '.join(unknown)} (it has {', '.join(known)}): there the ban concerns only "
        "requests for an application of exactly this name"
    )
