"""Fetching feeds: each is downloaded, read and compared before it takes the place of its last good copy.

    fresh?  ->  conditional GET  ->  read in its format  ->  lost too much?  ->  replace the copy

Whatever goes wrong, the last good copy stays: an error page, half a file or an empty list replaces nothing. Beside each
copy, `PATH.fetch.json` keeps what the server gave to ask with the next time.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import msgspec

from authz.durable import replace_file, sync_folder
from authz.errors import InputError
from authz.publisher.feeds.clean.shrink_guard import check_shrink
from authz.publisher.feeds.feed import FeedOptions
from authz.publisher.feeds.fetch.download import DownloadLimits, Validators, download, page
from authz.publisher.feeds.fetch.redirects import public
from authz.publisher.feeds.read_feed import read_feed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import httpx

MAX_STATE = 1 << 16  # bytes


class WantedFeed(NamedTuple):
    """What to fetch.

    Attributes:
        url: The address.
        path: Where the last good copy is kept.
        options: How it is read.
        max_shrink: The share of its entries that it may lose at once.
        interval: Seconds that a copy counts as fresh: the server is not asked.
        link: See `presets.Preset`.
    """

    url: str
    path: Path
    options: FeedOptions = FeedOptions()
    max_shrink: float = 0.5
    interval: float = 0
    link: str = ""


class FetchState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is known of a copy.

    Attributes:
        asked: When its server was last asked, in seconds since 1970.
        changed: When it last changed, in seconds since 1970.
    """

    url: str
    entries: int
    asked: int
    changed: int
    etag: str = ""
    last_modified: str = ""


class Fetched(NamedTuple):
    """What became of a feed.

    Attributes:
        path: Of the copy.
        outcome: `new`; `unchanged`, the server says or sent the same; `fresh`, it was not asked; `kept`, something was
            wrong and the last good copy stays; `missing`, something was wrong and there is no copy.
        entries: Of the copy that is there now.
        changed: When that copy came, in seconds since 1970; None if there is none.
        problem: What was wrong, for a person; "" where nothing was.
    """

    path: Path
    outcome: Literal["new", "unchanged", "fresh", "kept", "missing"]
    entries: int = 0
    changed: int | None = None
    problem: str = ""


def fetch_feeds(
    feeds: Iterable[WantedFeed],
    client: httpx.Client,
    *,
    now: float,
    limits: DownloadLimits = DownloadLimits(),  # noqa: B008  # it is frozen
) -> Iterator[Fetched]:
    """Fetch feeds one after the other; what goes wrong with one is in its result, and the next is fetched all the same.

    Args:
        feeds: What to fetch.
        client: See `download.make_client`.
        now: Seconds since 1970.
        limits: For each of them.

    Yields:
        What became of each, in order.

    """
    for feed in feeds:
        known = load_state(feed)
        if known is not None and now - known.asked < feed.interval:
            yield Fetched(feed.path, "fresh", known.entries, known.changed)
            continue
        try:
            yield _fetch(feed, client, known, int(now), limits)
        except InputError as error:
            problem = f"{error.message}{f' ({error.hint})' if error.hint else ''}"
            yield _failed(feed, known, problem)


def load_state(feed: WantedFeed) -> FetchState | None:
    """Return what is known of the copy of a feed; None if there is none, or its address is another now."""
    try:
        with _state_path(feed.path).open("rb") as file:
            state = msgspec.json.decode(file.read(MAX_STATE), type=FetchState)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return state if state.url == public(feed.url) and feed.path.is_file() else None


def _fetch(
    feed: WantedFeed, client: httpx.Client, known: FetchState | None, now: int, limits: DownloadLimits
) -> Fetched:
    url = _linked(client, feed, limits) if feed.link else feed.url
    validators = Validators(known.etag, known.last_modified) if known and not feed.link else Validators()
    with _beside(feed.path) as (beside, file):
        new = download(client, url, validators, file, limits)
        if new is None and known is not None:
            save_state(feed.path, msgspec.structs.replace(known, asked=now))
            return Fetched(feed.path, "unchanged", known.entries, known.changed)
        file.close()
        entries = _checked(feed, beside, known)
        same = feed.path.is_file() and feed.path.read_bytes() == beside.read_bytes()
        changed = known.changed if same and known else now
        _take_place(beside, feed.path)
        validators = new or Validators()
        save_state(feed.path, FetchState(public(feed.url), entries, now, changed, *validators))
    return Fetched(feed.path, "unchanged" if same else "new", entries, changed)


def _linked(client: httpx.Client, feed: WantedFeed, limits: DownloadLimits) -> str:
    match = re.search(feed.link, page(client, feed.url, limits))
    if match is None:
        raise InputError(f"{public(feed.url)}: found no link such as {feed.link}, expected one on the page")
    return match[0]


def _checked(feed: WantedFeed, beside: Path, known: FetchState | None) -> int:
    """Return how many entries the new copy has. Raises InputError if it cannot be read or has lost too many."""
    try:
        entries = read_feed(beside, feed.options).taken
    except InputError as error:
        message = error.message.removeprefix(f"{beside}: ")
        raise InputError(f"{public(feed.url)}: {message}", hint=error.hint) from error
    before = known.entries if known else _entries_of(feed)
    check_shrink(public(feed.url), entries, before, feed.max_shrink)
    return entries


def _entries_of(feed: WantedFeed) -> int | None:
    """Return how many entries a copy has of which nothing is known: somebody else has put it there."""
    try:
        return read_feed(feed.path, feed.options).taken
    except InputError:
        return None


def _failed(feed: WantedFeed, known: FetchState | None, problem: str) -> Fetched:
    if known is not None:
        return Fetched(feed.path, "kept", known.entries, known.changed, problem)
    entries = _entries_of(feed)
    if entries is None:
        return Fetched(feed.path, "missing", problem=problem)
    return Fetched(feed.path, "kept", entries, int(feed.path.stat().st_mtime), problem)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Give a new file in the folder of `path`; it is gone afterwards, unless it has taken its place."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    beside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield beside, file
    finally:
        beside.unlink(missing_ok=True)


def _take_place(beside: Path, path: Path) -> None:
    try:
        with beside.open("rb") as file:
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        beside.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _state_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.fetch.json")


def save_state(path: Path, state: FetchState) -> None:
    """Write what is known of a copy.

    Args:
        path: The copy; the state stands beside it.
        state: What is known.

    Raises:
        InputError: The file cannot be written.
    """
    try:
        replace_file(_state_path(path), lambda file: file.write(msgspec.json.encode(state)))
    except OSError as error:
        raise InputError(f"{_state_path(path)}: cannot be written: {error.strerror}") from error
