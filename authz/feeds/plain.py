"""Plain feeds: one address, network or range a line; `#` and `;` start a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import parse_networks
from authz.errors import AddressError, InputError
from authz.index.prefixes import Prefixes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_LINE = 4096  # characters; a longer line is no address, and is skipped unread


class Skipped(NamedTuple):
    """A line that was not taken. line: from 1."""

    line: int
    why: str


class Feed(NamedTuple):
    """What a feed gave. networks: by version (4, 6); taken: lines with an address, network or range."""

    networks: dict[int, Prefixes]
    taken: int
    skipped: tuple[Skipped, ...]


def read_plain(path: Path) -> Feed:
    """Read a plain feed.

    Raises InputError where the file cannot be read, or has lines but no address in any of them: that is a broken
    download or another format, and must not be taken for an empty feed.
    """
    try:
        with path.open(encoding="utf-8", errors="backslashreplace") as lines:
            feed = parse_plain(lines)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if feed.skipped and not feed.taken:
        first = feed.skipped[0]
        raise InputError(
            f"{path}:{first.line}: {first.why}; no line of the file is an address, a network or a range",
            hint="a plain feed has one of them a line, and # or ; before comments",
        )
    return feed


def parse_plain(lines: Iterable[str]) -> Feed:
    """Read a plain feed from its lines. See `read_plain`."""
    values: dict[int, list[int]] = {4: [], 6: []}
    lengths: dict[int, list[int]] = {4: [], 6: []}
    skipped = []
    taken = 0
    for number, line in enumerate(lines, start=1):
        text = line[:MAX_LINE].partition("#")[0].partition(";")[0].strip()
        if not text:
            continue
        try:
            networks = parse_networks(text)
        except AddressError as error:
            skipped.append(Skipped(number, f"{error.message}{f' ({error.hint})' if error.hint else ''}"))
            continue
        taken += 1
        for version, value, length in networks:
            values[version].append(value)
            lengths[version].append(length)
    networks_by_version = {version: Prefixes.of(version, values[version], lengths[version]) for version in (4, 6)}
    return Feed(networks_by_version, taken, tuple(skipped))
