"""Applications and entries in a snapshot's manifest: written by the publisher, read by the sidecar."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args, overload

from google.protobuf.message import DecodeError

from authz.addresses import parse_network
from authz.engine.model import (
    ANY_APPLICATION,
    MEDIA_TYPE,
    TOKEN,
    Action,
    Application,
    Default,
    DenyAnswer,
    Entry,
    ListName,
    MatchOn,
    Mode,
    Precedence,
)
from authz.errors import AddressError, Refusal, SnapshotRefused, shorten
from authz.snapshot.cooperative import in_turns
from authz.wire.snapshot.v1 import snapshot_pb2

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from authz.addresses import Network
    from authz.wire.snapshot.v1.snapshot_pb2 import Manifest

_LISTS: Final[dict[str, ListName]] = {name: name for name in get_args(ListName)}
_ACTIONS: Final[dict[str, Action]] = {name: name for name in get_args(Action)}
_make = tuple.__new__  # of a NamedTuple whose fields are at hand
_TURN: Final = 32  # entries that are looked at in one turn; some 0.1 ms
MAX_NAMES: Final = 100_000  # applications that the entries of a file name
_COPIED = ("name", "mode", "default", "precedence", "match", "dry_run", "denylist_in_monitoring")


def add_applications(manifest: Manifest, applications: Iterable[Application]) -> None:
    """Append applications to a manifest."""
    for application in applications:
        manifest.applications.add(
            **{name: getattr(application, name) for name in _COPIED},
            hosts=application.hosts,
            deny=snapshot_pb2.DenyAnswer(**application.deny._asdict()),
        )


def entry_message(entry: Entry) -> snapshot_pb2.Entry:
    """Return an entry as it stands in a snapshot. A field has the same name in both."""
    return snapshot_pb2.Entry(**entry._asdict() | {"applications": sorted(entry.applications)})


def applications_of(manifest: Manifest) -> tuple[Application, ...]:
    """Return the applications; the first is `*`.

    Args:
        manifest: Of a verified snapshot.

    Raises:
        SnapshotRefused: A setting has a value that this version does not know, or a deny answer would not deny.
            Guessing what a newer publisher meant could open a door.
    """
    applications = tuple(
        Application(
            name=a.name if a.name == ANY_APPLICATION else _plain(TOKEN, a.name),
            mode=_known(a.mode, get_args(Mode)),
            default=_known(a.default, get_args(Default)),
            precedence=_known(a.precedence, get_args(Precedence)),
            match=_known(a.match, get_args(MatchOn)),
            dry_run=a.dry_run,
            denylist_in_monitoring=a.denylist_in_monitoring,
            hosts=tuple(a.hosts),
            deny=DenyAnswer(_denying(a.deny.status), a.deny.body, _plain(MEDIA_TYPE, a.deny.content_type)),
        )
        for a in manifest.applications
    )
    if not applications or applications[0].name != ANY_APPLICATION:
        raise _bad(expected=f"the first application to be '{ANY_APPLICATION}'")
    return applications


def protected_by(manifest: Manifest) -> tuple[Network, ...]:
    """Return the networks that no layer may deny. Raises SnapshotRefused(`bad_manifest`)."""
    try:
        return tuple(map(parse_network, manifest.protected))
    except AddressError as error:
        raise _bad(found=f"the protected network '{error.found}'", expected=error.expected) from error


class Entries(Sequence[Entry]):
    """The entries of a snapshot. Each is built when it is asked for: few of 100,000 ever decide.

    Args:
        messages: The entries; the constructor checks all of them.

    Raises:
        SnapshotRefused: One has a value that this version does not know.
    """

    def __init__(self, messages: Sequence[snapshot_pb2.Entry]) -> None:
        self._messages = messages
        self.applications: set[str] = set()  # that entries name
        token, lists, actions = TOKEN.fullmatch, _LISTS, _ACTIONS
        try:
            for message in in_turns(messages, _TURN):
                self.applications.update(message.applications)
                check_count(self.applications)
                if not (token(message.id) and message.list in lists and message.action in actions):
                    entry_of(message)  # says what is wrong
        except DecodeError as error:
            raise SnapshotRefused(Refusal.BAD_MANIFEST, "an entry is not valid protobuf") from error

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Entry]: ...

    def __getitem__(self, number: int | slice) -> Entry | Sequence[Entry]:
        if isinstance(number, slice):
            return [entry_of(message) for message in self._messages[number]]
        return entry_of(self._messages[number])


def entry_of(e: snapshot_pb2.Entry, *, named: bool = True) -> Entry:
    """Return an entry of a snapshot.

    Args:
        e: The message.
        named: It must have an id; a template has none.

    Raises:
        SnapshotRefused: `bad_manifest`: it has a value that this version does not know.
    """
    applications, subjects = e.applications, e.subjects
    return _make(Entry, (
        _plain(TOKEN, e.id) if named or e.id else "",
        _LISTS.get(e.list) or _known(e.list, _LISTS),
        _ACTIONS.get(e.action) or _known(e.action, _ACTIONS),
        frozenset(applications) if applications else frozenset(),
        e.starts if e.HasField("starts") else None,
        e.expires if e.HasField("expires") else None,
        e.reason,
        e.author,
        tuple(subjects) if subjects else (),
        e.added if e.HasField("added") else None,
    ))  # fmt: skip


def check_count(names: Collection[str]) -> None:
    """Refuse very many applications while they are gathered. Raises SnapshotRefused(`too_large`)."""
    if len(names) > MAX_NAMES:
        raise SnapshotRefused(Refusal.TOO_LARGE, expected=f"at most {MAX_NAMES} applications that entries name")


def check_names(names: Iterable[str]) -> None:
    """Refuse applications whose names could be more than plain words. Raises SnapshotRefused(`bad_manifest`)."""
    for name in in_turns(names, _TURN):
        _plain(TOKEN, name)


def _denying(status: int) -> int:
    if not 400 <= status <= 499:  # 200 would let through whom we deny
        raise _bad(found=f"the deny status {status}", expected="400 to 499")
    return status


def _plain(pattern: re.Pattern[str], text: str) -> str:
    """Return text that goes into headers and logs; raises SnapshotRefused if it could be more than a plain word."""
    if not pattern.fullmatch(text):
        raise _bad(found=f"'{shorten(text)}'", expected="a name, an id or a media type of plain characters")
    return text


def _known(value: str, choices: Collection[str]) -> Any:
    if value not in choices:
        raise _bad(found=f"'{shorten(value)}'", expected=f"one of {', '.join(choices)}")
    return sys.intern(value)


def _bad(*, found: str = "", expected: str) -> SnapshotRefused:
    return SnapshotRefused(Refusal.BAD_MANIFEST, found=found, expected=expected)
