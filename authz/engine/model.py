"""Applications and entries, resolved and checked: what a decision is made from.

The publisher makes them out of policy.yaml, the sidecar out of a snapshot's manifest.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

ListName = Literal["allow", "deny", "gray"]
Action = Literal["block", "warn"]
Mode = Literal["off", "monitoring", "safe_blocking", "block"]
Default = Literal["allow", "deny"]
Precedence = Literal["allow_first", "deny_first", "most_specific"]
MatchOn = Literal["client", "path"]

ANY_APPLICATION: Final = "*"  # the settings for every application that says nothing else
TOKEN: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
)  # application names and entry ids: safe in any header or log
MEDIA_TYPE: Final = re.compile(
    r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(; ?[a-z]+=[A-Za-z0-9._-]+)*"
)  # RFC 9110, 8.3.1, without quotes: safe in any header
MAX_DENY_BODY = 64 * 1024  # bytes
USUAL_TOTAL: Final = {4: 9, 6: 24}  # prefix bits; what a layer behind the policy covers in all has no more addresses


MAX_PLACEHOLDERS = 16  # that are filled in a body
CLIENT_PLACEHOLDER: Final = "{client}"


def total_of(given: int | None, version: int, widest: int) -> int:
    """Return the prefix bits of what a layer may cover in all, for a limit that may be left out.

    Args:
        given: What is written; None: nothing.
        version: Of the addresses.
        widest: The prefix bits of the widest network that the layer may name.
    """
    return min(USUAL_TOTAL[version], widest) if given is None else given


class DenyAnswer(NamedTuple):
    """What a denied client is shown.

    Attributes:
        status: 400 to 499.
        body: `{client}` stands for the client's address.
        content_type: Of the body.
    """

    status: int = 403
    body: str = ""
    content_type: str = "text/plain"

    @property
    def personal(self) -> bool:
        """Whether the body has the client's address."""
        return CLIENT_PLACEHOLDER in self.body

    def body_for(self, client: str | None) -> str:
        """Return the body for a client.

        An address has only digits, letters, dots and colons, so it needs no escaping in HTML, JSON or XML.

        Args:
            client: The text of an Address; None: not known.
        """
        return self.body.replace(CLIENT_PLACEHOLDER, client or "unknown", MAX_PLACEHOLDERS)


class Application(NamedTuple):
    """One application, with its settings resolved.

    Attributes:
        name: A token, or `*`.
        dry_run: Decide and report, but answer allow.
        denylist_in_monitoring: Whether the deny list denies in the modes `off` and `monitoring`.
        hosts: The host names, in lower case, that name the application if the proxy does not.
    """

    name: str
    mode: Mode = "block"
    default: Default = "allow"
    precedence: Precedence = "allow_first"
    match: MatchOn = "client"
    dry_run: bool = False
    denylist_in_monitoring: bool = True
    hosts: tuple[str, ...] = ()
    deny: DenyAnswer = DenyAnswer()


class Entry(NamedTuple):
    """One entry without its networks, which are in the index.

    Attributes:
        applications: Their names; empty: all.
        starts: The first second in the window, since 1970; None: no such bound.
        expires: The first second after the window, since 1970; None: no such bound.
        subjects: What it names besides networks, for people, such as `country KP`.
        added: When its layer first had an entry of this id, in seconds since 1970; None: not known. Nothing is decided
            by it.
    """

    id: str
    list: ListName
    action: Action = "block"
    applications: frozenset[str] = frozenset()
    starts: int | None = None
    expires: int | None = None
    reason: str = ""
    author: str = ""
    subjects: tuple[str, ...] = ()
    added: int | None = None

    def concerns(self, application: str) -> bool:
        """Return whether the entry counts for the application of this name."""
        return not self.applications or application in self.applications

    def active(self, now: float) -> bool:
        """Return whether `now` (seconds since 1970) is in the entry's window."""
        return (self.starts is None or self.starts <= now) and (self.expires is None or now < self.expires)


class Match(NamedTuple):
    """An entry that covers an address.

    Attributes:
        entry: The entry.
        length: Of its longest covering prefix, in bits of a 128-bit address.
        layer: The name of its layer.
    """

    entry: Entry
    length: int
    layer: str = ""
