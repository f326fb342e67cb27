"""A round over feeds and host names: what is new lets the first layer be signed again."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from authz.control.model.records import MICROSECONDS, POLICY_LAYER
from authz.control.store.ledger.changes import read_heads
from authz.errors import AuthzError
from authz.publisher.feeds.fetch.download import make_client
from authz.publisher.feeds.fetch.fetch import fetch_feeds

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from authz.control.publish.inputs.copies import Copies
    from authz.control.store.database import Store
    from authz.publisher.policy.schema import WrittenFeed

LOOK: Final = 15.0  # seconds between two rounds
AFTER_FAILURE: Final = 300  # seconds until a feed that failed is asked for again, or its interval if that is shorter
_LOG = logging.getLogger("authz.control.inputs")


class FeedRounds:
    """Fetches and resolves what is due.

    Args:
        store: Its clock says what is due.
        copies: Where what was fetched goes.
        every: Seconds between two questions for a host name.
        sign_anew: Lets the first layer be signed again; is told why.
        client: Makes what fetches.

    """

    def __init__(
        self, store: Store, copies: Copies, every: float, sign_anew: Callable[[str], object],
        client: Callable[[], httpx.Client] = make_client,
    ) -> None:  # fmt: skip
        self._store = store
        self.copies = copies
        self._every = every
        self._sign_anew = sign_anew
        self._client = client
        self._failed: dict[str, int] = {}
        self._resolved = self._looked = self._head = 0
        self._asked: dict[str, int] = {}  # names without an answer, and when they were asked for
        self._lock = threading.Lock()  # the thread of the first layer asks for new names too

    def prepare(self) -> None:
        """Before the first layer is built: take over what others fetched, and ask for names that are new."""
        try:
            with self._lock:
                self.copies.pull()
                now = self._now()
                new = {name for name in self.copies.unknown(self.copies.names())
                       if now - self._asked.get(name, 0) >= self._every}  # fmt: skip
                if new:
                    self.copies.resolve(new, now)
                    self._asked |= dict.fromkeys(new, now)
        except (AuthzError, OSError) as error:  # the layer is built with what is there
            _LOG.warning("feeds and host names: %s", error)
            self._resolved = self._looked = 0  # the next round tries again, and tells operators

    def round(self) -> list[str]:
        """Fetch and resolve what is due; return what is new, for people. Raises AuthzError and OSError."""
        with self._store.reading() as tx:
            head = read_heads(tx)[POLICY_LAYER].sequence
        now = self._now()
        if head == self._head and now - self._looked < LOOK:
            return []  # woken by a change of another layer
        with self._lock:
            self.copies.pull()
        news = self._fetch()
        with self._lock:
            news += self._resolve()
        self._head, self._looked = head, now  # not where it fails: each round tells until one has succeeded
        if news:
            self._sign_anew("; ".join(news)[:500])
        return news

    def _fetch(self) -> list[str]:
        now, news = self._now(), []
        due = [feed for feed in self.copies.feeds() if self._is_due(feed, now)]
        if not due:
            return []
        with self._client() as client:
            for feed in due:
                wanted = self.copies.wanted(feed)
                (fetched,) = fetch_feeds([wanted], client, now=now)
                if fetched.outcome == "fresh":
                    continue
                self._failed.pop(feed.path, None)
                if fetched.problem:
                    self._failed[feed.path] = now
                    _LOG.warning("feed %s: %s: %s", feed.path, fetched.outcome, fetched.problem)
                self.copies.push(wanted, fetched, now)
                if fetched.outcome == "new":
                    news.append(f"{feed.path} has {fetched.entries} entries")
        return news

    def _is_due(self, feed: WrittenFeed, now: int) -> bool:
        wait = min(AFTER_FAILURE, self.copies.wanted(feed).interval)
        return now - self._failed.get(feed.path, -AFTER_FAILURE) >= wait

    def _resolve(self) -> list[str]:
        now = self._now()
        if now - self._resolved < self._every:
            return []
        names = self.copies.names()
        changed = self.copies.resolve(names, now) if names else []
        self._resolved = now  # not where the answers cannot be written: then the next round tries again, and tells
        return [f"{name} has other addresses" for name in changed]

    def _now(self) -> int:
        return self._store.now() // MICROSECONDS
