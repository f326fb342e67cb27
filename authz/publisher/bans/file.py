"""bans.yaml: the bans of a layer on this machine, for those who have no control plane.

`authz ban` and `authz unban` change it and sign the layer's snapshot at once. Each change holds a lock, reads the
file, drops what is over, writes the file, then the snapshot. A crash in between leaves the file ahead of the snapshot:
the next change signs both.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from authz.addresses import NETWORK_EXPECTED, Network, parse_network
from authz.durable import replace_file
from authz.engine.model import TOKEN, Action, ListName
from authz.errors import BadValue, InputError, SnapshotRefused
from authz.publisher.bans.build import build_bans_layer
from authz.publisher.bans.record import Ban
from authz.publisher.output_lock import building
from authz.snapshot.archive import Archive
from authz.snapshot.read import inspect_manifest
from authz.strict_yaml import Scalar, read_file
from authz.times import MOMENT_EXPECTED, format_moment, parse_duration, parse_moment
from authz.wire.snapshot.v1.snapshot_pb2 import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from authz.snapshot.signers import Signer

FOREVER = "forever"
MAX_ARCHIVED = 1000  # builds; each has only what was live
ARCHIVED_FOR = 30 * 86400  # seconds
MIN_PERIOD = 300  # seconds, as for an entry of a policy
_HEADER = (
    "# Written by authz ban and authz unban. The next of them takes over what is changed by hand, but no comments.\n"
)


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise BadValue(text)
    return text


def parse_period(text: str) -> int | None:
    """Return a period such as `2h` in seconds, None for `forever`. Raises BadValue."""
    if text == FOREVER:
        return None
    try:
        return int(parse_duration(text))
    except BadValue:
        raise BadValue(text, PERIOD_EXPECTED) from None


def format_period(seconds: int | None) -> str:
    """Return a period as it is written: `7d`, `90m`, `forever`."""
    if seconds is None:
        return FOREVER
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return f"{seconds // size}{unit}"


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
PERIOD_EXPECTED = "a period such as 5m, 2h or 7d, or forever"
_Token = Annotated[str, Scalar(_token, "letters, digits, '.', '_' and '-'")]
_Network = Annotated[Network, Scalar(parse_network, NETWORK_EXPECTED)]
_Moment = Annotated[int, Scalar(parse_moment, MOMENT_EXPECTED)]
_Period = Annotated[int | None, Scalar(parse_period, PERIOD_EXPECTED)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the layer may do, as `may` in authz.yaml says it to the sidecars. longest: seconds, None: for ever.

    applications: patterns such as `team-a-*`; where there are some, each ban names applications that one of them fits.
    """

    lists: tuple[ListName, ...] = ("deny", "gray")
    longest: _Period = 7 * 86400
    widest_ipv4: int = 24
    widest_ipv6: int = 56
    applications: tuple[str, ...] = ()


class WrittenBan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ban as it stands in the file."""

    id: _Token
    network: _Network
    list: ListName = "deny"
    applications: tuple[_Token, ...] = ()
    action: Action = "block"
    reason: str = ""
    author: str = ""
    added: _Moment
    expires: _Moment | None = None

    def ban(self) -> Ban:
        """Return it as a ban."""
        return Ban(
            self.id, self.network, self.list, frozenset(self.applications), self.action, self.reason, self.author,
            None, self.expires, self.added,
        )  # fmt: skip


class BansDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. snapshot, key: relative to it; a key may be a URI. serial: of the last snapshot."""

    version: int
    layer: _Token = "bans"
    snapshot: str
    key: str
    serial: int = 0
    may: Limits = Limits()
    bans: tuple[WrittenBan, ...] = ()


class Changed(NamedTuple):
    """What a change did. bans: all that are live now. serial: of the snapshot that has them."""

    bans: tuple[Ban, ...]
    serial: int
    snapshot: Path


def create_bans_file(path: Path, *, layer: str, snapshot: str, key: str, may: Limits | None = None) -> None:
    """Write a new file without bans. Raises InputError where there is one already, or it cannot be written."""
    if path.exists():
        raise InputError(f"{path}: exists, expected no such file", hint="`authz bans` shows what is in it")
    _write(path, BansDocument(version=1, layer=layer, snapshot=snapshot, key=key, may=may or Limits()))


def read_bans_file(path: Path) -> BansDocument:
    """Read the file. Raises InputError, and InvalidDocument with every mistake."""
    if not path.exists():
        raise InputError(f"{path}: no such file", hint=f"`authz bans init {path} --key KEY` makes one")
    document = read_file(BansDocument, path)
    content = document.checked()
    if content.version != 1:
        document.mistake("version", f"found {content.version}, expected 1")
    for version, bits in ((4, 32), (6, 128)):
        widest = getattr(content.may, f"widest_ipv{version}")
        if not 0 <= widest <= bits:
            document.mistake(f"may.widest_ipv{version}", f"found {widest}, expected 0 to {bits}")
    ids = set[str]()
    for ban in content.bans:
        if ban.id in ids:
            document.mistake(f"{document.key_of(ban)}.id", f"found '{ban.id}' twice, expected each id once")
        ids.add(ban.id)
    return document.checked()


def change_bans(
    path: Path,
    change: Callable[[BansDocument, list[Ban]], list[Ban]],
    load: Callable[[str], Signer],
    *,
    now: int,
    by: str,
) -> Changed:
    """Change the bans of a file and sign its snapshot, one caller at a time.

    Args:
        path: The file.
        change: Gets the document and the bans that are live, and returns those that shall be.
        load: Makes the signer of the key that the document names; a file is given by its path.
        now: Seconds since 1970.
        by: Who changes it.

    Raises:
        InputError: The file, the key or the snapshot cannot be used; whatever `change` raises. Then nothing changed.
    """
    with building(path):
        document = read_bans_file(path)
        signer = load(_beside(path, document.key))
        bans = change(document, [ban for ban in (one.ban() for one in document.bans) if ban.live(now)])
        snapshot = path.parent / document.snapshot
        serial = max(now, document.serial + 1, _serial_of(snapshot) + 1)
        origin = Origin(by=by, source=str(path))
        data = build_bans_layer(bans, layer=document.layer, serial=serial, created=now, signers=[signer], origin=origin)
        _write(path, msgspec.structs.replace(document, serial=serial, bans=tuple(map(_written, bans))))
        try:
            replace_file(snapshot, lambda file: file.write(data))
        except OSError as error:
            raise InputError(f"{snapshot}: cannot be written: {error.strerror}") from error
        Archive(path.parent / "archive", document.layer, MAX_ARCHIVED, ARCHIVED_FOR).keep(snapshot, now=now)
    return Changed(tuple(bans), serial, snapshot)


def check_limits(document: BansDocument, ban: Ban, now: int) -> None:
    """Refuse a ban that sidecars would refuse. Raises InputError, with what the layer may do."""
    may = document.may
    widest = may.widest_ipv4 if ban.network.version == 4 else may.widest_ipv6
    if ban.network.length < widest:
        raise InputError(f"found {ban.network}, expected at most a /{widest}: the layer may not ban wider networks")
    if ban.list not in may.lists:
        raise InputError(f"--list: found {ban.list}, expected {' or '.join(may.lists)}: the layer may do no other")
    unfit = [name for name in sorted(ban.applications) if not any(fnmatchcase(name, one) for one in may.applications)]
    if may.applications and (unfit or not ban.applications):
        found = unfit[0] if unfit else "all applications"
        raise InputError(
            f"--application: found {found}, expected {' or '.join(may.applications)}: the layer may no other"
        )
    period = None if ban.expires is None else ban.expires - now
    if period is not None and period < MIN_PERIOD:
        raise InputError(f"--for: found {format_period(period)}, expected at least {format_period(MIN_PERIOD)}")
    if may.longest is not None and (period is None or period > may.longest):
        raise InputError(
            f"--for: found {format_period(period)}, expected at most {format_period(may.longest)}, "
            "the longest that the layer may",
            hint="for longer, write an entry of the policy",
        )


def like(bans: Sequence[Ban], wanted: Ban) -> Ban | None:
    """Return the ban of the same network on the same list for the same applications."""
    same = (wanted.network, wanted.list, wanted.applications)
    return next((ban for ban in bans if (ban.network, ban.list, ban.applications) == same), None)


def _serial_of(snapshot: Path) -> int:
    if not snapshot.exists():
        return 0
    try:
        return inspect_manifest(snapshot).serial
    except SnapshotRefused as error:
        raise InputError(
            f"{snapshot}: exists, and is not a snapshot whose serial can be read: {error.message}",
            hint="move it away",
        ) from error


def _beside(path: Path, key: str) -> str:
    """Return the key as seen from here: a URI as it is, a file relative to the bans file."""
    return key if ":" in key else str(path.parent / key)


def _written(ban: Ban) -> WrittenBan:
    return WrittenBan(
        id=ban.id, network=ban.network, list=ban.list, applications=tuple(sorted(ban.applications)), action=ban.action,
        reason=ban.reason, author=ban.author, added=ban.added, expires=ban.expires,
    )  # fmt: skip


def _write(path: Path, document: BansDocument) -> None:
    may = document.may
    limits = [f"lists: [{', '.join(may.lists)}]", f"longest: {format_period(may.longest)}"]
    limits += [f"widest_ipv{version}: {getattr(may, f'widest_ipv{version}')}" for version in (4, 6)]
    if may.applications:
        limits.append(f"applications: {json.dumps(may.applications)}")
    lines = [
        "version: 1",
        f"layer: {document.layer}",
        f"snapshot: {json.dumps(document.snapshot)}",
        f"key: {json.dumps(document.key)}",
        f"serial: {document.serial}",
        f"may: {{{', '.join(limits)}}}",
        "bans:" if document.bans else "bans: []",
        *(f"- {json.dumps(_plain(ban))}" for ban in document.bans),
    ]
    text = (_HEADER + "\n".join(lines) + "\n").encode()
    try:
        replace_file(path, lambda file: file.write(text))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _plain(ban: WrittenBan) -> dict[str, Any]:
    """Return a ban as JSON, which is YAML; what is as by default is left out."""
    written: dict[str, Any] = {"id": ban.id, "network": str(ban.network), "list": ban.list}
    optional = {"applications": list(ban.applications), "reason": ban.reason, "author": ban.author}
    written |= {name: value for name, value in optional.items() if value}
    if ban.action != "block":
        written["action"] = ban.action
    written["added"] = format_moment(ban.added)
    if ban.expires is not None:
        written["expires"] = format_moment(ban.expires)
    return written
