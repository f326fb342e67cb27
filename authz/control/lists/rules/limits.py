"""What a layer may say: the control plane refuses what breaks it, its signer too, and at last every sidecar."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import msgspec

from authz.addresses import parse_networks
from authz.control.model.problems import FieldMistake
from authz.control.model.records import SUBJECTS, Written
from authz.engine.model import ListName

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_NO_EXCEPTIONS: Final = (
    "found exceptions, expected none in this layer: put the address on the allow list, or delete this entry and add "
    "the network again with the exception"
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a layer.

    Attributes:
        longest: Seconds from now to an entry's end; None: also without an end. widest: prefix bits.
        applications: Patterns of names; empty: all, and entries that name none.
        subjects: Which kinds entries may name.
        networks: How many of them one entry may name, with no exceptions; None: any.
        entries: How many at once.
        total_ipv4: All networks together have at most as many addresses as one of so many prefix bits; 0: no limit.
        total_ipv6: The same for IPv6.
    """

    lists: tuple[ListName, ...] = ("allow", "deny", "gray")
    longest: float | None = None
    widest_ipv4: int = 12
    widest_ipv6: int = 32
    applications: tuple[str, ...] = ()
    subjects: tuple[str, ...] = SUBJECTS
    networks: int | None = None
    entries: int = 2_000_000
    total_ipv4: int = 0
    total_ipv6: int = 0

    def total(self, version: int) -> int:
        """Return the prefix bits of a network that has as many addresses of this version as the layer may cover."""
        return self.total_ipv4 if version == 4 else self.total_ipv6


def breaches(entry: Written, limits: Limits, now: float) -> Iterator[FieldMistake]:
    """Give what an entry says that the limits do not permit. now: seconds since 1970."""
    if entry.list not in limits.lists:
        yield FieldMistake("/list", f"found '{entry.list}', expected one of {', '.join(limits.lists)}")
    for name in SUBJECTS:
        if getattr(entry, name) and name not in limits.subjects:
            yield FieldMistake(f"/{name}", f"found {name}, expected only {', '.join(limits.subjects)} in this layer")
    if limits.networks is not None:
        yield from _too_many(entry, limits.networks)
    if limits.longest is not None:
        yield from _too_long(entry, limits.longest, now)
    for number, text in enumerate(entry.networks):
        yield from _too_wide(text, limits, f"/networks/{number}")
    yield from foreign_applications(entry.applications, limits.applications)


def _too_many(entry: Written, most: int) -> Iterator[FieldMistake]:
    count = sum(len(parse_networks(text)) for text in entry.networks)
    if count > most:
        yield FieldMistake("/networks", f"found {count} networks, expected at most {most} in an entry of this layer")
    if entry.except_:
        yield FieldMistake("/except", _NO_EXCEPTIONS)


def _too_long(entry: Written, longest: float, now: float) -> Iterator[FieldMistake]:
    if entry.expires is None:
        yield FieldMistake("/expires", f"found no end, expected one at most {longest:g} seconds from now")
    elif entry.expires - now > longest:
        yield FieldMistake(
            "/expires", f"found {entry.expires - now:.0f} seconds from now, expected at most {longest:g}"
        )


def _too_wide(text: str, limits: Limits, pointer: str) -> Iterator[FieldMistake]:
    widest = {4: limits.widest_ipv4, 6: limits.widest_ipv6}
    wide = next((n for n in parse_networks(text) if n.length < widest[n.version]), None)
    if wide is not None:
        yield FieldMistake(pointer, f"found {wide}, expected a network of /{widest[wide.version]} or longer")


def foreign_applications(applications: Iterable[str], patterns: tuple[str, ...]) -> Iterator[FieldMistake]:
    """Give the applications that no pattern matches. patterns: empty: everything is permitted."""
    if not patterns or "*" in patterns:
        return
    named = tuple(applications)
    if not named:
        yield FieldMistake("/applications", f"found none, which means all; expected names of {', '.join(patterns)}")
    for number, name in enumerate(named):
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            yield FieldMistake(f"/applications/{number}", f"found '{name}', expected one of {', '.join(patterns)}")
