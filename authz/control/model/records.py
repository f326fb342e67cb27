"""What the rooms of the control plane speak of: entries, changes, and who acts.

Times of record (when we knew) are microseconds since 1970; times of effect (`starts`, `expires`) are seconds, as in a
snapshot.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple

import msgspec

from authz.engine.model import Action, ListName

FOREVER: Final = (1 << 63) - 1  # microseconds: the end of what still holds
MICROSECONDS: Final = 1_000_000
POLICY_LAYER: Final = "policy"  # the first layer of every sidecar; the others have limited rights
MAIN_TENANT: Final = "main"  # the tenant that runs the control plane; it sees all others

APPLICATION: Final = "application:"  # names of documents with the settings of an application begin so
HOSTS: Final = "state/hosts.json"  # answers for host names, below `data`; also the name of the store's copy
SETTINGS: Final = "settings:policy"  # the document with the rest of a policy

Owner = Literal["api", "git", "trigger", "feed"]
ActorKind = Literal["user", "token", "trigger", "import", "system"]
Method = Literal["manual", "api", "cli", "automatic", "import"]
ChangeAction = Literal["add", "change", "delete", "publish"]
SUBJECTS: Final = ("networks", "hosts", "countries", "regions", "continents", "asns", "sources")
WRITTEN: Final = ("list", *SUBJECTS, "except_", "applications", "action", "starts", "expires", "reason", "author")


class Written(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"except_": "except"}):
    """What an entry says.

    Attributes:
        applications: Empty: all.
        starts, expires: Seconds since 1970; None: no such bound.
    """

    list: ListName = "deny"
    networks: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    continents: tuple[str, ...] = ()
    asns: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    action: Action = "block"
    starts: int | None = None
    expires: int | None = None
    reason: str = ""
    author: str = ""


class Entry(Written, frozen=True, kw_only=True, omit_defaults=True, rename={"except_": "except"}):
    """One version of an entry, as the store keeps it.

    Attributes:
        version: From 1.
        layer: The file that carries it.
        owner: Another owner's entry is changed only by `take_over`.
        created: Of the first version, in microseconds.
        origin: The import that brought it.
    """

    id: str
    version: int
    tenant: str
    layer: str
    owner: Owner = "api"
    created: int
    origin: str = ""

    def active(self, now: float) -> bool:
        """Return whether `now` (seconds since 1970) is in the entry's window."""
        return (self.starts is None or self.starts <= now) and (self.expires is None or now < self.expires)

    def says(self) -> Written:
        """Return what it says, without its id, layer and owner."""
        return Written(**{name: getattr(self, name) for name in WRITTEN})


class Actor(NamedTuple):
    """Who acts.

    Attributes:
        address: Where the request came from; None: from this machine, not over a network.
    """

    tenant: str
    name: str
    kind: ActorKind = "token"
    method: Method = "api"
    request_id: str = ""
    address: str | None = None


class Draft(NamedTuple):
    """A change that is to be written.

    Attributes:
        subject: Id of an entry, or name of a document (`application:shop`), told apart by the colon.
        before, after: Its JSON; empty: there was nothing, there is nothing now.
    """

    action: ChangeAction
    subject: str
    before: str = ""
    after: str = ""
    reason: str = ""
    forced: bool = False


def draft(before: Entry | None, after: Entry | None, reason: str = "", *, forced: bool = False) -> Draft:
    """Return the change from one version of an entry to another; None: there is none."""
    known = after or before
    if known is None:
        raise ValueError("expected an entry before or after")
    action: ChangeAction = "add" if before is None else "delete" if after is None else "change"
    return Draft(action, known.id, encode_entry(before), encode_entry(after), reason, forced)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A change as it stands in the store.

    Attributes:
        hash: Of all before it and itself, in hexadecimal.
    """

    layer: str
    sequence: int
    time: int
    tenant: str
    actor: str
    actor_kind: str
    method: str
    action: str
    subject: str
    reason: str
    request_id: str
    forced: bool
    before: str
    after: str
    hash: str = ""

    def entry_before(self) -> Entry | None:
        """Return the entry as it was; None: there was none."""
        return decode_entry(self.before)

    def entry_after(self) -> Entry | None:
        """Return the entry as it is since; None: there is none."""
        return decode_entry(self.after)


def encode_entry(entry: Entry | None) -> str:
    """Return the one text of an entry, `""` for none."""
    return "" if entry is None else msgspec.json.encode(entry, order="deterministic").decode()


_DECODE_ENTRY: Final = msgspec.json.Decoder(Entry).decode


def decode_entry(text: str) -> Entry | None:
    """Return the entry of a text of `encode_entry`."""
    return _DECODE_ENTRY(text) if text else None


def as_dict(entry: msgspec.Struct) -> dict[str, Any]:
    """Return a struct as a mapping of its keys."""
    built: dict[str, Any] = msgspec.to_builtins(entry)
    return built
