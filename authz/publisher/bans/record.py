"""One ban, as those know it who order it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from authz.addresses import BITS
from authz.engine.model import Action, Entry, ListName
from authz.snapshot.ban_ids import NEVER, ban_id, ban_number

if TYPE_CHECKING:
    from authz.addresses import Network

    TemplateKey = tuple[ListName, frozenset[str], Action, str, str]


class Ban(NamedTuple):
    """One ban of an address or a network.

    Attributes:
        id: `ban_id(number)`, or any other id of an entry.
        network: An address is a network of full length.
        list: The list on which it stands.
        applications: Their names; empty: all.
        action: `warn` reports and does not deny.
        reason: For people.
        author: Who ordered it.
        starts: Seconds since 1970; None: at once.
        expires: Seconds since 1970, the first second in which it is over; None: never.
        added: When it was ordered; seconds since 1970.
    """

    id: str
    network: Network
    list: ListName = "deny"
    applications: frozenset[str] = frozenset()
    action: Action = "block"
    reason: str = ""
    author: str = ""
    starts: int | None = None
    expires: int | None = None
    added: int = 0

    def live(self, now: float) -> bool:
        """Return whether it is not over at `now`, seconds since 1970."""
        return self.expires is None or now < self.expires

    def is_single(self, now: float) -> bool:
        """Return whether it can be a row: an address that is banned already, with the id of a ban."""
        return (
            self.network.length == BITS[self.network.version]
            and (self.starts is None or self.starts <= now)
            and (self.expires is None or 0 <= self.expires < NEVER)
            and 0 <= self.added <= NEVER
            and ban_number(self.id) is not None
        )

    def entry(self) -> Entry:
        """Return it as an entry, without its network."""
        return Entry(
            self.id, self.list, self.action, self.applications, self.starts, self.expires, self.reason, self.author,
            added=self.added,
        )  # fmt: skip


def new_ban_id() -> str:
    """Return an id that nobody has: 64 random bits, of which two are equal once in 6 thousand million bans."""
    return ban_id(int.from_bytes(os.urandom(8), "big"))


def template_key(ban: Ban) -> TemplateKey:
    """Return what tells templates apart: what many bans have in common."""
    return ban[2:7]


def template_of(key: TemplateKey) -> Entry:
    """Return a template, an entry without id and times, from its key."""
    on, applications, action, reason, author = key
    return Entry("", on, action, applications, reason=reason, author=author)
